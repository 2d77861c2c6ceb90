"""Video files: the house's rate, colours, nothing half-written."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from engine.anchor.crop import Picture
from engine.errors import BadMediaError
from engine.picture.video import VideoWriter, read_i420, read_rgb
from engine.picture.yuv import to_i420
from engine.speech.audio import SAMPLES_PER_TICK, load_speech
from tests.fakes import paint_face, speech_like


def grey_clip(path: Path, rate: int, levels: list[int]) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.options = {"crf": "4"}
        for number, level in enumerate(levels):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), level, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("rate", "count"), [(25, 50), (30, 60), (50, 100), (10, 20)])
def test_every_rate_becomes_25_by_the_nearest_picture(tmp_path: Path, rate: int, count: int) -> None:
    levels = [20 + 200 * k // count for k in range(count)]
    pictures = list(read_rgb(grey_clip(tmp_path / "clip.mp4", rate, levels)))
    assert len(pictures) == pytest.approx(50, abs=2)
    for number, picture in enumerate(pictures):
        nearest = min(round(number * rate / 25), count - 1)
        around = [levels[k] for k in range(max(0, nearest - 1), min(count, nearest + 2))]
        assert min(around) - 4 <= picture.mean() <= max(around) + 4


def test_pictures_and_sound_come_back(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    faces: list[Picture] = [paint_face(160, 192, gape=0.02 * (k % 4)) for k in range(30)]
    speech = speech_like(30 / 25)
    with VideoWriter(path, (160, 192), sound=True) as video:
        for number, face in enumerate(faces):
            video.write(to_i420(face))
            video.write_sound(speech[number * SAMPLES_PER_TICK : (number + 1) * SAMPLES_PER_TICK])
    back = list(read_rgb(path))
    assert len(back) == len(list(read_i420(path))) == 30
    assert max(np.abs(a.astype(int) - b).mean() for a, b in zip(back, faces, strict=True)) < 3
    heard = load_speech(path)
    shift = int(np.correlate(heard[:16000], speech[2000:14000], "valid").argmax()) - 2000
    assert abs(shift) <= 2
    assert [p.name for p in tmp_path.iterdir()] == ["clip.mp4"]


def test_an_aborted_video_leaves_nothing(tmp_path: Path) -> None:
    def abort() -> None:
        with VideoWriter(tmp_path / "clip.mp4", (64, 48)) as video:
            video.write(np.zeros((72, 64), np.uint8))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        abort()
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadMediaError, match="cannot be written"):
        VideoWriter(tmp_path / "no" / "clip.mp4", (64, 48))


def test_sound_needs_a_track(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="without sound"), VideoWriter(tmp_path / "a.mp4", (64, 48)) as video:
        video.write_sound(np.zeros(640, np.float32))


def test_what_is_no_video_is_refused_in_one_sentence(tmp_path: Path) -> None:
    words = tmp_path / "words.mp4"
    words.write_text("no video")
    with pytest.raises(BadMediaError, match=r"words\.mp4 cannot be read"):
        list(read_rgb(words))
    with pytest.raises(BadMediaError, match="There is no video file"):
        list(read_rgb(tmp_path / "gone.mp4"))


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1600), np.int16), format="s16", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
    with pytest.raises(BadMediaError, match="holds no picture"):
        list(read_rgb(path))
