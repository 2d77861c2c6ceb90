"""The tracker face-alignment, with a package that has the real one's signatures (version 1.5)."""

import enum
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from engine.anchor.crop import Picture, Points, crop_from_landmarks
from engine.anchor.face_alignment_tracker import FaceAlignmentTracker
from engine.anchor.mediapipe_tracker import MediaPipeTracker
from engine.anchor.mesh_fit import NEIGHBOURS
from engine.errors import MissingToolError
from engine.picture.video import read_rgb
from tests.turned_faces import turned_face

AT = list(NEIGHBOURS)


class LandmarksType(enum.IntEnum):
    TWO_D = 1
    TWO_HALF_D = 2
    THREE_D = 3


class FaceAlignment:
    """Answers with the faces that a test puts into `shown`, as the real one does: a list, or a warning and
    None.
    """

    shown: list[Points] = []  # noqa: RUF012
    seen: list[tuple[int, ...]] = []  # noqa: RUF012
    made: dict[str, Any] = {}  # noqa: RUF012
    unreachable = False

    def __init__(
        self,
        landmarks_type: LandmarksType,
        network_size: int = 4,
        device: str = "cuda",
        dtype: object = None,
        flip_input: bool = True,
        face_detector: str = "sfd",
        face_detector_kwargs: dict[str, Any] | None = None,
        verbose: bool = False,
        compile: bool = True,
        max_batch_size: int = 1,
    ) -> None:
        if self.unreachable:
            raise OSError("[Errno -2] Name or service not known")
        type(self).made = {"landmarks_type": landmarks_type, "device": device, "compile": compile}

    def get_landmarks_from_image(
        self,
        image_or_path: Picture,
        detected_faces: object = None,
        return_bboxes: bool = False,
        return_landmark_score: bool = False,
    ) -> list[Points] | None:
        self.seen.append(image_or_path.shape)
        if not self.shown:
            warnings.warn("No faces were detected.", stacklevel=1)
            return None
        return list(self.shown)


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> type[FaceAlignment]:
    class Fresh(FaceAlignment):
        shown: list[Points] = []  # noqa: RUF012
        seen: list[tuple[int, ...]] = []  # noqa: RUF012

    module, torch, cuda = ModuleType("face_alignment"), ModuleType("torch"), ModuleType("torch.cuda")
    cuda.is_available = lambda: False  # type: ignore[attr-defined]
    torch.cuda = cuda  # type: ignore[attr-defined]
    module.FaceAlignment, module.LandmarksType = Fresh, LandmarksType  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "face_alignment", module)
    monkeypatch.setitem(sys.modules, "torch", torch)
    return Fresh


FRAME = np.zeros((360, 640, 3), np.uint8)


def test_a_face_comes_as_the_houses_mesh(package: type[FaceAlignment]) -> None:
    face = turned_face(yaw=10)
    package.shown = [face[AT]]
    with FaceAlignmentTracker() as tracker:
        found = tracker.track(FRAME, 0)
    assert found is not None
    assert found.landmarks.shape == (478, 2)
    assert crop_from_landmarks(found.landmarks).size == pytest.approx(
        crop_from_landmarks(face).size, rel=0.01
    )
    assert package.made == {"landmarks_type": LandmarksType.TWO_D, "device": "cpu", "compile": False}


def test_no_face_is_no_warning(package: type[FaceAlignment]) -> None:
    with FaceAlignmentTracker() as tracker:
        assert tracker.track(FRAME, 0) is None
        assert tracker.track_all(FRAME, 40) == []


def test_large_pictures_are_shrunk_and_points_come_back(package: type[FaceAlignment]) -> None:
    package.shown = [turned_face((160, 100), 40)[AT]]
    with FaceAlignmentTracker() as tracker:
        found = tracker.track(np.zeros((1440, 2560, 3), np.uint8), 0)
    assert package.seen == [(360, 640, 3)]
    assert found is not None
    np.testing.assert_allclose(found.landmarks[[33, 133, 362, 263]].mean(axis=0), (640, 400), atol=8)


def test_the_largest_face_comes_first_and_only_so_many(package: type[FaceAlignment]) -> None:
    sizes = (40, 80, 60)
    package.shown = [turned_face((100 + 150 * k, 150), size)[AT] for k, size in enumerate(sizes)]
    with FaceAlignmentTracker(faces=2) as tracker:
        found = tracker.track_all(FRAME, 0)
        first = tracker.track(FRAME, 40)
    widths = [float(np.ptp(face.landmarks[:, 0])) for face in found]
    assert len(widths) == 2
    assert widths[0] > widths[1] > 60
    assert first is not None
    np.testing.assert_array_equal(first.landmarks, found[0].landmarks)


def test_depth_is_ignored_and_nonsense_left_out(package: type[FaceAlignment]) -> None:
    solid = np.column_stack([turned_face()[AT], np.ones(68, np.float32)]).astype(np.float32)
    package.shown = [solid, np.full((68, 2), 3, np.float32)]
    with FaceAlignmentTracker(faces=3) as tracker:
        assert len(tracker.track_all(FRAME, 0)) == 1


def test_the_jaw_and_round_lips_are_told(package: type[FaceAlignment]) -> None:
    def shapes(face: Points) -> tuple[float, float]:
        package.shown = [face[AT]]
        with FaceAlignmentTracker() as tracker:
            found = tracker.track(FRAME, 0)
        assert found is not None
        return found.blendshapes["jawOpen"], found.blendshapes["mouthPucker"]

    shut, half, wide = (shapes(turned_face(opening=opening)) for opening in (0.0, 0.5, 1.0))
    assert shut[0] < 0.05 < half[0] < wide[0] <= 1
    assert shut[1] < 0.1
    narrow = turned_face()
    lips = AT[48:]
    middle = narrow[lips, 0].mean()
    narrow[lips, 0] = (narrow[lips, 0] - middle) * 0.7 + middle
    assert shapes(narrow)[1] > 0.7


def test_without_the_package_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "face_alignment", None)
    with pytest.raises(MissingToolError, match="pip install face-alignment"):
        FaceAlignmentTracker()


def test_weights_out_of_reach_are_a_sentence(package: type[FaceAlignment]) -> None:
    package.unreachable = True
    with pytest.raises(MissingToolError, match="weights of face-alignment could not be fetched"):
        FaceAlignmentTracker()


def test_jaw_follows_mediapipes_on_a_real_face(package: type[FaceAlignment], data_folder: Path) -> None:
    ours, theirs = [], []
    clip = data_folder / "clips" / "grid-lrwp9a.mpg"
    model = data_folder / "models" / "face_landmarker.task"
    with MediaPipeTracker(model) as judge, FaceAlignmentTracker() as tracker:
        for number, frame in enumerate(read_rgb(clip)):
            face = judge.track(frame, number * 40)
            assert face is not None
            package.shown = [face.landmarks[AT]]
            found = tracker.track(frame, number * 40)
            assert found is not None
            ours.append(found.blendshapes["jawOpen"])
            theirs.append(face.blendshapes["jawOpen"])
    assert float(np.corrcoef(ours, theirs)[0, 1]) > 0.8
    assert float(np.abs(np.subtract(ours, theirs)).mean()) < 0.12
