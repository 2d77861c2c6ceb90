"""From a video to a package."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from engine.anchor.card import Consent
from engine.anchor.crop import Picture
from engine.anchor.mediapipe_tracker import MediaPipeTracker
from engine.anchor.package import Avatar
from engine.anchor.prepare import AvatarFacts, prepare
from engine.anchor.tracker import Face
from engine.errors import AvatarError, BadMediaError, NoFaceError
from engine.picture.video import VideoWriter
from engine.picture.yuv import to_i420
from tests.fakes import FakeTracker, paint_face
from tests.tiny_mouth import write_tiny_mouth


def film(path: Path, pictures: list[Picture]) -> Path:
    height, width = pictures[0].shape[:2]
    with VideoWriter(path, (width, height)) as video:
        for picture in pictures:
            video.write(to_i420(picture))
    return path


@pytest.fixture
def mouth(tmp_path: Path) -> Path:
    return write_tiny_mouth(tmp_path / "trained", 64)


def faces(count: int) -> list[Picture]:
    return [paint_face(160, 192, seed=k) for k in range(count)]


GIVEN = Consent("person", "Me", "I agree.", "2026-01-31")
EMPTY = np.full((192, 160, 3), 30, np.uint8)


def test_a_video_becomes_a_package_that_loads(tmp_path: Path, mouth: Path) -> None:
    video = film(tmp_path / "me.mp4", faces(30))
    told: list[int] = []
    facts = AvatarFacts(title={"en": "Me"}, licence="mine", consent=GIVEN, credits="by me")
    made = prepare(
        video, "me", tmp_path / "out", mouth, FakeTracker(), loop="forward", facts=facts, progress=told.append
    )
    assert made == tmp_path / "out" / "me"
    avatar = Avatar.load(made)
    assert (avatar.frames, avatar.size, avatar.card.idle.loop) == (30, (160, 192), "forward")
    assert avatar.card.title == {"en": "Me"}
    assert (avatar.card.licence, avatar.card.consent, avatar.card.credits) == ("mine", GIVEN, "by me")
    assert avatar.mouth == made.resolve() / "mouth"
    left, top, right, bottom = avatar.card.mouth_box
    assert 0.3 < left < 0.5 < right < 0.7
    assert 0.3 < top < 0.48 < bottom < 0.6
    assert told == list(range(1, 31))
    assert [path.name for path in made.parent.iterdir()] == ["me"]


def test_a_mouth_beside_the_package_is_shared(tmp_path: Path) -> None:
    out = tmp_path / "avatars"
    mouth = write_tiny_mouth(out / "mouths" / "tiny", 64)
    made = prepare(film(tmp_path / "me.mp4", faces(26)), "me", out, mouth, FakeTracker())
    assert json.loads((made / "avatar.json").read_text())["mouth"] == "../mouths/tiny"
    assert not (made / "mouth").exists()
    assert Avatar.load(made).mouth == mouth.resolve()


def test_a_large_video_is_shrunk(tmp_path: Path, mouth: Path) -> None:
    video = film(tmp_path / "wide.mp4", [paint_face(2000, 1202)] * 25)
    made = prepare(video, "wide", tmp_path / "out", mouth, FakeTracker())
    assert Avatar.load(made).size == (1280, 768)


def test_a_short_gap_is_bridged(tmp_path: Path, mouth: Path) -> None:
    pictures = faces(30)
    pictures[10:14] = [EMPTY] * 4
    made = prepare(film(tmp_path / "me.mp4", pictures), "me", tmp_path / "out", mouth, FakeTracker())
    xs = [crop.cx for crop in Avatar.load(made).card.crops]
    assert max(xs) - min(xs) < 0.5


@pytest.mark.parametrize(
    ("pictures", "says"),
    [
        ([EMPTY] * 30, r"me\.mp4 shows no face"),
        (faces(12) + [EMPTY] * 10 + faces(12), "loses the face at 0.5 s"),
        (faces(20) + [EMPTY] * 10, "loses the face at 0.8 s"),
        (faces(10), "shorter than one second"),
    ],
)
def test_a_missing_face_is_told_and_nothing_stays(
    tmp_path: Path, mouth: Path, pictures: list[Picture], says: str
) -> None:
    video = film(tmp_path / "me.mp4", pictures)
    with pytest.raises(NoFaceError, match=says):
        prepare(video, "me", tmp_path / "out", mouth, FakeTracker())
    assert not (tmp_path / "out").exists()


def test_what_exists_is_not_overwritten(tmp_path: Path, mouth: Path) -> None:
    (tmp_path / "out" / "me").mkdir(parents=True)
    with pytest.raises(AvatarError, match="exists already"):
        prepare(tmp_path / "me.mp4", "me", tmp_path / "out", mouth, FakeTracker())
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["me"]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../me", ".hidden"])
def test_a_name_is_no_path(tmp_path: Path, mouth: Path, name: str) -> None:
    with pytest.raises(AvatarError, match="cannot name"):
        prepare(tmp_path / "me.mp4", name, tmp_path / "out", mouth, FakeTracker())


def test_bad_inputs_leave_nothing(tmp_path: Path, mouth: Path) -> None:
    words = tmp_path / "words.mp4"
    words.write_text("no video")
    with pytest.raises(BadMediaError, match=r"words\.mp4"):
        prepare(words, "me", tmp_path / "out", mouth, FakeTracker())
    (mouth / "face_encoder.onnx").unlink()
    with pytest.raises(AvatarError, match=r"face_encoder\.onnx"):
        prepare(film(tmp_path / "me.mp4", faces(26)), "me", tmp_path / "out", mouth, FakeTracker())
    shutil.rmtree(mouth)
    with pytest.raises(AvatarError, match=r"model\.json"):
        prepare(tmp_path / "me.mp4", "me", tmp_path / "out", mouth, FakeTracker())
    assert not (tmp_path / "out").exists()


class _Trembling(FakeTracker):
    def track(self, rgb: Picture, timestamp_ms: int) -> Face | None:
        face = super().track(rgb, timestamp_ms)
        if face is None:
            return None
        shake = np.random.default_rng(timestamp_ms).normal(0, 0.4, 2).astype(np.float32)
        return Face(face.landmarks + shake, face.blendshapes)


def test_trembling_landmarks_give_quiet_crops(tmp_path: Path, mouth: Path) -> None:
    made = prepare(film(tmp_path / "me.mp4", faces(50)), "me", tmp_path / "out", mouth, _Trembling())
    xs = np.array([crop.cx for crop in Avatar.load(made).card.crops])
    assert np.abs(np.diff(xs)).max() < 0.25


def test_a_real_presenter_becomes_an_avatar(tmp_path: Path, data_folder: Path, mouth: Path) -> None:
    video = data_folder / "clips" / "liveportrait-d11.mp4"
    with MediaPipeTracker() as tracker:
        made = prepare(video, "d11", tmp_path / "out", mouth, tracker)
    avatar = Avatar.load(made)
    face = avatar.face(0).astype(int)
    red = face[..., 0] - face[..., 1:].mean(axis=-1)
    left, top, right, bottom = (round(64 * share) for share in avatar.card.mouth_box)
    assert red[top:bottom, left:right].mean() > red[top:bottom, 8:left].mean() + 4
    assert 0.35 < (left + right) / 128 < 0.65
    assert 0.35 < (top + bottom) / 128 < 0.6
