"""Fakes of every role, and a small avatar made of nothing but numbers."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np

from engine.anchor.card import ANCHOR, IDLE, AvatarCard, Clip, Consent, write_card
from engine.anchor.crop import Picture, Points, crop_from_landmarks, mouth_outline
from engine.anchor.tracker import Face
from engine.mouth.runtime import Features, WholeSquare
from engine.picture.video import VideoWriter
from engine.picture.yuv import to_i420
from engine.speech.audio import SAMPLE_RATE, Samples, to_pcm16
from engine.speech.mel import Mel
from tests.tiny_mouth import write_tiny_mouth

SIZE = 64
"""Side of the fake mouth's pictures."""

FRAME_SIZE = (160, 192)
"""(width, height) of the fake avatar's pictures."""

FRAMES = 10

SKIN = (200, 160, 140)
MOUTH = (90, 20, 30)


def opening(mel: Mel) -> float:
    """How wide the fake mouth opens for a mel window (80, 16): its loudness amid its tick, 0 to 1."""
    return float(np.clip((mel[:, 9:14].mean() + 4) / 4, 0, 1))


class FakeMouth(WholeSquare):
    """A MouthRuntime that opens a dark ellipse as far as the sound is loud; counts its work."""

    name = "fake"
    precision = "u8"

    def __init__(self, size: int = SIZE) -> None:
        self.size = size
        self.encoded = 0
        self.mels: list[Mel] = []

    def encode(self, faces: Picture) -> list[Features]:
        """The faces themselves."""
        self.encoded += len(faces)
        return [(face.astype(np.float16),) for face in faces]

    def decode(self, mels: Mel, features: Sequence[Features]) -> Picture:
        """The faces with a mouth; in silence they stay as they were."""
        self.mels += list(mels)
        faces = np.stack([face.astype(np.uint8) for (face,) in features])
        for face, mel in zip(faces, mels, strict=True):
            height = round(opening(mel) * self.size * 0.2)
            if height:
                centre = (self.size // 2, round(self.size * 0.46))
                cv2.ellipse(face, centre, (self.size // 6, height), 0, 0, 360, MOUTH, -1)
        return faces


class FakeTracker:
    """A FaceTracker that finds the fake presenter's face wherever a picture shows skin at its middle."""

    def __init__(self) -> None:
        self.closed = False

    def track(self, rgb: Picture, timestamp_ms: int) -> Face | None:
        """The painted face, its mouth as open as it is dark."""
        height, width = rgb.shape[:2]
        if np.abs(rgb[height // 3, width // 2].astype(int) - SKIN).max() > 40:
            return None
        column = rgb[:, width // 2].astype(int)
        dark = float(np.mean(column[height // 2 : round(height * 0.8), 1] < 90))
        return Face(fake_landmarks(width, height, dark * 0.3), {"jawOpen": dark, "mouthPucker": 1 - dark})

    def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True


def fake_landmarks(width: int, height: int, aperture: float = 0.0) -> Points:
    """(478, 2) points of an upright face in the middle of a picture, its inner lips `aperture` heights apart.

    Only the points that Koubo reads are meaningful; the others lie at the nose.
    """
    shape = {33: (0.34, 0.35), 133: (0.44, 0.35), 362: (0.56, 0.35), 263: (0.66, 0.35)}  # eyes
    shape |= {10: (0.5, 0.12), 2: (0.5, 0.52), 4: (0.5, 0.48), 205: (0.36, 0.52), 425: (0.64, 0.52)}
    jaw = (58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288)
    for number, angle in zip(jaw, np.linspace(np.pi, 0, len(jaw)), strict=True):
        shape[number] = (0.5 + 0.24 * np.cos(angle), 0.55 + 0.2 * np.sin(angle))
    for number, angle in zip(
        OUTER_LIPS, np.linspace(0, 2 * np.pi, len(OUTER_LIPS), endpoint=False), strict=True
    ):
        shape[number] = (0.5 + 0.09 * np.cos(angle), 0.61 + 0.035 * np.sin(angle))
    shape |= {13: (0.5, 0.61 - aperture / 2), 14: (0.5, 0.61 + aperture / 2)}
    points = np.full((478, 2), (0.5, 0.5), np.float32)
    for number, position in shape.items():
        points[number] = position
    return points * np.array([width, height], np.float32)


OUTER_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)


def paint_face(width: int, height: int, gape: float = 0.0, seed: int = 0) -> Picture:
    """An RGB picture with the face of `fake_landmarks`; `gape` opens a dark mouth (share of the height)."""
    shade = np.linspace(40, 90, width)[None, :, None] + np.zeros((height, 1, 3))
    picture = np.clip(shade + np.random.default_rng(seed).normal(0, 1, shade.shape), 0, 255).astype(np.uint8)
    cv2.ellipse(
        picture,
        (width // 2, round(height * 0.45)),
        (round(width * 0.26), round(height * 0.34)),
        0,
        0,
        360,
        SKIN,
        -1,
    )
    lips = (width // 2, round(height * 0.61))
    cv2.ellipse(
        picture, lips, (round(width * 0.09), max(1, round(height * 0.01))), 0, 0, 360, (150, 80, 80), -1
    )
    if gape > 0:
        cv2.ellipse(picture, lips, (round(width * 0.07), round(height * gape)), 0, 0, 360, MOUTH, -1)
    return picture


def make_avatar(folder: Path, name: str = "fake") -> Path:
    """Write a whole small avatar package `folder`/`name` with a tiny mouth of its own."""
    package = folder / name
    write_tiny_mouth(package / "mouth", SIZE)
    width, height = FRAME_SIZE
    with VideoWriter(package / ANCHOR, FRAME_SIZE) as video:
        for number in range(FRAMES):
            video.write(to_i420(paint_face(width, height, seed=number)))
    landmarks = fake_landmarks(width, height)
    crop = crop_from_landmarks(landmarks)
    crops = tuple(replace(crop, angle=0.002 * k) for k in range(FRAMES))
    outline = tuple(float(value) for value in mouth_outline(landmarks, crop).ravel())
    write_card(
        package,
        AvatarCard(
            name=name,
            title={"en": "Fake", "zh": "假人"},
            size=FRAME_SIZE,
            clips=(Clip(IDLE, "idle", ANCHOR, "pingpong", crops, (outline,) * FRAMES, (1.0,) * FRAMES),),
            crop_size=SIZE,
            mouth_box=(0.35, 0.5, 0.65, 0.66),
            mouth="mouth",
            model="fake",
            licence="CC0-1.0",
            consent=Consent("rendered", "a program", "nobody is shown", "2026-01-31"),
            credits="",
        ),
    )
    return package


def speech_like(seconds: float, seed: int = 0) -> Samples:
    """Something the voice gate takes for a voice: a buzz of 140 Hz through moving formants, four syllables a
    second.
    """
    count = round(seconds * SAMPLE_RATE)
    time = np.arange(count) / SAMPLE_RATE
    rng = np.random.default_rng(seed)
    pitch = 140 + 15 * np.sin(2 * np.pi * 2.3 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    voice = np.zeros(count)
    for harmonic in range(1, 25):
        formants = sum(
            1 / (1 + ((harmonic * 140 - centre) / 120) ** 2)
            for centre in (500 + 200 * np.sin(9 * time), 1500, 2500)
        )
        voice += formants * np.sin(harmonic * phase) / harmonic**0.5
    envelope = 0.1 + 0.9 * np.abs(np.sin(2 * np.pi * 2 * time))
    sound = voice * envelope + rng.normal(0, 0.002, count)
    return np.asarray(0.3 * sound / np.abs(sound).max(), np.float32)


def room_noise(seconds: float, level: float = 0.003, seed: int = 0) -> Samples:
    """Low-passed noise of a quiet room; `level` is its standard deviation."""
    white = np.random.default_rng(seed).normal(0, 1, round(seconds * SAMPLE_RATE) + 15)
    smooth = np.convolve(white, np.ones(16) / 4, mode="valid")
    return np.asarray(level * smooth, np.float32)


def write_sound(path: Path, samples: Samples, rate: int) -> Path:
    """Write float32 samples (n,) or (channels, n) in [-1, 1] as WAV, FLAC or AAC, by the suffix."""
    channels = np.atleast_2d(samples)
    codec = {".wav": "pcm_s16le", ".flac": "flac"}.get(path.suffix, "aac")
    layout = "mono" if len(channels) == 1 else "stereo"
    if codec in ("pcm_s16le", "flac"):
        interleaved = to_pcm16(channels.T.reshape(1, -1))
        frame = av.AudioFrame.from_ndarray(interleaved, format="s16", layout=layout)
    else:
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(channels), format="fltp", layout=layout)
    frame.sample_rate, frame.pts = rate, 0
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        assert isinstance(stream, av.AudioStream)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
