"""A person's own footage as clips: what goes in, what must not."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.anchor.crop import Picture, Points, crop_from_landmarks, extract
from engine.anchor.mediapipe_tracker import MediaPipeTracker
from engine.anchor.package import Avatar
from engine.anchor.tracker import Face
from engine.errors import BadMediaError, NoFaceError
from engine.picture.video import read_rgb
from engine.speech.audio import SAMPLES_PER_TICK, Samples
from tests import films
from tests.fakes import FakeTracker, fake_landmarks, speech_like
from tests.training.personal import TurnedTracker, film_person, make_person
from training import personal_data as data
from training.clips import MARGIN, Clip, decode, padded, read_clip
from training.preprocess.faces import FACE_POINTS
from training.preprocess.hog_embedder import HogEmbedder
from training.preprocess.limits import LEAD
from training.sync_score import SyncFinding

SECONDS = 9.0


class Judge:
    """A SyncJudge that always says the same."""

    size = 48

    def __init__(self, offset: int, confidence: float = 0.5) -> None:
        self._offset, self._confidence = offset, confidence

    def judge(self, pictures: Sequence[Picture], samples: Samples) -> SyncFinding:
        """The offset that it was made with."""
        assert len(pictures) * SAMPLES_PER_TICK == samples.size
        return SyncFinding(self._offset, self._confidence, 0.2, 1.0, [self._offset])


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film_person(tmp_path_factory.mktemp("film") / "me.mp4", SECONDS)


@pytest.fixture(scope="module")
def avatar(tmp_path_factory: pytest.TempPathFactory) -> Avatar:
    return Avatar.load(make_person(tmp_path_factory.mktemp("person")))


@pytest.fixture(scope="module")
def rest(avatar: Avatar) -> data.Rest:
    return data.resting_faces(avatar, FakeTracker)


@pytest.fixture(scope="module")
def footage(film: Path) -> data.Footage:
    return data.read_footage(film, FakeTracker, None)


@pytest.fixture(scope="module")
def clips(footage: data.Footage, rest: data.Rest, tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    folder = tmp_path_factory.mktemp("clips")
    learn, _ = data.split([footage])
    data.write_clips(learn, rest, folder)
    return [read_clip(path) for path in sorted(folder.iterdir())]


def dark(picture: Picture) -> float:
    """Share of a clip's picture that is open mouth."""
    middle = picture[len(picture) // 4 : 3 * len(picture) // 4, len(picture) // 4 : 3 * len(picture) // 4]
    return float(np.mean((middle[..., 1] < 80) & (middle[..., 0].astype(int) - middle[..., 1] > 40)))


def test_one_reading_tells_faces_sound_and_speech(footage: data.Footage) -> None:
    assert len(footage.points) == len(footage.voiced) == footage.samples.size // SAMPLES_PER_TICK
    assert footage.speech_s == pytest.approx(SECONDS, abs=1.2)
    assert not footage.voiced[:20].any()
    assert footage.shift == 0


@pytest.mark.parametrize(("confidence", "expected"), [(0.5, 3), (0.02, 0)])
def test_sound_is_moved_where_the_judge_is_sure(film: Path, confidence: float, expected: int) -> None:
    moved = data.read_footage(film, FakeTracker, Judge(3, confidence))
    plain = data.read_footage(film, FakeTracker, None)
    assert moved.shift == expected
    there = slice(100 * SAMPLES_PER_TICK, 101 * SAMPLES_PER_TICK)
    start = there.start + expected * SAMPLES_PER_TICK
    np.testing.assert_array_equal(moved.samples[there], plain.samples[start : start + SAMPLES_PER_TICK])


def test_footage_without_sound(tmp_path: Path) -> None:
    silent = films.write(
        tmp_path / "silent.mp4", films.faces([0.0] * 30), np.zeros(30 * SAMPLES_PER_TICK, np.float32)
    )
    with pytest.raises(BadMediaError, match="silent"):
        data.read_footage(silent, FakeTracker, None)
    mute = films.film(tmp_path / "mute.mp4", [0.0] * 30)
    with pytest.raises(BadMediaError):
        data.read_footage(mute, FakeTracker, None)


def test_footage_without_a_face(tmp_path: Path) -> None:
    grey = [np.full((64, 64, 3), 90, np.uint8)] * 30
    with pytest.raises(NoFaceError):
        data.read_footage(films.write(tmp_path / "wall.mp4", grey, speech_like(1.2)), FakeTracker, None)


def test_points_are_smoothed_between_gaps() -> None:
    random = np.random.default_rng(0)
    points = [fake_landmarks(100, 100) + random.normal(0, 1, (478, 2)).astype(np.float32) for _ in range(40)]
    with_gap = [*points[:20], None, *points[21:]]
    smooth = data.smoothed(with_gap)
    assert smooth[20] is None
    still = fake_landmarks(100, 100)
    before = np.mean([np.abs(p - still).mean() for p in points])
    after = np.mean([np.abs(p - still).mean() for p in smooth if p is not None])
    assert after < 0.5 * before
    moving = [still + np.float32(k) for k in range(30)]
    found = data.smoothed(moving)
    assert np.abs(np.asarray(found[15]) - moving[15]).max() < 1e-3


def test_the_last_part_is_kept_and_its_sound_too(footage: data.Footage) -> None:
    (learn,), (judge,) = data.split([footage])
    count = len(footage.points)
    assert judge.stop == count
    assert 0.2 * count < judge.stop - judge.start <= 0.36 * count  # ten seconds are short footage
    assert judge.start - learn.stop > LEAD


def test_the_input_is_the_avatars_own_resting_face(clips: list[Clip], rest: data.Rest) -> None:
    """Bit for bit one of the anchor's crops, up to JPEG: nothing of the moment is in it."""
    crops = [
        extract(rest.avatar.rgb(frame), padded(rest.avatar.card.crops[frame]), 256).astype(int)
        for frame in rest.frames
    ]
    for clip in clips:
        assert clip.idle is not None
        idle = decode(clip.idle)
        assert min(np.abs(idle - crop).mean() for crop in crops) < 1.5


def test_the_pictures_are_that_face_with_the_moments_mouth(clips: list[Clip]) -> None:
    opened = []
    for clip in clips:
        assert clip.idle is not None
        idle = decode(clip.idle)
        for picture in clip.pictures:
            shown = decode(picture)
            edge = round(256 * (1 - 1 / MARGIN) / 2)
            assert np.abs(shown[:edge].astype(int) - idle[:edge]).mean() < 1.0
            assert np.abs(shown[:, :edge].astype(int) - idle[:, :edge]).mean() < 1.0
            opened.append(dark(shown))
        assert dark(idle) < 0.02
    assert max(opened) > 0.05


def test_sound_and_mouth_belong_together(clips: list[Clip]) -> None:
    """The loud moments are the open ones; with the sound of other clips they are not."""
    loud, opened = [], []
    for clip in clips:
        ticks = clip.samples.reshape(-1, SAMPLES_PER_TICK)[LEAD : LEAD + clip.card.frames]
        loud += np.sqrt(np.mean(ticks**2, axis=1)).tolist()
        opened += [dark(decode(picture)) for picture in clip.pictures]
    assert np.corrcoef(loud, opened)[0, 1] > 0.8
    assert abs(np.corrcoef(loud, np.roll(opened, 37))[0, 1]) < 0.5


def test_no_clip_reaches_into_what_is_kept(footage: data.Footage, clips: list[Clip]) -> None:
    _, (judge,) = data.split([footage])
    for clip in clips:
        last = round(clip.card.start_s * 25) + clip.card.frames + LEAD
        assert last <= judge.start


def test_silence_has_its_share_and_no_more(clips: list[Clip]) -> None:
    silent = sum(float(np.abs(clip.samples[LEAD * 640 : -LEAD * 640]).max()) < 0.01 for clip in clips)
    assert 1 <= silent <= 0.35 * len(clips)


def test_clips_are_the_same_for_a_seed(footage: data.Footage, rest: data.Rest, tmp_path: Path) -> None:
    learn, _ = data.split([footage])
    counts = [data.write_clips(learn, rest, tmp_path / str(k), seed=7) for k in range(2)]
    assert counts[0] == counts[1]
    for first in sorted((tmp_path / "0").rglob("*.jpg")):
        other = tmp_path / "1" / first.relative_to(tmp_path / "0")
        assert first.read_bytes() == other.read_bytes()


def test_old_clips_do_not_stay(footage: data.Footage, rest: data.Rest, tmp_path: Path) -> None:
    (tmp_path / "clips" / "99999").mkdir(parents=True)
    learn, _ = data.split([footage])
    data.write_clips(learn, rest, tmp_path / "clips")
    assert not (tmp_path / "clips" / "99999").exists()


def test_heads_turned_away_are_left_out(film: Path, rest: data.Rest, tmp_path: Path) -> None:
    turned = data.read_footage(film, TurnedTracker, None)
    learn, _ = data.split([turned])
    with pytest.raises(BadMediaError, match="turned"):
        data.write_clips(learn, rest, tmp_path / "clips")
    assert not (tmp_path / "clips").exists()


def test_the_anchors_open_mouths_are_no_resting_faces(avatar: Avatar) -> None:
    class Yawning(FakeTracker):
        """Sees a wide open mouth in every third picture."""

        def track(self, rgb: Picture, timestamp_ms: int) -> Face | None:
            """The fake face, its lips apart at times."""
            face = super().track(rgb, timestamp_ms)
            wide = timestamp_ms // 40 % 3 == 0
            points = fake_landmarks(rgb.shape[1], rgb.shape[0], 0.2 if wide else 0.0)
            return None if face is None else Face(points, face.blendshapes)

    rest = data.resting_faces(avatar, Yawning)
    assert rest.frames
    assert not any(frame % 3 == 0 for frame in rest.frames)
    assert len(rest.frames) == len(rest.points)


def test_filmed_mouths_are_cut_as_the_house_cuts(footage: data.Footage) -> None:
    _, (judge,) = data.split([footage])
    mouths = data.filmed_mouths(judge, 48)
    assert len(mouths) == judge.stop - judge.start
    assert mouths[0].shape == (48, 48, 3)
    faces, samples = data.truth_of(judge)
    assert len(faces.faces) * SAMPLES_PER_TICK == samples.size
    whole = films.faces([0.0])[0]
    crop = crop_from_landmarks(fake_landmarks(films.WIDTH, films.HEIGHT))
    cut = extract(whole, crop, 48)
    assert np.abs(cut[4:12].astype(int) - mouths[0][4:12]).mean() < 12


class Complexion:
    """A FaceEmbedder that knows people by the colour of their skin."""

    name = "complexion"
    threshold = 0.1

    def embed(self, frame: Picture, points: Points) -> NDArray[np.float32]:
        """Mean colour between the eyes and the nose, in [0, 1]."""
        (left, top), (right, bottom) = points.min(axis=0).astype(int), points.max(axis=0).astype(int)
        return np.asarray(frame[top : bottom + 1, left : right + 1].mean(axis=(0, 1)) / 255, np.float32)


def test_another_person_is_noticed(footage: data.Footage, rest: data.Rest, tmp_path: Path) -> None:
    data.check_person(footage, rest, Complexion())
    darker = [np.asarray(picture * 0.85, np.uint8) for picture in films.faces([0.0] * 40)]
    video = films.write(tmp_path / "stranger.mp4", darker, speech_like(1.6))
    stranger = data.read_footage(video, FakeTracker, None)
    with pytest.raises(BadMediaError, match="somebody else"):
        data.check_person(stranger, rest, Complexion())


def test_filmed_people_are_told_apart(data_folder: Path, tmp_path: Path) -> None:
    """Two halves of one clip are one person, two clips are two; without weights."""
    people = ["hdtf-RD_Radio34_000.mp4", "hdtf-RD_Radio2_000.mp4"]
    vectors = []
    for name in people:
        with MediaPipeTracker() as tracker:
            found = []
            for number, frame in enumerate(itertools.islice(read_rgb(data_folder / "clips" / name), 120)):
                if number % 15 == 0:
                    face = tracker.track(frame, 40 * number)
                    assert face is not None
                    found.append(HogEmbedder().embed(frame, face.landmarks[list(FACE_POINTS)]))
        vectors.append((np.mean(found[::2], axis=0), np.mean(found[1::2], axis=0)))
    limit = data._STRANGER * HogEmbedder.threshold
    assert all(np.linalg.norm(one - other) < limit for one, other in vectors)
    assert np.linalg.norm(vectors[0][0] - vectors[1][0]) > limit
