"""The presenter without its background, as it is sent: picture and matte of the same tick in one video."""

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

import av
import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from engine.anchor.card import MATTE, read_card
from engine.anchor.matte import find_mattes
from engine.live import Tick
from engine.picture.label import LabelStyle, label_for
from engine.picture.video import VideoWriter
from engine.picture.yuv import to_i420, to_rgb
from streaming.cut_out import CutOuts
from streaming.errors import Unprocessable
from streaming.settings import Settings
from streaming.webrtc.client import Watcher
from tests.fakes import FRAME_SIZE, FRAMES, paint_face
from tests.streaming.conftest import SDP, exchange

WIDTH, HEIGHT = FRAME_SIZE
STEP = WIDTH // FRAMES


@pytest.fixture
def avatars(avatars: Path) -> Path:
    """`fake` has a matte: in frame k, what is right of column k * STEP is the presenter. `other` has none."""
    with VideoWriter(avatars / "fake" / MATTE, FRAME_SIZE) as video:
        for frame in range(FRAMES):
            grey = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
            grey[:, STEP * frame :] = 255
            video.write(to_i420(grey))
    return avatars


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"video_bitrate_kbps": 2500})


def bare_tick(frame: int) -> Tick:
    picture = to_i420(paint_face(WIDTH, HEIGHT, seed=frame))
    return Tick(0, picture, np.zeros(640, np.int16), False, False, frame=frame)


def halves(drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Picture and matte, RGB and grey."""
    above, below = np.split(to_rgb(drawn), 2)
    return above, below[..., 0]


@pytest.mark.parametrize("frame", [0, 4, 9])
async def test_each_tick_gets_the_matte_of_its_frame(avatars: Path, frame: int) -> None:
    folder = avatars / "fake"
    cut_outs = CutOuts(find_mattes(folder, read_card(folder)), None)
    await cut_outs.load()
    _, matte = halves(cut_outs.draw(bare_tick(frame)))
    assert abs(int((matte[HEIGHT // 2] < 128).sum()) - STEP * frame) <= 1


async def test_the_label_stays_where_the_wall_goes(avatars: Path) -> None:
    folder = avatars / "fake"
    mattes = find_mattes(folder, read_card(folder))
    style = LabelStyle("en", "top-left", size=0.08)
    bare, labelled = CutOuts(mattes, None), CutOuts(mattes, style)
    tick = bare_tick(9)
    left, top, right, bottom = label_for(style, FRAME_SIZE).box
    assert right < 9 * STEP, "the label lies on the wall, else this proves nothing"
    box = np.s_[top:bottom, left:right]
    without, with_ = halves(bare.draw(tick)), halves(labelled.draw(tick))
    assert without[1][box].max() < 8
    assert np.median(with_[1][box]) > 120
    words = with_[1][box] > 250
    assert words.sum() > 30
    assert with_[0][box][words].mean() > 200
    outside = np.ones((HEIGHT, WIDTH), bool)
    outside[box] = False
    np.testing.assert_array_equal(with_[1][outside], without[1][outside])


async def test_without_a_matte_there_is_one_sentence() -> None:
    cut_outs = CutOuts(None, None)
    with pytest.raises(Unprocessable, match="has no matte"):
        await cut_outs.load()


async def test_who_takes_over_without_a_matte_is_shown_whole(avatars: Path) -> None:
    tick = bare_tick(0)
    picture, matte = halves(CutOuts(None, None).draw(tick))
    assert matte.min() == 255
    np.testing.assert_array_equal(picture, to_rgb(tick.picture))


async def test_mattes_fade_as_their_pictures_do(avatars: Path) -> None:
    folder = avatars / "fake"
    mattes = find_mattes(folder, read_card(folder))
    at_edge = np.s_[HEIGHT // 2, STEP * 5 + 3]
    alone = halves(CutOuts(mattes, None).draw(bare_tick(5)))[1][at_edge]
    faded = halves(CutOuts(mattes, None).draw(replace(bare_tick(5), other=9, other_share=0.25)))[1][at_edge]
    assert (alone, abs(int(faded) - 191) <= 3) == (255, True)
    # The presenter before, who has no matte, is all of the picture as far as it is still seen.
    before = replace(bare_tick(9), before=bare_tick(0), before_share=0.5)
    assert abs(int(halves(CutOuts(mattes, None).draw(before))[1][HEIGHT // 2, 5]) - 128) <= 3
    # And now it had one.
    after = CutOuts(None, None, mattes).draw(replace(bare_tick(0), before=bare_tick(9), before_share=0.5))
    assert abs(int(halves(after)[1][HEIGHT // 2, 5]) - 128) <= 3


async def offered() -> str:
    """An offer as Watcher makes it."""
    made: list[str] = []

    async def keep(offer: str) -> str:
        made.append(offer)
        raise InterruptedError

    watcher = Watcher()
    with pytest.raises(InterruptedError):
        await watcher.connect(keep)
    await watcher.close()
    return made[0]


async def test_whep_refuses_a_presenter_without_a_matte(http: httpx.AsyncClient) -> None:
    opened = (await http.post("/v1/sessions", json={"avatar": "other"})).json()
    response = await http.post(f"{opened['whep']}?alpha=1", content=await offered(), headers=SDP)
    assert response.status_code == 422
    assert "has no matte" in response.json()["detail"]
    assert (await http.get(f"/v1/sessions/{opened['id']}")).json()["viewers"] == 0


async def test_a_damaged_matte_is_told_when_the_avatar_enters(http: httpx.AsyncClient, avatars: Path) -> None:
    shutil.copyfile(avatars / "fake" / MATTE, avatars / "other" / MATTE)
    content = (avatars / "other" / MATTE).read_bytes()
    (avatars / "other" / MATTE).write_bytes(content[:100])
    response = await http.post("/v1/sessions", json={"avatar": "other"})
    assert response.status_code >= 400
    assert "matte.mp4" in response.json()["detail"]


async def next_picture(watcher: Watcher) -> av.VideoFrame:
    picture = await asyncio.wait_for(watcher.pictures.recv(), 10)
    assert isinstance(picture, av.VideoFrame)
    return picture


async def test_viewers_with_and_without_the_wall_share_a_session(
    http: httpx.AsyncClient, session: dict[str, str], app: FastAPI
) -> None:
    plain, clear = Watcher(), Watcher()
    await plain.connect(exchange(http, session["whep"]))
    await clear.connect(exchange(http, f"{session['whep']}?alpha=1"))
    whole = await next_picture(plain)
    both = await next_picture(clear)
    assert (whole.width, whole.height) == (WIDTH, HEIGHT)
    assert (both.width, both.height) == (WIDTH, 2 * HEIGHT)
    edges = set()
    for _ in range(2 * FRAMES):
        grey = (await next_picture(clear)).to_ndarray(format="rgb24")[HEIGHT + HEIGHT // 2, :, 1]
        edges.add(round((grey < 128).sum() / STEP))
    assert edges == set(range(FRAMES)), "every matte of the loop comes by"
    await plain.close()
    await clear.close()
