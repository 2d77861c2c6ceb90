"""Which way a matte is made, and when none is."""

from pathlib import Path

import numpy as np
import pytest

from engine.anchor.choose_matte import matte_maker
from engine.anchor.matte import MatteVideo
from engine.errors import MissingToolError
from tests.engine.anchor.test_key_matte import GREEN, WHITE, before, presenter
from tests.films import write


@pytest.fixture(autouse=True)
def no_segmenter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KOUBO_SEGMENTER", raising=False)


def test_a_green_wall_is_keyed_and_its_light_taken_off(tmp_path: Path) -> None:
    film = write(tmp_path / "green.mp4", [before(GREEN)] * 3)
    with matte_maker("auto", film, 720, 0, 3) as maker:
        assert maker.matter is not None
        assert maker.clean is not None
        assert maker.finding is None
        found = maker.matter.matte(before(GREEN), 0)
    assert np.abs(found.astype(int) - presenter("ada")[1]).mean() < 1


def test_a_white_wall_needs_no_cleaning(tmp_path: Path) -> None:
    film = write(tmp_path / "white.mp4", [before(WHITE)] * 3)
    with matte_maker("auto", film, 720, 1, 3) as maker:
        assert maker.matter is not None
        assert maker.clean is None


def test_any_other_wall_is_left_alone_with_one_sentence(tmp_path: Path) -> None:
    film = write(tmp_path / "grey.mp4", [presenter("ada")[0]] * 3)
    with matte_maker("auto", film, 720, 0, 3) as maker:
        assert maker.matter is None
        assert maker.finding is not None
        assert (maker.finding.code, maker.finding.severity) == ("no-matte", "advice")


def test_the_wall_is_judged_where_the_clip_is(tmp_path: Path) -> None:
    film = write(tmp_path / "both.mp4", [presenter("ada")[0]] * 2 + [before(GREEN)] * 3)
    with matte_maker("auto", film, 720, 2, 5) as maker:
        assert maker.matter is not None
    with matte_maker("auto", film, 720, 0, 5) as maker:
        assert maker.matter is None


def test_none_is_none_and_a_file_is_that_file(tmp_path: Path) -> None:
    with matte_maker("none", tmp_path / "nothing.mp4", 720, 0, 3) as maker:
        assert (maker.matter, maker.clean, maker.finding) == (None, None, None)
    with matte_maker(tmp_path / "grey.mp4", tmp_path / "nothing.mp4", 720, 0, 3) as maker:
        assert isinstance(maker.matter, MatteVideo)


def test_a_named_segmenter_that_is_none_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film = write(tmp_path / "grey.mp4", [presenter("ada")[0]] * 2)
    monkeypatch.setenv("KOUBO_SEGMENTER", str(tmp_path / "none.tflite"))
    with pytest.raises(MissingToolError, match="KOUBO_SEGMENTER"), matte_maker("auto", film, 720, 0, 2):
        pass
