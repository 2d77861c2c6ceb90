"""The contact sheet: what is drawn is what the package holds, and damage can be seen on it."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.anchor import contact_sheet as sheets
from engine.anchor.card import ANCHOR, MATTE, read_card, write_card
from engine.anchor.contact_sheet import SHAPES, contact_sheet
from engine.anchor.crop import Picture
from engine.anchor.package import Avatar, find_avatar
from engine.anchor.page import WIDTH, Tile, line, strip
from engine.anchor.pictures import Pictures
from engine.live import LiveAvatar
from engine.mouth.features import AnchorFeatures
from engine.mouth.openvino_runtime import OpenVinoMouth
from engine.picture.video import VideoWriter
from engine.picture.yuv import to_i420
from engine.speech import espeak
from tests.fakes import FRAME_SIZE, FRAMES, FakeMouth, paint_face

WHITE, GREEN, RED = (255, 255, 255), (90, 230, 120), (255, 100, 90)
FRAME_WIDTH, FRAME_HEIGHT = FRAME_SIZE


@pytest.fixture
def package(avatar_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(avatar_folder, tmp_path / "fake")


def near(picture: Picture, colour: tuple[int, int, int], far: int = 40) -> int:
    return int((np.abs(picture.astype(int) - colour).max(axis=2) < far).sum())


def test_a_whole_page(avatar: Avatar) -> None:
    heard: list[tuple[str, int, int]] = []
    sheet = contact_sheet(avatar, FakeMouth(), lambda *told: heard.append(told))
    assert sheet.dtype == np.uint8
    assert sheet.shape[1:] == (WIDTH, 3)
    assert len(sheet) > 800
    assert near(sheet, GREEN) > 500
    assert [done for _, done, _ in heard] == sorted(done for _, done, _ in heard)
    assert heard[-1][1] == heard[-1][2]


def test_the_square_is_drawn_where_the_crop_lies(avatar: Avatar) -> None:
    tile = sheets._drawn(avatar, 0)
    changed = (tile.picture != avatar.rgb(0)).any(axis=2)
    crop = avatar.card.crops[0]
    rows, columns = np.nonzero(changed)
    half = crop.size / 2
    assert columns.min() == pytest.approx(crop.cx - half, abs=3)
    assert columns.max() == pytest.approx(crop.cx + half, abs=3)
    assert rows.min() == pytest.approx(crop.cy - half, abs=3)
    assert tile.words == "0   mouth 100%"
    assert avatar.rgb(0) is not tile.picture


def test_the_mask_is_drawn_where_it_is_half(avatar: Avatar) -> None:
    tile = sheets._drawn(avatar, 0)
    line = (tile.picture.astype(int) - avatar.rgb(0))[..., 1] > 60
    line &= tile.picture[..., 0] < 150
    to_crop = avatar.card.crops[0].matrix(avatar.crop_size)
    rows, columns = np.nonzero(line)
    places = np.column_stack([columns, rows]) @ to_crop[:, :2].T + to_crop[:, 2]
    across, down = np.rint(places).astype(int).T
    values = avatar.mask(0)[down, across]
    assert len(places) > 50
    assert np.median(values) == pytest.approx(0.5, abs=0.15)


def test_a_turned_face_is_marked(package: Path) -> None:
    card = read_card(package)
    write_card(package, replace(card, clips=(replace(card.idle, shares=(0.0,) * 5 + (1.0,) * 5),)))
    avatar = Avatar.load(package)
    assert (sheets._drawn(avatar, 0).colour, sheets._drawn(avatar, 9).colour) == (RED, WHITE)


def test_every_clip_has_its_rows(package: Path, avatar: Avatar) -> None:
    (package / "clips").mkdir()
    shutil.copyfile(package / ANCHOR, package / "clips" / "wave.mp4")
    card = read_card(package)
    wave = replace(card.idle, name="wave", kind="gesture", file="clips/wave.mp4", loop="once")
    write_card(package, replace(card, clips=(card.idle, wave)))
    one, two = contact_sheet(avatar, FakeMouth()), contact_sheet(Avatar.load(package), FakeMouth())
    assert len(two) - len(one) > 2 * WIDTH / 7


def test_a_matte_is_shown_on_a_chequerboard(package: Path) -> None:
    disc = np.zeros((FRAME_HEIGHT, FRAME_WIDTH, 3), np.uint8)
    cv2.circle(disc, (FRAME_WIDTH // 2, FRAME_HEIGHT // 2), 60, WHITE, -1)
    with VideoWriter(package / MATTE, FRAME_SIZE) as video:
        for _ in range(FRAMES):
            video.write(to_i420(disc))
    avatar = Avatar.load(package)
    assert avatar.mattes is not None
    _, row = sheets._matte(avatar, avatar.mattes, 6)
    assert near(row, (200, 200, 200), 4) > 0.2 * row.shape[0] * WIDTH / 2
    assert near(row, (150, 150, 150), 4) > 0.2 * row.shape[0] * WIDTH / 2


@pytest.mark.parametrize(("loop", "says"), [("forward", "starts again"), ("pingpong", "turns back")])
def test_how_the_idle_clip_goes_round(
    loop: str, says: str, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clip that ends elsewhere shows a difference, unless it turns back."""
    card = read_card(package)
    idle = replace(card.idle, loop="forward" if loop == "forward" else "pingpong")
    write_card(package, replace(card, clips=(idle,)))
    with VideoWriter(package / ANCHOR, FRAME_SIZE) as video:
        for number in range(FRAMES):
            face = paint_face(*FRAME_SIZE)
            face[:, : 60 if number < FRAMES - 2 else 0] = 250
            video.write(to_i420(face))
    said: list[str] = []

    def heard(text: str) -> Picture:
        said.append(text)
        return line(text)

    monkeypatch.setattr(sheets, "line", heard)
    _, row = sheets._round(Avatar.load(package), 6)
    assert says in said[0]
    bright = near(row[:, 2 * WIDTH // 6 + 20 : 3 * WIDTH // 6 - 20], WHITE, 30)
    assert (bright > 2000) == (loop == "forward")


def test_a_hidden_cut_is_a_spike() -> None:
    even, cut = [1.0] * 50, [1.0] * 25 + [40.0] + [1.0] * 24
    tops = [
        int(np.nonzero(sheets._curve(steps, (200, 300)).max(axis=2) > 100)[0].min()) for steps in (even, cut)
    ]
    levels = [
        int(np.median(np.nonzero(sheets._curve(steps, (200, 300)).max(axis=2) > 100)[0]))
        for steps in (even, cut)
    ]
    assert abs(levels[0] - tops[0]) < 5
    assert levels[1] - tops[1] > 100
    assert sheets._curve([0.0], (20, 30)).shape == (20, 30, 3)


def test_each_shape_is_in_the_sentence() -> None:
    spoken = {phoneme.label.strip("ˈˌ") for phoneme in espeak.speak(sheets.SENTENCE, "en-us").phonemes}
    assert set(SHAPES) <= spoken


def test_the_mouth_speaks_on_it(avatar: Avatar, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silent as filmed; open in an open vowel."""
    seen: list[Sequence[Tile]] = []

    def looked(tiles: Sequence[Tile], columns: int) -> Picture:
        seen.append(tiles)
        return strip(tiles, columns)

    monkeypatch.setattr(sheets, "strip", looked)
    sheets._speaking(avatar, FakeMouth())
    said, filmed = seen
    assert [tile.words for tile in said] == ["silent", *(tile.words for tile in said[1:])]
    assert {tile.words for tile in said[1:]} == set(SHAPES.values())
    apart = {
        one.words: float(np.abs(one.picture.astype(int) - other.picture).mean())
        for one, other in zip(said, filmed, strict=True)
    }
    assert apart["silent"] == 0
    assert apart["ah"] > 0.3


def test_what_lies_beyond_the_picture_is_blank(avatar: Avatar) -> None:
    """Not smeared, as the mouth sees it: a person would take that for damage."""
    tick = LiveAvatar(avatar, AnchorFeatures(avatar, FakeMouth()), FakeMouth()).tick()
    crop = avatar.card.crops[0]
    far = replace(crop, cx=0.0)
    card = replace(avatar.card, clips=(replace(avatar.card.idle, crops=(far,) * FRAMES),))
    frames = Pictures.of([avatar.frame(k) for k in range(FRAMES)])
    moved = Avatar(avatar.folder, card, frames, None, avatar.mouth)
    close = sheets._close(moved, tick, avatar.rgb(0))
    half = close.shape[1] // 2
    assert near(close[:, : half - 4], sheets._PLOT, 1) == close.shape[0] * (half - 4)
    assert near(close[:, half + 4 :], sheets._PLOT, 1) < 0.2 * close[..., 0].size


def test_one_frame_is_enough(package: Path) -> None:
    card = read_card(package)
    one = replace(card.idle, crops=card.crops[:1], outlines=card.outlines[:1], shares=(1.0,))
    write_card(package, replace(card, clips=(one,), consent=None))
    with VideoWriter(package / ANCHOR, FRAME_SIZE) as video:
        video.write(to_i420(paint_face(*FRAME_SIZE)))
    assert contact_sheet(Avatar.load(package), FakeMouth()).shape[1] == WIDTH


def test_a_shipped_presenter_with_its_own_mouth() -> None:
    avatar = Avatar.load(find_avatar("kai"))
    sheet = contact_sheet(avatar, OpenVinoMouth(avatar.mouth))
    assert sheet.shape[1] == WIDTH
    assert near(sheet, (200, 200, 200), 3) > 10_000
