"""Small talking footage made of numbers, and fakes of the tools that look at it."""

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from engine.anchor.crop import Picture, Points
from engine.anchor.tracker import Face
from engine.speech.audio import FRAME_RATE, SAMPLE_RATE, SAMPLES_PER_TICK, Samples, to_pcm16
from tests.fakes import MOUTH, FakeTracker, paint_face, room_noise, speech_like
from training.preprocess.embedder import Vector
from training.preprocess.faces import ROW, Table
from training.preprocess.limits import Limits, Settings
from training.preprocess.source import Tools
from training.sync_score import MAX_OFFSET, SyncFinding

WIDTH, HEIGHT = 208, 240
SETTINGS = Settings(Limits(min_sharpness=5.0), size=64, judge="fake", embedder="colour")

Curve = NDArray[np.float64]


def syllables(ticks: int, seed: int = 0) -> Curve:
    """How loud and open each tick is, 0 to 1: never the same twice, so that an offset shows."""
    random = np.random.default_rng(seed)
    curve = np.convolve(random.uniform(0, 1, ticks), [0.25, 0.5, 0.25], mode="same") ** 2 * 1.6
    for rest in range(int(random.integers(3, 9)), ticks, 11):
        curve[rest : rest + 2] = 0
    return np.asarray(curve.clip(0, 1), np.float64)


def voice(curve: Curve, delay: int = 0) -> Samples:
    """Speech as loud as the curve says, `delay` ticks late (negative: early)."""
    loud = np.roll(curve, delay)
    samples = speech_like(len(curve) / FRAME_RATE)
    times = np.arange(samples.size) / SAMPLES_PER_TICK
    # Its own four syllables a second give way to those of the curve.
    steady = samples / (0.1 + 0.9 * np.abs(np.sin(2 * np.pi * 2 * times / FRAME_RATE)))
    envelope = 0.01 + 0.99 * np.interp(times, np.arange(len(curve)) + 0.5, loud)
    noise = room_noise(len(curve) / FRAME_RATE, 0.0003)
    return np.asarray(0.6 * steady * envelope + noise, np.float32)


def faces(curve: Curve, *, seed: int = 0, tint: tuple[int, int, int] = (0, 0, 0)) -> list[Picture]:
    """Pictures whose mouth opens as the curve says, before a background of one tint a person."""
    pictures = []
    for number, open_ in enumerate(curve):
        picture = paint_face(WIDTH, HEIGHT, gape=0.06 * float(open_), seed=seed + number)
        picture[:40] = (picture[:40].astype(int) // 2 + np.array(tint) // 2).astype(np.uint8)
        pictures.append(picture)
    return pictures


def write_video(
    path: Path,
    pictures: Sequence[Picture],
    samples: Samples | None,
    *,
    times: Sequence[float] | None = None,
    pix_fmt: str = "yuv420p",
    sound_start: float = 0.0,
    rate: int = SAMPLE_RATE,
) -> Path:
    """A video with PCM sound, each picture at its own time if `times` (seconds) are given."""
    height, width = pictures[0].shape[:2]
    base = Fraction(1, 1000)
    kind = "matroska" if path.suffix == ".mkv" else None
    with av.open(str(path), "w", format=kind) as container:
        video = container.add_stream("libx264", rate=FRAME_RATE)
        video.width, video.height, video.pix_fmt = width, height, pix_fmt
        video.options = {"preset": "ultrafast", "crf": "12", "bf": "0"}
        video.codec_context.time_base = base
        codec = "pcm_s16le" if path.suffix == ".mkv" else "aac"
        audio = None if samples is None else container.add_stream(codec, rate=rate, layout="mono")
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            seconds = number / FRAME_RATE if times is None else times[number]
            frame.pts, frame.time_base = round(seconds * 1000), base
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if samples is not None:
            assert isinstance(audio, av.AudioStream)
            pcm = to_pcm16(samples)[None]
            for start in range(0, pcm.shape[1], 1024):
                block = av.AudioFrame.from_ndarray(pcm[:, start : start + 1024], format="s16", layout="mono")
                block.sample_rate, block.time_base = rate, Fraction(1, rate)
                block.pts = start + round(sound_start * rate)
                container.mux(audio.encode(block))
            container.mux(audio.encode(None))
    return path


def talking(
    path: Path, seconds: float = 3.0, *, delay: int = 0, seed: int = 0, tint: tuple[int, int, int] = (0, 0, 0)
) -> Path:
    """A whole file of one person talking, the sound `delay` ticks late."""
    curve = syllables(round(seconds * FRAME_RATE), seed)
    return write_video(path, faces(curve, seed=seed, tint=tint), voice(curve, delay))


def turn_on_its_side(path: Path) -> Path:
    """Writes the rotation of a phone held upright into an MP4, as its camera would."""
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 4 + 40
    matrix = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    content[place : place + 36] = matrix
    path.write_bytes(content)
    return path


class FakeFaces:
    """A FacesTracker of the painted face; a white corner means that a second one stands beside it."""

    def __init__(self) -> None:
        self.closed = False
        self._one = FakeTracker()

    def track_all(self, rgb: Picture, timestamp_ms: int) -> list[Face]:
        """The painted face, and its twin."""
        face = self._one.track(rgb, timestamp_ms)
        if face is None:
            return []
        twin = bool(rgb[-8:, :8].mean() > 240)
        return [face, Face(face.landmarks + 1, face.blendshapes)] if twin else [face]

    def close(self) -> None:
        """Remembers that it was closed."""
        self.closed = True


class ColourEmbedder:
    """A FaceEmbedder that knows persons by the tint above their heads."""

    name = "colour"
    threshold = 0.2

    def embed(self, frame: Picture, points: Points) -> Vector:
        """Mean colour of the upper border, 0 to 1."""
        assert points.shape == (5, 2)
        return np.asarray(frame[:30].mean(axis=(0, 1)) / 255, np.float32)


class FakeJudge:
    """A SyncJudge that slides the mouth's darkness over the loudness: exact on this footage."""

    size = 48

    def judge(self, pictures: Sequence[Picture], samples: Samples) -> SyncFinding:
        """The offset at which both go best together."""
        assert all(picture.shape == (48, 48, 3) for picture in pictures)
        seen = np.array([np.abs(p.astype(int) - MOUTH).sum(axis=2) < 90 for p in pictures]).mean(axis=(1, 2))
        heard = np.sqrt(np.square(samples.reshape(-1, SAMPLES_PER_TICK)).mean(axis=1))
        found = [_alike(seen, heard, k) for k in range(-MAX_OFFSET, MAX_OFFSET + 1)]
        best = int(np.argmax(found))
        half = len(seen) // 2
        curves = [
            [_alike(s, h, k) for k in range(-MAX_OFFSET, MAX_OFFSET + 1)]
            for s, h in ((seen[:half], heard[:half]), (seen[half:], heard[half:]))
        ]
        halves = [int(np.argmax(curve)) - MAX_OFFSET for curve in curves]
        sure = [float(max(curve) - np.median(curve)) for curve in curves]
        offset = best - MAX_OFFSET
        steady = float(np.mean([abs(own - offset) <= 1 for own in halves]))
        confidence = found[best] - float(np.median(found))
        return SyncFinding(offset, confidence, 1 - found[best], steady, halves, sure)


def _alike(seen: NDArray[np.float64], heard: NDArray[np.float32], offset: int) -> float:
    low, high = max(0, -offset), min(len(seen), len(heard) - offset)
    one, two = seen[low:high], heard[low + offset : high + offset]
    if high - low < 3 or min(one.std(), two.std()) < 1e-6:
        return 0.0
    return float(np.corrcoef(one, two)[0, 1])


def fake_tools() -> Tools:
    """Every tool a fake."""
    return Tools(FakeFaces, FakeJudge(), ColourEmbedder())


def table(count: int, **columns: object) -> Table:
    """Rows of a good talking face; `columns` replace theirs."""
    rows = np.zeros(count, ROW)
    rows["faces"] = 1
    rows["crop"] = (100, 120, 140, 0)
    rows["gape"] = 0.03 * np.sin(np.arange(count)) ** 2
    rows["sharpness"], rows["light"], rows["contrast"] = 200, 120, 40
    for name, value in columns.items():
        rows[name] = value
    return rows
