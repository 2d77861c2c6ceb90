"""Trackers by name."""

import sys
from contextlib import closing
from pathlib import Path

import pytest

from engine.anchor.trackers import DEFAULT, NAMES, open_tracker
from engine.errors import KouboError, MissingToolError
from engine.picture.video import read_rgb


def test_the_names_are_those_of_the_command() -> None:
    assert NAMES == ("mediapipe", "face-alignment")
    assert DEFAULT == "mediapipe"


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(KouboError, match=r"no face tracker 'dlib'.*mediapipe, face-alignment"):
        open_tracker("dlib")


def test_what_is_not_installed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "face_alignment", None)
    with pytest.raises(MissingToolError, match="pip install"):
        open_tracker("face-alignment")


def test_mediapipe_looks_for_several_faces(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOUBO_FACE_MODEL", str(data_folder / "models" / "face_landmarker.task"))
    frame = next(iter(read_rgb(data_folder / "clips" / "grid-bbaf2n.mpg")))
    with closing(open_tracker()) as tracker:
        assert len(tracker.track_all(frame, 0)) == 1
