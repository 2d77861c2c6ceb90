"""Pages of pictures: where tiles lie, and how they are written."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.anchor.crop import Picture
from engine.anchor.page import WIDTH, Tile, line, page, strip, write_page
from engine.errors import BadMediaError

RED, BLUE = (200, 0, 0), (0, 0, 200)


def plain(colour: tuple[int, int, int], width: int = 60, height: int = 40) -> Picture:
    return np.full((height, width, 3), colour, np.uint8)


def columns_of(picture: Picture, colour: tuple[int, int, int]) -> tuple[int, int]:
    places = np.nonzero((picture == colour).all(axis=2).any(axis=0))[0]
    return int(places[0]), int(places[-1])


def test_tiles_lie_side_by_side_in_their_shape() -> None:
    row = strip([Tile(plain(RED)), Tile(plain(BLUE))], 4)
    assert row.shape[1] == WIDTH
    (left, right), (other, end) = columns_of(row, RED), columns_of(row, BLUE)
    assert 0 < left < right < other < end < WIDTH / 2
    assert right - left == end - other
    height = int((row == RED).all(axis=2).any(axis=1).sum())
    assert height == pytest.approx((right - left + 1) * 40 / 60, abs=1)


def test_more_tiles_than_columns_make_rows() -> None:
    one, three = strip([Tile(plain(RED))] * 2, 2), strip([Tile(plain(RED))] * 3, 2)
    assert len(three) == 2 * len(one)


def test_tiles_of_several_heights_share_a_row() -> None:
    row = strip([Tile(plain(RED, height=120)), Tile(plain(BLUE, height=20))], 2)
    tall, low = ((row == colour).all(axis=2).any(axis=1).sum() for colour in (RED, BLUE))
    assert tall == pytest.approx(6 * low, abs=4)


def test_words_are_seen_on_any_picture() -> None:
    for shade in (0, 128, 255):
        bare = strip([Tile(plain((shade,) * 3))], 2)
        labelled = strip([Tile(plain((shade,) * 3), "frame 12", RED)], 2)
        changed = (bare != labelled).any(axis=2)
        assert 0 < changed.mean() < 0.05
        assert (np.abs(labelled.astype(int) - RED).max(axis=2) < 40).any()


def test_a_line_is_as_wide_as_the_page_however_long_it_is() -> None:
    assert line("short").shape == line("long " * 200).shape
    assert line("", large=True).shape[1] == WIDTH
    assert (line("words") != line("")).any()
    assert (line("小美") != line("")).any()


def test_a_page_holds_its_parts_in_order() -> None:
    made = page([line("title"), strip([Tile(plain(RED))], 3), strip([Tile(plain(BLUE))], 3)])
    rows = [np.nonzero((made == colour).all(axis=2).any(axis=1))[0] for colour in (RED, BLUE)]
    assert rows[0][-1] < rows[1][0]


@pytest.mark.parametrize("name", ["p.png", "p.jpg", "p.JPEG"])
def test_pages_are_written_as_pictures(name: str, tmp_path: Path) -> None:
    write_page(tmp_path / name, plain(RED))
    read = cv2.imread(str(tmp_path / name))
    assert read is not None
    assert np.abs(read[:, :, ::-1].astype(int) - RED).max() < 6
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_other_names_and_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadMediaError, match=r"\.jpg or \.png"):
        write_page(tmp_path / "p.gif", plain(RED))
    with pytest.raises(BadMediaError, match="cannot be written"):
        write_page(tmp_path / "none" / "p.png", plain(RED))
    (tmp_path / "p.png").mkdir()
    with pytest.raises(BadMediaError, match="cannot be written"):
        write_page(tmp_path / "p.png", plain(RED))
    assert [path.name for path in tmp_path.iterdir()] == ["p.png"]
