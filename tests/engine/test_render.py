"""Rendering a sound file to a video."""

from pathlib import Path

import av
import numpy as np
import pytest

from engine.anchor.package import Avatar
from engine.errors import AvatarError, BadMediaError
from engine.picture.label import LabelStyle, label_for
from engine.picture.video import read_rgb
from engine.render import Cue, render
from engine.speech.audio import load_speech
from tests.engine.clips import HELLO, NOD, make_clips_avatar
from tests.fakes import FakeMouth, speech_like, write_sound


def test_picture_and_sound_are_whole_and_in_sync(avatar: Avatar, tmp_path: Path) -> None:
    speech = np.concatenate([np.zeros(16000, np.float32), speech_like(1.01), np.zeros(8000, np.float32)])
    write_sound(tmp_path / "speech.wav", speech, 16000)
    told: list[tuple[int, int]] = []
    output = tmp_path / "out.mp4"

    def progress(done: int, pictures: int) -> None:
        told.append((done, pictures))

    count = render(avatar, tmp_path / "speech.wav", output, mouth=FakeMouth(), progress=progress)
    pictures = list(read_rgb(output))
    assert count == len(pictures) == -(-speech.size // 640) == 63
    assert told == [(k, 63) for k in range(1, 64)]
    heard = load_speech(output)
    assert heard.size >= 63 * 640 - 2
    shift = int(np.correlate(heard[: 63 * 640], speech[17000:30000], "valid").argmax()) - 17000
    assert abs(shift) <= 2
    dark = np.array([(picture[108:126, 70:90, 1] < 55).mean() for picture in pictures])
    opening, closing = np.flatnonzero(dark > 0.05)[[0, -1]]
    assert abs(opening - 25) <= 2
    assert abs(closing - 50) <= 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "speech.wav"]


@pytest.mark.parametrize("rate", [8000, 44100, 48000])
def test_any_sample_rate_keeps_its_length(avatar: Avatar, tmp_path: Path, rate: int) -> None:
    write_sound(tmp_path / "speech.wav", np.zeros(rate, np.float32), rate)
    count = render(avatar, tmp_path / "speech.wav", tmp_path / "out.mp4", mouth=FakeMouth())
    assert count in (25, 26)


def test_what_is_no_speech_leaves_no_video(avatar: Avatar, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("hello")
    with pytest.raises(BadMediaError, match=r"words\.txt"):
        render(avatar, words, tmp_path / "out.mp4", mouth=FakeMouth())
    write_sound(tmp_path / "speech.wav", speech_like(0.1), 16000)
    with pytest.raises(BadMediaError, match="cannot be written"):
        render(avatar, tmp_path / "speech.wav", tmp_path / "no" / "out.mp4", mouth=FakeMouth())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["speech.wav", "words.txt"]


def test_an_earlier_video_survives_a_failure(avatar: Avatar, tmp_path: Path) -> None:
    class Broken(FakeMouth):
        def decode(self, mels: object, features: object) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
            raise RuntimeError("out of order")

    output = tmp_path / "out.mp4"
    output.write_bytes(b"earlier")
    write_sound(tmp_path / "speech.wav", speech_like(0.5), 16000)
    with pytest.raises(RuntimeError, match="out of order"):
        render(avatar, tmp_path / "speech.wav", output, mouth=Broken())
    assert output.read_bytes() == b"earlier"
    assert len(list(tmp_path.iterdir())) == 2


def test_the_label_is_in_every_picture_unless_it_is_left_out(avatar: Avatar, tmp_path: Path) -> None:
    write_sound(tmp_path / "speech.wav", speech_like(0.4), 16000)
    left, top, right, bottom = label_for(LabelStyle("en"), avatar.size).box
    whites = []
    for label in (LabelStyle("en"), None):
        render(avatar, tmp_path / "speech.wav", tmp_path / "out.mp4", mouth=FakeMouth(), label=label)
        pictures = list(read_rgb(tmp_path / "out.mp4"))
        whites.append([float(np.mean(picture[top:bottom, left:right] > 170)) for picture in pictures])
    assert min(whites[0]) > 0.1
    assert max(whites[1]) < 0.02


def test_metadata_comes_into_the_file(avatar: Avatar, tmp_path: Path) -> None:
    write_sound(tmp_path / "speech.wav", speech_like(0.2), 16000)
    output = tmp_path / "out.mp4"
    render(avatar, tmp_path / "speech.wav", output, mouth=FakeMouth(), metadata={"AIGC": "{}"})
    with av.open(str(output)) as container:
        assert container.metadata["AIGC"] == "{}"


def test_clips_are_shown_when_they_are_asked_for(tmp_path: Path) -> None:
    clips = Avatar.load(make_clips_avatar(tmp_path))
    write_sound(tmp_path / "speech.wav", np.zeros(6 * 16000, np.float32), 16000)
    films = {}
    for name, cues in {"still": [], "both": [Cue(HELLO, 4.0), Cue(NOD, 1.0)]}.items():
        render(clips, tmp_path / "speech.wav", tmp_path / "out.mp4", mouth=FakeMouth(), cues=cues, label=None)
        films[name] = [picture.astype(int) for picture in read_rgb(tmp_path / "out.mp4")]
    changed = np.array([np.abs(a - b).mean() for a, b in zip(films["still"], films["both"], strict=True)])
    nod, hello = changed[35:55], changed[112:122]
    assert changed[:25].max() < 0.3
    assert nod.min() > 1
    assert hello.min() > 1


@pytest.mark.parametrize(
    ("cue", "sentence"),
    [
        (Cue("dance", 0.1), "no clip 'dance'; known clips: idle"),
        (Cue("idle", 2.0), r"at 2 s, the sound lasts 1\.0 s"),
        (Cue("idle", -1.0), "give a time within it"),
        (Cue("idle", float("nan")), "give a time within it"),
    ],
)
def test_a_clip_that_cannot_be_shown_is_refused_before_any_work(
    avatar: Avatar, tmp_path: Path, cue: Cue, sentence: str
) -> None:
    write_sound(tmp_path / "speech.wav", speech_like(1.0), 16000)
    mouth = FakeMouth()
    with pytest.raises(AvatarError, match=sentence):
        render(avatar, tmp_path / "speech.wav", tmp_path / "out.mp4", mouth=mouth, cues=[Cue("idle", 0), cue])
    assert [path.name for path in tmp_path.iterdir()] == ["speech.wav"]
    assert mouth.encoded == 0
