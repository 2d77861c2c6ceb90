"""MediaPipe's tracker, and how its model is found."""

import hashlib
import http.server
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from engine.anchor import mediapipe_tracker
from engine.anchor.crop import crop_from_landmarks
from engine.anchor.mediapipe_tracker import MediaPipeTracker, face_model
from engine.errors import MissingToolError
from engine.picture.video import read_rgb


def test_follows_a_real_face(data_folder: Path) -> None:
    frames = list(islice(read_rgb(data_folder / "clips" / "grid-bbaf2n.mpg"), 30))
    with MediaPipeTracker(data_folder / "models" / "face_landmarker.task") as tracker:
        faces = [tracker.track(frame, number * 40) for number, frame in enumerate(frames)]
    found = [face for face in faces if face is not None]
    assert len(found) == 30
    for face in found:
        assert face.landmarks.shape == (478, 2)
        assert 0 <= face.blendshapes["jawOpen"] <= 1
        assert "mouthPucker" in face.blendshapes
        assert 60 < crop_from_landmarks(face.landmarks).size < 250


def test_sees_no_face_where_there_is_none(data_folder: Path) -> None:
    with MediaPipeTracker(data_folder / "models" / "face_landmarker.task") as tracker:
        assert tracker.track(np.full((200, 200, 3), 90, np.uint8), 0) is None


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without a model, for which "model" is the right one."""
    monkeypatch.delenv("KOUBO_FACE_MODEL", raising=False)
    monkeypatch.setenv("KOUBO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KOUBO_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(mediapipe_tracker, "MODEL_SHA256", hashlib.sha256(b"model").hexdigest())
    return tmp_path


@pytest.fixture
def site(bare: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A web site that serves the files of a folder."""
    folder = bare / "site"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(folder))  # type: ignore[arg-type]

        def log_message(self, *args: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        monkeypatch.setattr(
            mediapipe_tracker, "MODEL_URL", f"http://127.0.0.1:{server.server_port}/face_landmarker.task"
        )
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder
        server.shutdown()
        thread.join()


def test_a_named_model_comes_first(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = bare / "mine.task"
    monkeypatch.setenv("KOUBO_FACE_MODEL", str(named))
    with pytest.raises(MissingToolError, match="KOUBO_FACE_MODEL"):
        face_model()
    named.write_bytes(b"another model")
    assert face_model() == named


def test_the_cache_then_the_data_folder(bare: Path) -> None:
    for folder in ("cache", "data/models"):
        (bare / folder).mkdir(parents=True)
    data, cache = bare / "data" / "models" / "face_landmarker.task", bare / "cache" / "face_landmarker.task"
    data.write_bytes(b"model")
    assert face_model() == data
    cache.write_bytes(b"broken")
    assert face_model() == data
    cache.write_bytes(b"model")
    assert face_model() == cache


def test_it_is_fetched_once(site: Path, bare: Path) -> None:
    (site / "face_landmarker.task").write_bytes(b"model")
    fetched = face_model()
    assert fetched == bare / "cache" / "face_landmarker.task"
    (site / "face_landmarker.task").unlink()
    assert face_model().read_bytes() == b"model"
    assert len(list(fetched.parent.iterdir())) == 1


def test_another_file_is_not_accepted(site: Path, bare: Path) -> None:
    (site / "face_landmarker.task").write_bytes(b"an error page")
    with pytest.raises(MissingToolError, match="not the expected file"):
        face_model()
    assert not (bare / "cache").exists()


def test_a_machine_without_network_is_told_what_to_do(site: Path) -> None:
    with pytest.raises(MissingToolError, match="KOUBO_FACE_MODEL"):
        face_model()
