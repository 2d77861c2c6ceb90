"""Another presenter takes over in a live session: speech, viewers and encoders go on."""

import asyncio
import shutil
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import av
import httpx
import numpy as np
import pytest
from pydantic import SecretStr

from engine.anchor.card import ANCHOR, CARD
from engine.errors import KouboError
from streaming.cast import EngineCast
from streaming.events import AvatarChanged, Event, SpeakEnded
from streaming.server import create_app
from streaming.sessions import Session
from streaming.settings import Settings
from streaming.webrtc.client import Watcher
from tests.fakes import FRAME_SIZE, FRAMES, FakeMouth, speech_like
from tests.streaming.conftest import SDP, eventually, exchange
from tests.streaming.presenters import add_matte, brightness, make_presenter
from tests.streaming.spectator import Spectator

Change = Callable[[str], Awaitable[httpx.Response]]

WIDE = (256, 144)
DARK = 0.5
WIDTH, HEIGHT = FRAME_SIZE


@pytest.fixture
def avatars(avatars: Path) -> Path:
    """Besides `fake`: `other` is darker, `wide` darker and of another size."""
    shutil.rmtree(avatars / "other")
    make_presenter(avatars, "other", shade=DARK)
    make_presenter(avatars, "wide", shade=DARK, size=WIDE)
    return avatars


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"label": "off", "label_off_reason": "pictures are compared"})


@pytest.fixture
def change(http: httpx.AsyncClient, session: dict[str, str]) -> Change:
    """Asks for another presenter."""

    async def ask(avatar: str) -> httpx.Response:
        return await http.patch(f"/v1/sessions/{session['id']}", json={"avatar": avatar})

    return ask


def is_dark(spectator: Spectator) -> bool:
    """Whether the last picture is that of a darker presenter."""
    return bool(spectator.ticks) and brightness(spectator.ticks[-1]) < 0.75 * brightness(spectator.ticks[0])


async def test_another_presenter_takes_over(
    live: Session, spectator: Spectator, told: list[Event], change: Change
) -> None:
    await eventually(lambda: len(spectator.ticks) > 3)
    response = await change("other")
    assert response.status_code == 200
    assert response.json()["avatar"] == "other"
    await eventually(lambda: is_dark(spectator))
    (event,) = told
    assert isinstance(event, AvatarChanged)
    assert event.avatar == "other"
    first = next(
        slot for slot, tick in zip(spectator.slots, spectator.ticks, strict=True) if tick.avatar == "other"
    )
    assert event.at == first / 25
    # Not one slot was left out, nor came twice.
    assert set(np.diff(spectator.slots)) == {1}
    back = await change("fake")
    assert back.json()["avatar"] == "fake"
    await eventually(lambda: not is_dark(spectator))
    assert [event.type for event in told] == ["avatar_changed"] * 2


async def test_pictures_keep_their_size(live: Session, spectator: Spectator, change: Change) -> None:
    await eventually(lambda: len(spectator.ticks) > 3)
    response = await change("wide")
    assert response.json()["size"] == list(FRAME_SIZE)
    await eventually(lambda: is_dark(spectator))
    assert {tick.picture.shape for tick in spectator.ticks} == {(HEIGHT * 3 // 2, WIDTH)}
    assert live.part.size == FRAME_SIZE


async def test_what_is_said_goes_on_to_the_sample(
    live: Session, spectator: Spectator, told: list[Event], change: Change
) -> None:
    speech = speech_like(2.0)
    live.playback.open("news")
    live.playback.push("news", speech)
    live.playback.finish("news")
    await eventually(lambda: any(tick.speaking for tick in spectator.ticks))
    assert (await change("wide")).status_code == 200
    assert live.backlog_s > 0, "it took over while it was speaking"
    await eventually(lambda: any(isinstance(event, SpeakEnded) for event in told))
    (ended,) = (event for event in told if isinstance(event, SpeakEnded))
    assert (ended.played_ms, ended.interrupted) == (2000.0, False)
    positions = [tick.position for tick in spectator.ticks]
    assert positions == sorted(positions)
    assert any(tick.speaking and tick.avatar == "wide" for tick in spectator.ticks)
    heard = np.concatenate([tick.sound for tick in spectator.ticks]).astype(np.float64)
    said = np.rint(speech * 32767)
    at = int(np.argmax(np.correlate(heard, said, "valid")))
    assert np.abs(heard[at : at + said.size] - said).max() <= 1


async def test_a_viewer_sees_it_without_a_new_connection(
    http: httpx.AsyncClient, session: dict[str, str], live: Session, change: Change
) -> None:
    watcher = Watcher()
    await watcher.connect(exchange(http, session["whep"]))
    bright = await mean(watcher)
    assert (await change("wide")).status_code == 200

    async def darker() -> bool:
        return await mean(watcher) < 0.75 * bright

    await eventually(darker)
    assert len(live.viewers) == 1
    assert watcher.pc.connectionState == "connected"
    await watcher.close()


async def mean(watcher: Watcher) -> float:
    """Brightness in the middle of the next picture."""
    picture = await asyncio.wait_for(watcher.pictures.recv(), 10)
    assert isinstance(picture, av.VideoFrame)
    assert (picture.width, picture.height) == FRAME_SIZE
    grey = picture.to_ndarray(format="gray")
    return float(grey[HEIGHT // 3 : HEIGHT // 2, WIDTH * 2 // 5 : WIDTH * 3 // 5].mean())


async def test_the_same_presenter_again_changes_nothing(told: list[Event], change: Change) -> None:
    assert (await change("fake")).status_code == 200
    await asyncio.sleep(0.2)
    assert told == []


async def test_a_new_version_of_the_same_presenter_takes_over(
    avatars: Path, spectator: Spectator, told: list[Event], change: Change
) -> None:
    await eventually(lambda: len(spectator.ticks) > 3)
    shutil.rmtree(avatars / "fake")
    make_presenter(avatars, "fake", shade=DARK)
    assert (await change("fake")).status_code == 200
    await eventually(lambda: is_dark(spectator))
    assert [event.type for event in told] == ["avatar_changed"]


async def test_unknown_presenters_are_not_followed(live: Session, change: Change) -> None:
    for name in ("nobody", "../fake", "/etc", ""):
        response = await change(name)
        assert response.status_code == 404, name
        assert "known avatars: " in response.json()["detail"]
    assert live.part.role.name == "fake"


async def test_a_damaged_presenter_is_refused_and_the_other_stays(
    avatars: Path, spectator: Spectator, told: list[Event], live: Session, change: Change
) -> None:
    (avatars / "wide" / ANCHOR).write_bytes(b"no film")
    (avatars / "other" / CARD).write_text("{}")
    before = len(spectator.ticks)
    for name, what in (("wide", ANCHOR), ("other", "schema")):
        response = await change(name)
        assert response.status_code == 422
        assert what in response.json()["detail"]
    await eventually(lambda: len(spectator.ticks) > before + 5)
    assert {tick.avatar for tick in spectator.ticks} == {"fake"}
    assert told == []
    # And it can be mended.
    make_presenter(avatars, "wide", shade=DARK, size=WIDE)
    assert (await change("wide")).status_code == 200


async def test_one_change_at_a_time(
    live: Session, spectator: Spectator, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    going_on, may_end = threading.Event(), threading.Event()
    find = EngineCast.role

    async def slow(self: EngineCast, name: str, canvas: tuple[int, int]) -> object:
        going_on.set()
        await asyncio.to_thread(may_end.wait, 10)
        return await find(self, name, canvas)

    monkeypatch.setattr(EngineCast, "role", slow)
    first = asyncio.ensure_future(change("other"))
    await eventually(going_on.is_set)
    before = len(spectator.ticks)
    second = await change("wide")
    assert second.status_code == 409
    assert "is being changed" in second.json()["detail"]
    await eventually(lambda: len(spectator.ticks) > before + 5)
    assert spectator.ticks[-1].avatar == "fake", "the presenter before goes on while the next is loaded"
    may_end.set()
    assert (await first).status_code == 200
    assert (await change("wide")).status_code == 200


async def test_a_session_that_ends_meanwhile_leaves_nothing_behind(
    http: httpx.AsyncClient, session: dict[str, str], change: Change
) -> None:
    changing = asyncio.ensure_future(change("wide"))
    assert (await http.delete(f"/v1/sessions/{session['id']}")).status_code == 204
    assert (await changing).status_code in (200, 404)


async def test_a_presenter_can_be_prepared(
    http: httpx.AsyncClient, session: dict[str, str], live: Session, change: Change
) -> None:
    url = f"/v1/sessions/{session['id']}/prepare"
    assert (await http.post(url, json={"avatar": "wide"})).status_code == 204
    assert live.part.role.name == "fake"
    assert (await http.post(url, json={"avatar": "nobody"})).status_code == 404
    assert (await change("wide")).status_code == 200


async def test_what_comes_later_is_made_ready_in_the_background(
    live: Session, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streaming.library._FIRST", 2)
    assert (await change("other")).status_code == 200
    features = live.part.role.loaded.features
    await eventually(lambda: len(features) == FRAMES)


async def test_a_mouth_that_fails_in_the_background_is_logged_and_nothing_else(
    live: Session,
    spectator: Spectator,
    change: Change,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    former = live.part.role.loaded.features
    await eventually(lambda: len(former) == FRAMES)  # from now on only the next presenter's are computed
    monkeypatch.setattr("streaming.library._FIRST", 2)
    encode, calls = FakeMouth.encode, 0

    def fail_later(self: FakeMouth, faces: np.ndarray) -> object:
        nonlocal calls
        calls += 1
        if calls > 2:
            raise KouboError("The GPU's memory is full.")
        return encode(self, faces)

    monkeypatch.setattr(FakeMouth, "encode", fail_later)
    assert (await change("other")).status_code == 200
    await eventually(lambda: "other was not made ready: The GPU's memory is full." in caplog.text)
    before = len(spectator.ticks)
    await eventually(lambda: len(spectator.ticks) > before + 5)
    monkeypatch.setattr(FakeMouth, "encode", encode)
    assert (await change("fake")).status_code == 200


async def test_who_may_only_watch_changes_nothing(avatars: Path, settings: Settings) -> None:
    guarded = settings.model_copy(
        update={"operate_tokens": (SecretStr("boss" * 8),), "watch_tokens": (SecretStr("eye" * 8),)}
    )
    app = create_app(guarded, EngineCast(lambda folder: FakeMouth(), "fake"))
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://koubo.test") as http:
            boss, eye = ({"Authorization": f"Bearer {name * 8}"} for name in ("boss", "eye"))
            opened = (await http.post("/v1/sessions", headers=boss)).json()
            path = f"/v1/sessions/{opened['id']}"
            for method, url, body in (
                ("PATCH", path, {"avatar": "other"}),
                ("POST", f"{path}/prepare", {"avatar": "other"}),
                ("POST", f"{path}/clips", {"clip": "idle"}),
            ):
                assert (await http.request(method, url, json=body)).status_code == 401
                assert (await http.request(method, url, json=body, headers=eye)).status_code == 403
                assert (await http.request(method, url, json=body, headers=boss)).status_code < 300


async def test_who_watches_the_cut_out_sees_all_of_a_presenter_without_matte(
    http: httpx.AsyncClient, session: dict[str, str], avatars: Path
) -> None:
    add_matte(make_presenter(avatars, "clear"))
    path = f"/v1/sessions/{session['id']}"
    assert (await http.patch(path, json={"avatar": "clear"})).status_code == 200
    watcher = Watcher()
    await watcher.connect(exchange(http, f"{session['whep']}?alpha=1"))

    async def wall_is(share: float) -> bool:
        picture = await asyncio.wait_for(watcher.pictures.recv(), 10)
        assert isinstance(picture, av.VideoFrame)
        assert (picture.width, picture.height) == (WIDTH, 2 * HEIGHT)
        matte = picture.to_ndarray(format="gray")[HEIGHT:]
        return abs(float((matte < 128).mean()) - share) < 0.02

    await eventually(lambda: wall_is(0.5))
    assert (await http.patch(path, json={"avatar": "other"})).status_code == 200
    await eventually(lambda: wall_is(0.0))
    # Nobody new is let in without a matte; who is there already stays, and sees the next one cut out again.
    refused = await http.post(
        f"{session['whep']}?alpha=1", content=watcher.pc.localDescription.sdp, headers=SDP
    )
    assert refused.status_code == 422
    assert (await http.patch(path, json={"avatar": "clear"})).status_code == 200
    await eventually(lambda: wall_is(0.5))
    assert watcher.pc.connectionState == "connected"
    await watcher.close()


async def test_around_a_fitted_presenter_there_is_wall(
    http: httpx.AsyncClient, session: dict[str, str], live: Session, avatars: Path
) -> None:
    add_matte(make_presenter(avatars, "clear", size=WIDE))
    assert (await http.patch(f"/v1/sessions/{session['id']}", json={"avatar": "clear"})).status_code == 200
    mattes = live.part.role.mattes
    assert mattes
    matte = mattes[0]
    assert matte.shape == (HEIGHT, WIDTH)
    shown = WIDTH * WIDE[1] / WIDE[0] / HEIGHT
    assert float((matte > 128).mean()) == pytest.approx(shown / 2, abs=0.02)
