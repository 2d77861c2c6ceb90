import json
import shutil
import struct
from pathlib import Path

import pytest

from engine.errors import BadMediaError, MissingToolError
from training.studio import renderer
from training.studio.renderer import FrameSpec, Look, chromium, stage

SMALL = Look(64, 64)


def write_glb(path: Path) -> Path:
    """A GLB with an empty scene: valid, but nobody who could talk."""
    text = json.dumps({"asset": {"version": "2.0"}, "scenes": [{"nodes": []}], "scene": 0}).encode()
    text += b" " * (-len(text) % 4)
    path.write_bytes(
        struct.pack("<4sII", b"glTF", 2, 20 + len(text)) + struct.pack("<I4s", len(text), b"JSON") + text
    )
    return path


def test_a_missing_character_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadMediaError, match="no character file"), stage(tmp_path / "none.glb", SMALL):
        pass


def test_a_file_that_is_no_glb_is_refused(tmp_path: Path) -> None:
    picture = tmp_path / "face.glb"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(BadMediaError, match="not a GLB"), stage(picture, SMALL):
        pass


def test_missing_chromium_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KOUBO_CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingToolError, match="apt install chromium"):
        chromium()


def test_missing_npm_says_what_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KOUBO_CACHE", str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(MissingToolError, match=r"Node\.js"):
        renderer.three_folder()


@pytest.mark.slow
@pytest.mark.browser
def test_a_character_without_visemes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadMediaError, match="lacks AE_AA"), stage(write_glb(tmp_path / "mute.glb"), SMALL):
        pass


@pytest.mark.slow
@pytest.mark.browser
def test_speaking_changes_the_mouth_and_nothing_else(data_folder: Path) -> None:
    import cv2
    import numpy as np

    character = data_folder / "characters" / "White_F_1_Busi.glb"
    pose = {"Head": (0.0, 0.05, 0.0)}
    with stage(character, Look(256, 256, fov=20)) as page:
        jpegs = page.render([FrameSpec(pose), FrameSpec(pose, {"AE_AA": 0.8}), FrameSpec(pose)])
    idle, speaking, again = (
        np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)) for jpeg in jpegs
    )
    np.testing.assert_array_equal(idle, again)
    changed = np.abs(idle.astype(int) - speaking).max(axis=2) > 30
    rows, columns = np.nonzero(changed)
    assert changed.sum() > 300
    assert rows.min() > 120
    assert 50 < columns.min() < columns.max() < 210


@pytest.mark.slow
@pytest.mark.browser
def test_a_matte_covers_the_character_and_leaves_the_wall_out(data_folder: Path) -> None:
    import cv2
    import numpy as np

    character = data_folder / "characters" / "White_F_1_Busi.glb"
    pictures = []
    for matte in (False, True):
        with stage(character, Look(256, 256, fov=20, matte=matte)) as page:
            (encoded,) = page.render([FrameSpec({})])
        pictures.append(cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR))
    colour, grey = pictures
    assert colour is not None
    assert grey is not None
    assert np.ptp(grey, axis=2).max() == 0
    assert grey[5, 5].max() == 0
    assert grey[128, 128].min() == 255
    # Where the matte ends the wall begins: the colour changes along its edge, more than elsewhere.
    steps = np.abs(np.diff(colour.astype(int), axis=1)).max(axis=2)
    edge = np.abs(np.diff(grey[..., 0].astype(int), axis=1)) > 128
    assert edge.sum() > 200
    assert np.median(steps[edge]) > 4 * np.median(steps[~edge])
