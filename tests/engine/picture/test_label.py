"""The visible label: words of the prescribed height, legible anywhere, and the anchor never touched."""

import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from engine.anchor.crop import Picture
from engine.picture import draw_marks
from engine.picture.label import (
    MARKS,
    MASK_HEIGHT,
    OPACITIES,
    SIZES,
    WORDS,
    Corner,
    Label,
    LabelStyle,
    Language,
    label_for,
    stamp,
)
from engine.picture.yuv import Frame, planes, to_i420, to_rgb

LANGUAGES: tuple[Language, ...] = ("zh", "en", "both")
CORNERS: tuple[Corner, ...] = ("top-left", "top-right", "bottom-left", "bottom-right")
PICTURES = ((640, 360), (360, 640), (1280, 720), (720, 720), (1920, 1080), (160, 192))
FONTS = (
    (Path("/usr/share/fonts/opentype/noto/NotoSansCJK-Bold.ttc"), 2),
    (Path("/usr/share/fonts/truetype/wqy/wqy-microhei.ttc"), 0),
)


def plain(size: tuple[int, int], level: int) -> Frame:
    return to_i420(np.full((size[1], size[0], 3), level, np.uint8))


def busy(size: tuple[int, int]) -> Frame:
    noise = np.random.default_rng(3).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return to_i420(noise)


def mask(folder: Path, language: Language) -> Frame:
    ink = cv2.imread(str(folder / f"{language}.png"), cv2.IMREAD_GRAYSCALE)
    assert ink is not None
    return np.asarray(ink, np.uint8)


def touched(before: Frame, after: Frame) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of what differs in the luma plane."""
    rows, columns = np.nonzero(planes(before)[0] != planes(after)[0])
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def luminance(grey: NDArray[np.uint8] | float) -> NDArray[np.float64]:
    """Relative luminance of grey levels, as WCAG defines it."""
    share = np.asarray(grey, np.float64) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def white_rows(picture: Frame, columns: slice = slice(None)) -> NDArray[np.int64]:
    """Rows of the luma plane that hold opaque words, on a black picture."""
    rows: NDArray[np.int64] = np.flatnonzero((planes(picture)[0][:, columns] > 120).any(axis=1))
    return rows


@pytest.mark.parametrize("size", PICTURES)
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("share", [SIZES[0], 0.055, 0.08])
def test_the_words_are_as_high_as_the_rules_ask(
    size: tuple[int, int], language: Language, share: float
) -> None:
    style = LabelStyle(language, size=share)
    picture = stamp(style, plain(size, 0))
    left, _, right, _ = label_for(style, size).box
    # With both languages the ideographs count; they are in the first quarter of the label.
    rows = white_rows(picture, slice(left, left + (right - left) // 4) if language == "both" else slice(None))
    narrow = language == "both" and size[0] <= size[1] and share > 0.07
    assert rows.max() + 1 - rows.min() >= (SIZES[0] if narrow else share) * min(size)
    assert rows.max() + 1 - rows.min() <= share * min(size) + 3


@pytest.mark.parametrize("size", PICTURES)
@pytest.mark.parametrize("corner", CORNERS)
def test_it_stands_in_its_corner_away_from_the_edges(size: tuple[int, int], corner: Corner) -> None:
    before = plain(size, 255)
    left, top, right, bottom = touched(before, stamp(LabelStyle(corner=corner), before))
    margins = {"left": left, "right": size[0] - right, "top": top, "bottom": size[1] - bottom}
    near = set(corner.split("-"))
    for side, margin in margins.items():
        assert (margin <= 0.06 * min(size)) == (side in near)
        assert margin >= 0.02 * min(size)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("share", [SIZES[0], 0.1, SIZES[1]])
@pytest.mark.parametrize("size", [(360, 640), (64, 64), (720, 720)])
def test_every_label_fits_whole(language: Language, share: float, size: tuple[int, int]) -> None:
    left, top, right, bottom = Label(LabelStyle(language, "bottom-right", share), size).box
    assert 0 <= left < right <= size[0]
    assert 0 <= top < bottom <= size[1]


@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("opacity", OPACITIES)
def test_words_and_pill_differ_on_every_ground(level: int, opacity: float) -> None:
    size = (720, 720)
    style = LabelStyle(opacity=opacity)
    left, top, right, bottom = label_for(style, size).box
    seen = to_rgb(stamp(style, plain(size, level)))[top:bottom, left:right, 1]
    pill = seen[3, (right - left) // 2]
    contrast = (luminance(float(seen.max())) + 0.05) / (luminance(float(pill)) + 0.05)
    assert contrast >= 3
    assert seen.max() >= 250


def test_a_busy_ground_hides_nothing() -> None:
    ink = planes(stamp(LabelStyle(), plain((720, 720), 0)))[0] > 200
    seen = planes(stamp(LabelStyle(), busy((720, 720))))[0]
    left, top, right, bottom = label_for(LabelStyle(), (720, 720)).box
    behind = ~cv2.dilate(ink.astype(np.uint8), np.ones((5, 5))).astype(bool)
    box = (slice(top + 8, bottom - 8), slice(left + 12, right - 12))
    assert seen[ink].min() > 180
    assert seen[box][behind[box]].max() < 130


def test_the_words_can_be_read_back() -> None:
    """The shipped masks, drawn small by the label, are still nearest to themselves."""
    masks = {language: mask(MARKS, language) for language in LANGUAGES}
    for language in LANGUAGES:
        style = LabelStyle(language, size=SIZES[0])
        seen = planes(stamp(style, plain((640, 360), 0)))[0]
        rows, columns = np.nonzero(seen > 60)
        words = seen[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].astype(np.float64)
        likeness = {
            name: np.corrcoef(
                cv2.resize(ink, words.shape[::-1], interpolation=cv2.INTER_AREA).ravel().astype(np.float64),
                words.ravel(),
            )[0, 1]
            for name, ink in masks.items()
        }
        assert max(likeness, key=lambda name: likeness[name]) == language
        assert likeness[language] > 0.97


def test_the_picture_given_stays_as_it_is() -> None:
    picture = busy((720, 720))
    picture.flags.writeable = False
    before = picture.copy()
    out = stamp(LabelStyle(), picture)
    assert np.array_equal(picture, before)
    assert not np.shares_memory(out, picture)
    assert out.shape == picture.shape
    assert out.flags.writeable


@pytest.mark.parametrize("corner", CORNERS)
def test_nothing_outside_its_box_changes(corner: Corner) -> None:
    before = busy((640, 360))
    style = LabelStyle("both", corner, 0.07)
    after = stamp(style, before)
    left, top, right, bottom = label_for(style, (640, 360)).box
    for full, (old, new) in zip((1, 2, 2), zip(planes(before), planes(after), strict=True), strict=True):
        differs = old != new
        assert differs.any()
        differs[top // full : bottom // full, left // full : right // full] = False
        assert not differs.any()


def test_the_label_is_grey_whatever_lies_below() -> None:
    """Chroma goes with luma: no coloured fringe around opaque words on a coloured ground."""
    ground: Picture = np.zeros((720, 720, 3), np.uint8)
    ground[..., 0] = 220
    style = LabelStyle(opacity=1.0)
    left, top, right, bottom = label_for(style, (720, 720)).box
    seen = to_rgb(stamp(style, to_i420(ground)))[top + 14 : bottom - 14, left + 14 : right - 14].astype(int)
    assert np.ptp(seen, axis=2).max() <= 6


def test_the_pill_is_as_dark_as_asked() -> None:
    size = (720, 720)
    levels = []
    for opacity in (0.5, 0.75, 1.0):
        style = LabelStyle(opacity=opacity)
        left, top, right, _ = label_for(style, size).box
        levels.append(int(planes(stamp(style, plain(size, 255)))[0][top + 3, (left + right) // 2]))
    assert levels == pytest.approx([235 - 219 * opacity for opacity in (0.5, 0.75, 1.0)], abs=2)


@pytest.mark.parametrize("size", [0.049, 0.151, 0.0, -1.0, float("nan")])
def test_a_size_against_the_rules_is_refused(size: float) -> None:
    with pytest.raises(ValueError, match="label's size"):
        LabelStyle(size=size)


@pytest.mark.parametrize("opacity", [0.49, 1.01, float("nan")])
def test_an_opacity_against_the_rules_is_refused(opacity: float) -> None:
    with pytest.raises(ValueError, match="label's opacity"):
        replace(LabelStyle(), opacity=opacity)


def test_pictures_of_one_size_share_a_label() -> None:
    assert label_for(LabelStyle(), (640, 360)) is label_for(LabelStyle(), (640, 360))
    assert label_for(LabelStyle("en"), (640, 360)) is not label_for(LabelStyle(), (640, 360))


def test_the_same_label_every_time() -> None:
    picture = busy((360, 640))
    assert np.array_equal(stamp(LabelStyle(), picture), stamp(LabelStyle(), picture))


def over(picture: Frame, matte: Frame, page: int) -> NDArray[np.float64]:
    """The luma plane of a cut-out picture as it is seen on a page of one level."""
    alpha = matte / 255
    seen: NDArray[np.float64] = planes(picture)[0] * alpha + page * (1 - alpha)
    return seen


@pytest.mark.parametrize("page", [16, 120, 235])
@pytest.mark.parametrize("ground", [0, 255])
def test_on_a_cut_out_it_looks_as_on_the_page_itself(page: int, ground: int) -> None:
    """Where the presenter is not, nothing of the picture shows, whatever lay there."""
    size, style = (720, 720), LabelStyle("both")
    label = label_for(style, size)
    seen = over(*label.stamp_cut_out(plain(size, ground), np.zeros((720, 720), np.uint8)), page)
    whole = np.full((1080, 720), 128, np.uint8)
    whole[:720] = page
    expected = planes(label.stamp(whole))[0]
    assert np.abs(seen - expected).max() <= 2


def test_on_the_presenter_a_cut_out_is_labelled_as_any_picture() -> None:
    label, picture = label_for(LabelStyle(), (720, 720)), busy((720, 720))
    out, matte = label.stamp_cut_out(picture, np.full((720, 720), 255, np.uint8))
    assert np.abs(out.astype(int) - label.stamp(picture)).max() <= 1
    assert (matte == 255).all()


def test_half_a_presenter_shines_through_by_half() -> None:
    size = (720, 720)
    label = label_for(LabelStyle(), size)
    half = np.full((720, 720), 128, np.uint8)
    seen = over(*label.stamp_cut_out(plain(size, 255), half), 16)
    share = 128 / 255
    ground = np.full((1080, 720), 128, np.uint8)
    ground[:720] = round(235 * share + 16 * (1 - share))
    assert np.abs(seen - planes(label.stamp(ground))[0]).max() <= 2


def test_a_cut_out_and_its_matte_stay_as_they_were_outside_the_label() -> None:
    label, picture = label_for(LabelStyle(), (640, 360)), busy((640, 360))
    matte = np.random.default_rng(1).integers(0, 256, (360, 640), dtype=np.uint8)
    given = picture.copy(), matte.copy()
    out, shown = label.stamp_cut_out(picture, matte)
    assert np.array_equal(picture, given[0])
    assert np.array_equal(matte, given[1])
    left, top, right, bottom = label.box
    for before, after in ((matte, shown), (planes(picture)[0], planes(out)[0])):
        differs = before != after
        assert differs.any()
        differs[top:bottom, left:right] = False
        assert not differs.any()


def test_stamping_takes_far_less_than_a_tick() -> None:
    picture = busy((720, 720))
    label = label_for(LabelStyle(), (720, 720))
    times = []
    for _ in range(200):
        start = time.perf_counter()
        label.stamp(picture)
        times.append(time.perf_counter() - start)
    assert np.median(times) < 0.001  # 0.3 ms on a quiet machine


def test_the_shipped_masks_say_what_they_should() -> None:
    for language, words in WORDS.items():
        ink = mask(MARKS, language)
        assert MASK_HEIGHT <= ink.shape[0] <= 1.25 * MASK_HEIGHT
        # Cropped to the ink: every edge holds some.
        assert all(edge.max() > 15 for edge in (ink[0], ink[-1], ink[:, 0], ink[:, -1]))
        assert words.text.startswith("AI")
        assert "生成" in words.text or "generated" in words.text
    assert sum(path.stat().st_size for path in MARKS.glob("*.png")) < 60_000


@pytest.mark.parametrize(("font", "face"), FONTS)
def test_masks_can_be_drawn_anew(font: Path, face: int, tmp_path: Path) -> None:
    if not font.is_file():
        pytest.skip(f"{font.name} is not installed")
    pytest.importorskip("PIL", reason="Pillow is not installed")
    draw_marks.draw(font, face, tmp_path)
    for language in LANGUAGES:
        drawn, shipped = mask(tmp_path, language), mask(MARKS, language)
        assert MASK_HEIGHT - 2 <= drawn.shape[0] <= 1.4 * MASK_HEIGHT
        assert drawn.shape[1] == pytest.approx(shipped.shape[1], rel=0.15)
