"""From footage to a package, whole or not at all."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from engine.anchor import create as creating
from engine.anchor.card import Consent
from engine.anchor.create import Created, Order, create, longest_clip
from engine.anchor.crop import Picture, Points
from engine.anchor.package import Avatar
from engine.anchor.survey import Survey, Tell
from engine.anchor.tracker import FacesTracker
from engine.errors import AvatarError, FootageError, KouboError
from engine.picture.video import read_rgb
from tests.films import write
from tests.phone_films import write_film
from tests.surveys import SIZE, good_survey, without_face
from tests.tiny_mouth import write_tiny_mouth
from tests.turned_faces import turned_face

GIVEN = Consent("person", "Mei", "I agree.", "2026-01-31")
COUNT = 130


@pytest.fixture
def mouth(tmp_path: Path) -> Path:
    return write_tiny_mouth(tmp_path / "trained", 64)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Footage of somebody painted: what a stand-in for the survey says of it is told by each test."""
    width, height = SIZE
    picture = np.full((height, width, 3), 70, np.uint8)
    points = turned_face((320, 180), 110).astype(np.int32)
    cv2.fillConvexPoly(picture, cv2.convexHull(points), (205, 160, 140))
    return write(tmp_path / "me.mp4", [picture] * COUNT)


class NoTracker:
    def track_all(self, rgb: Picture, timestamp_ms: int) -> list[object]:
        return []

    def close(self) -> None:
        pass


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> "Seen":
    return Seen(monkeypatch)


class Seen:
    """Puts a survey in the place of the real one, which tests of their own cover."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.survey = at_rest()
        monkeypatch.setattr(creating, "survey", self._survey)
        monkeypatch.setattr(creating, "open_tracker", lambda name: NoTracker())

    def _survey(self, video: Path, tracker: FacesTracker, tell: Tell) -> Survey:
        tell("look", COUNT, COUNT)
        return self.survey


def at_rest(count: int = COUNT) -> Survey:
    return good_survey(count, voiced=np.zeros(count, np.bool_))


def talking(closed: Sequence[int] = range(60, 70)) -> Survey:
    """Somebody who speaks all the time, the lips meeting for a moment."""
    faces: list[Points | None] = [
        turned_face((320, 180), 110, opening=0 if k in closed else 0.5) for k in range(COUNT)
    ]
    jaw = np.array([0.02 if k in closed else 0.5 for k in range(COUNT)], np.float32)
    return good_survey(COUNT, landmarks=faces, jaw_open=jaw, voiced=np.ones(COUNT, np.bool_))


def order(film: Path, mouth: Path, output: Path, **changes: object) -> Order:
    return replace(Order(film, "me", output, mouth, GIVEN, matte="none"), **changes)  # type: ignore[arg-type]


def test_footage_becomes_a_package_that_loads(tmp_path: Path, film: Path, mouth: Path, seen: Seen) -> None:
    told: list[tuple[str, int, int]] = []
    facts = {"title": {"en": "Mei", "zh": "梅"}, "licence": "mine", "credits": "by me"}
    made = create(order(film, mouth, tmp_path / "out", **facts), lambda *step: told.append(step))
    assert made.folder == tmp_path / "out" / "me"
    avatar = Avatar.load(made.folder)
    assert (avatar.size, avatar.frames) == (SIZE, round((made.loop_s[1] - made.loop_s[0]) * 25))
    assert avatar.frames >= 100
    card = avatar.card
    assert (card.title, card.licence, card.credits) == ({"en": "Mei", "zh": "梅"}, "mine", "by me")
    assert (card.consent, card.name, card.crop_size, card.model) == (GIVEN, "me", 64, "trained")
    assert (card.idle.kind, card.idle.loop, made.matte) == ("idle", made.loop, False)
    assert min(card.shares) == 1
    assert len(card.outlines) == avatar.frames
    left, top, right, bottom = card.mouth_box
    assert 0.2 < left < 0.5 < right < 0.8
    assert 0.2 < top < bottom < 0.7
    assert avatar.mouth == made.folder.resolve() / "mouth"
    assert made.jitter.pixels < 0.01
    assert list(dict.fromkeys(step for step, _, _ in told)) == ["look", "loop", "film", "write"]
    assert told[-1] == ("write", 1, 1)
    assert {path.name for path in made.folder.iterdir()} == {"anchor.mp4", "avatar.json", "mouth"}
    assert {path.name for path in made.folder.parent.iterdir()} == {"me", ".footage.json"}


def test_a_name_is_the_title_where_there_is_none(tmp_path: Path, film: Path, mouth: Path, seen: Seen) -> None:
    made = create(order(film, mouth, tmp_path / "out"))
    assert Avatar.load(made.folder).card.title == {"en": "me", "zh": "me"}


def test_a_mouth_beside_the_package_is_shared(tmp_path: Path, film: Path, seen: Seen) -> None:
    out = tmp_path / "avatars"
    mouth = write_tiny_mouth(out / "mouths" / "tiny", 64)
    made = create(order(film, mouth, out))
    assert json.loads((made.folder / "avatar.json").read_text())["mouth"] == "../mouths/tiny"
    assert not (made.folder / "mouth").exists()
    assert Avatar.load(made.folder).mouth == mouth.resolve()


@pytest.mark.parametrize("choice", ["forward", "pingpong"])
def test_the_way_round_can_be_chosen(
    tmp_path: Path, film: Path, mouth: Path, seen: Seen, choice: str
) -> None:
    made = create(order(film, mouth, tmp_path / "out", loop=choice))
    assert made.loop == Avatar.load(made.folder).card.idle.loop == choice


def test_talking_footage_gets_a_mouth_at_rest(tmp_path: Path, film: Path, mouth: Path, seen: Seen) -> None:
    seen.survey = talking()
    told: list[str] = []
    made = create(order(film, mouth, tmp_path / "out"), lambda step, done, total: told.append(step))
    assert "mouth-rested" in [finding.code for finding in made.findings]
    assert made.idle.rested
    assert "rest" in told
    # The square is that of the face with closed lips, in all pictures.
    sizes = [crop.size for crop in Avatar.load(made.folder).card.crops]
    assert np.ptp(sizes) < 0.02 * sizes[0]


def test_the_rest_between_words_is_preferred(tmp_path: Path, film: Path, mouth: Path, seen: Seen) -> None:
    voiced = np.zeros(COUNT, np.bool_)
    voiced[:25] = True
    seen.survey = good_survey(COUNT, voiced=voiced)
    made = create(order(film, mouth, tmp_path / "out"))
    assert not made.idle.rested
    assert made.loop_s[0] >= 1


def test_advice_comes_with_the_avatar(tmp_path: Path, film: Path, mouth: Path, seen: Seen) -> None:
    seen.survey = replace(at_rest(), sharpness=np.full(COUNT, 25, np.float32))
    made = create(order(film, mouth, tmp_path / "out"))
    assert "blurred" in [finding.code for finding in made.findings]


def test_unfit_footage_leaves_nothing(tmp_path: Path, film: Path, mouth: Path, seen: Seen) -> None:
    seen.survey = without_face(at_rest(), 30, 100)
    with pytest.raises(FootageError) as told:
        create(order(film, mouth, tmp_path / "out"))
    assert "face-lost" in [finding.code for finding in told.value.findings]
    assert not (tmp_path / "out").exists()


def test_footage_without_any_rest_is_told(tmp_path: Path, film: Path, mouth: Path, seen: Seen) -> None:
    seen.survey = talking(closed=())
    with pytest.raises(FootageError, match="sit still and silent") as told:
        create(order(film, mouth, tmp_path / "out"))
    assert told.value.findings[0].code == "no-loop"
    assert not (tmp_path / "out").exists()


def test_a_failure_in_the_middle_leaves_nothing(
    tmp_path: Path, film: Path, mouth: Path, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise AvatarError("The disk is full.")

    monkeypatch.setattr(creating, "write_card", full)
    (tmp_path / "out" / "other").mkdir(parents=True)
    with pytest.raises(AvatarError, match="full"):
        create(order(film, mouth, tmp_path / "out"))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["other"]


def test_a_damaged_mouth_leaves_nothing(tmp_path: Path, film: Path, mouth: Path, seen: Seen) -> None:
    (mouth / "face_encoder.onnx").unlink()
    with pytest.raises(AvatarError, match=r"face_encoder\.onnx"):
        create(order(film, mouth, tmp_path / "out"))
    shutil.rmtree(mouth)
    with pytest.raises(AvatarError, match=r"model\.json"):
        create(order(film, mouth, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_what_exists_is_not_overwritten(tmp_path: Path, film: Path, mouth: Path, seen: Seen) -> None:
    (tmp_path / "out" / "me").mkdir(parents=True)
    with pytest.raises(AvatarError, match="exists already"):
        create(order(film, mouth, tmp_path / "out"))
    assert list((tmp_path / "out" / "me").iterdir()) == []


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../me", ".hidden", "mouths"])
def test_a_name_is_no_path(tmp_path: Path, film: Path, mouth: Path, seen: Seen, name: str) -> None:
    with pytest.raises(AvatarError):
        create(order(film, mouth, tmp_path / "out", name=name))
    assert not (tmp_path / "out").exists()


def test_a_matte_of_ones_own_is_cut_alike(tmp_path: Path, film: Path, mouth: Path, seen: Seen) -> None:
    grey = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    grey[:, 200:440] = 255
    matte = write(tmp_path / "grey.mp4", [grey] * COUNT)
    made = create(order(film, mouth, tmp_path / "out", matte=matte))
    assert made.matte
    mattes = Avatar.load(made.folder).mattes
    assert mattes is not None
    assert mattes[5][240, 320] == 255
    assert mattes[5][240, 20] == 0
    short = write(tmp_path / "short.mp4", [grey] * 20)
    with pytest.raises(AvatarError, match=r"short\.mp4 ends before"):
        create(order(film, mouth, tmp_path / "out", name="other", matte=short))
    assert not (tmp_path / "out" / "other").exists()


def test_a_wall_that_is_not_plain_gives_one_sentence_and_no_matte(
    tmp_path: Path, film: Path, mouth: Path, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KOUBO_SEGMENTER", raising=False)
    made = create(order(film, mouth, tmp_path / "out", matte="auto"))
    assert not made.matte
    assert [finding.code for finding in made.findings].count("no-matte") == 1


def test_memory_bounds_the_length() -> None:
    assert longest_clip((1920, 1080)) == 192
    assert longest_clip((1280, 720)) > 400
    assert longest_clip((512, 512)) > 1000


def test_a_large_anchor_says_that_memory_bounds_it(
    tmp_path: Path, film: Path, mouth: Path, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(creating, "MAX_BYTES", 60 * SIZE[0] * SIZE[1] * 3 // 2)
    made = create(order(film, mouth, tmp_path / "out"))
    assert made.idle.frames == 60
    assert "loop-cut" in [finding.code for finding in made.findings]


# With the real tracker, on footage as users bring it.


def real(clip: Path, tmp_path: Path, mouth: Path) -> Created:
    return create(Order(clip, "me", tmp_path / "out", mouth, GIVEN))


def stretch(data_folder: Path, name: str, seconds: float, size: int = 0) -> list[Picture]:
    """The first pictures of a clip, scaled to `size` pixels of height where it is given."""
    pictures = []
    for picture, _ in zip(read_rgb(data_folder / "clips" / name), range(round(25 * seconds)), strict=False):
        height, width = picture.shape[:2]
        wide = round(width * size / height) // 2 * 2 if size else width // 2 * 2
        high = size or height // 2 * 2
        pictures.append(np.asarray(cv2.resize(picture, (wide, high), interpolation=cv2.INTER_AREA), np.uint8))
    return pictures


@pytest.mark.parametrize("turn", [None, pytest.param(90.0, marks=pytest.mark.slow)])
def test_a_silent_clip_becomes_an_avatar_turned_or_not(
    tmp_path: Path, data_folder: Path, mouth: Path, turn: float | None
) -> None:
    pictures = stretch(data_folder, "musetalk-sun-silent.mp4", 4.8)
    stored = [np.ascontiguousarray(np.rot90(picture, -1)) for picture in pictures] if turn else pictures
    made = real(write_film(tmp_path / "me.mp4", stored, turn=turn), tmp_path, mouth)
    avatar = Avatar.load(made.folder)
    assert avatar.size == (576, 768)
    assert made.jitter.tremble < 0.5
    assert made.jitter.lag < 0.5
    face = avatar.face(0).astype(int)
    red = face[..., 0] - face[..., 1:].mean(axis=-1)
    left, top, right, bottom = (round(64 * share) for share in avatar.card.mouth_box)
    assert red[top:bottom, left:right].mean() > red[top:bottom, 8:left].mean() + 4


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "musetalk-sun-silent",
        "musetalk-yongen-silent",
        "hdtf-RD_Radio2_000",
        "hdtf-RD_Radio34_000",
        "hdtf-WDA_AlexandriaOcasioCortez_000",
        "hdtf-WDA_KatieHill_000",
    ],
)
def test_every_clip_becomes_an_avatar_first_time(
    tmp_path: Path, data_folder: Path, mouth: Path, name: str
) -> None:
    made = real(data_folder / "clips" / f"{name}.mp4", tmp_path, mouth)
    avatar = Avatar.load(made.folder)
    assert made.idle.rested == name.startswith("hdtf")
    assert made.jitter.tremble < 0.5
    assert made.jitter.lag < 0.5
    assert avatar.frames >= 50
    assert min(avatar.card.shares) > 0.3


@pytest.mark.slow
@pytest.mark.parametrize("rate", [15, 60])
def test_other_rates_become_25(tmp_path: Path, data_folder: Path, mouth: Path, rate: int) -> None:
    pictures = stretch(data_folder, "musetalk-sun-silent.mp4", 5 * min(rate, 25) / 25, 384)
    if rate == 60:
        pictures = [picture for picture in pictures for _ in range(3)][: 5 * 60]
    made = real(write_film(tmp_path / "me.mp4", pictures, rate=rate), tmp_path, mouth)
    assert Avatar.load(made.folder).frames <= 126
    assert ("low-frame-rate" in [finding.code for finding in made.findings]) == (rate == 15)


@pytest.mark.slow
def test_4k_is_kept_at_1080p(tmp_path: Path, data_folder: Path, mouth: Path) -> None:
    pictures = stretch(data_folder, "musetalk-sun-silent.mp4", 4.2, 1080)
    large = [np.asarray(cv2.resize(picture, (2880, 3840)), np.uint8) for picture in pictures]
    made = real(write_film(tmp_path / "me.mp4", large), tmp_path, mouth)
    assert max(Avatar.load(made.folder).size) == 1920


def refused(tmp_path: Path, video: Path, mouth: Path) -> list[str]:
    """The problems told of a video, which leaves nothing."""
    with pytest.raises(KouboError) as told:
        real(video, tmp_path, mouth)
    assert not (tmp_path / "out").exists()
    assert str(told.value).endswith(".")
    if not isinstance(told.value, FootageError):
        return [type(told.value).__name__]
    return [finding.code for finding in told.value.findings if finding.severity == "problem"]


def test_two_faces_are_refused(tmp_path: Path, data_folder: Path, mouth: Path) -> None:
    one = stretch(data_folder, "hdtf-WDA_KatieHill_000.mp4", 4.4, 256)
    film = write_film(tmp_path / "two.mp4", [np.hstack([picture, picture]) for picture in one])
    assert "two-faces" in refused(tmp_path, film, mouth)


def test_no_face_and_three_seconds_are_refused(tmp_path: Path, data_folder: Path, mouth: Path) -> None:
    grey = [np.full((256, 256, 3), 90, np.uint8)] * 110
    assert refused(tmp_path, write_film(tmp_path / "none.mp4", grey), mouth) == ["no-face"]
    short = stretch(data_folder, "hdtf-WDA_KatieHill_000.mp4", 3, 256)
    assert "too-short" in refused(tmp_path, write_film(tmp_path / "short.mp4", short), mouth)


def test_a_face_that_leaves_the_picture_is_refused(tmp_path: Path, data_folder: Path, mouth: Path) -> None:
    one = stretch(data_folder, "hdtf-WDA_KatieHill_000.mp4", 5, 256)
    gone = [picture if 40 < k < 90 else np.full_like(picture, 70) for k, picture in enumerate(one)]
    assert refused(tmp_path, write_film(tmp_path / "leaves.mp4", gone), mouth)


def test_sound_alone_and_words_are_refused(tmp_path: Path, mouth: Path) -> None:
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 16000, 0, Fraction(1, 16000)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert refused(tmp_path, tmp_path / "sound.mp4", mouth) == ["no-picture"]
    (tmp_path / "words.mp4").write_text("no video")
    assert refused(tmp_path, tmp_path / "words.mp4", mouth) == ["unreadable"]
    assert refused(tmp_path, tmp_path / "nowhere.mp4", mouth) == ["BadMediaError"]
