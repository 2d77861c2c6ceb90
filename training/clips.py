"""Clips: crops of one talking face with their sound, the one form in which training reads footage.

Filmed and rendered footage end here alike. A clip is a folder:

    clip.json       ClipCard
    000000.jpg ...  square RGB crops (engine.anchor.crop, `margin` times as wide), 25 a second
    idle.jpg        only rendered: the same face and pose with the mouth at rest
    speech.wav      16 kHz mono PCM, from `lead` ticks before the first picture to as many after the last
"""

import json
import wave
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from engine.anchor.crop import Crop, Picture, Points, extract
from engine.errors import BadMediaError
from engine.speech.audio import SAMPLE_RATE, SAMPLES_PER_TICK, Samples, from_pcm16, to_pcm16

SCHEMA = 1
CARD = "clip.json"
IDLE = "idle.jpg"
SPEECH = "speech.wav"

MARGIN = 1.15
"""Stored crops are this much wider than the crop that training cuts, which leaves room to vary it."""

_QUALITY = 95
_LIPS = (61, 291, 0, 17)


@dataclass(frozen=True, slots=True)
class ClipCard:
    """What clip.json says.

    person: one name a person; source: file it came from; start_s: where in it, in seconds; frames: number of
    pictures; size: their side in pixels; margin: their side over the crop's; lead: ticks of sound before and
    after; lips: centre of the lips for each picture, in [0, 1] of the stored square; idle: whether idle.jpg
    is there; code: true mouth code (frames, CODE), only of rendered clips; offset and confidence: what the
    sync model found before the sound was moved, None where it was not asked.
    """

    person: str
    source: str
    start_s: float
    frames: int
    size: int
    margin: float
    lead: int
    lips: list[list[float]]
    idle: bool = False
    code: list[list[float]] | None = None
    offset: int | None = None
    confidence: float | None = None
    schema: int = SCHEMA


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip in memory: its card, its encoded pictures, its sound in [-1, 1]."""

    name: str
    card: ClipCard
    pictures: list[bytes]
    idle: bytes | None
    samples: Samples


def padded(crop: Crop) -> Crop:
    """The crop with the margin that clips keep around it."""
    return Crop(crop.cx, crop.cy, crop.size * MARGIN, crop.angle)


def lip_centre(landmarks: Points, crop: Crop) -> list[float]:
    """Centre of the lips in [0, 1] of `crop`; `landmarks` (478, 2) in pixels of the frame."""
    x, y = crop.to_crop(landmarks[list(_LIPS)], 1).mean(axis=0)
    return [round(float(x), 4), round(float(y), 4)]


def cut(frame: Picture, crop: Crop, size: int) -> bytes:
    """The stored picture: `crop` of an RGB frame as JPEG."""
    return encode(extract(frame, crop, size))


def encode(picture: Picture) -> bytes:
    """RGB uint8 (h, w, 3) as JPEG."""
    done, encoded = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    assert done
    return encoded.tobytes()


def decode(encoded: bytes, *, half: bool = False) -> Picture:
    """JPEG or PNG as RGB uint8 (h, w, 3); with `half` at half its size, which JPEG gives for little.

    Raises BadMediaError for a damaged one.
    """
    how = cv2.IMREAD_REDUCED_COLOR_2 if half else cv2.IMREAD_COLOR
    picture = cv2.imdecode(np.frombuffer(encoded, np.uint8), how) if encoded else None
    if picture is None:
        raise BadMediaError("A picture of the footage is damaged; make its clips or pairs again.")
    return np.asarray(picture, dtype=np.uint8)[:, :, ::-1]


def write_clip(
    folder: Path, card: ClipCard, pictures: Sequence[bytes], samples: Samples, idle: bytes | None = None
) -> None:
    """Writes a clip; its card comes last, so a folder with a card is complete.

    `samples` must hold (2 * lead + frames) ticks. Raises ValueError for other lengths.
    """
    ticks = 2 * card.lead + card.frames
    if len(pictures) != card.frames or len(card.lips) != card.frames:
        raise ValueError(f"{len(pictures)} pictures and {len(card.lips)} lips for {card.frames} frames")
    if samples.size != ticks * SAMPLES_PER_TICK:
        raise ValueError(f"{samples.size} samples for {ticks} ticks")
    folder.mkdir(parents=True, exist_ok=True)
    for index, picture in enumerate(pictures):
        (folder / f"{index:06d}.jpg").write_bytes(picture)
    if idle is not None:
        (folder / IDLE).write_bytes(idle)
    write_wave(folder / SPEECH, samples)
    write_card(folder, card)


def write_card(folder: Path, card: ClipCard) -> None:
    """Writes clip.json, whole or not at all."""
    partial = folder / "clip.part"
    partial.write_text(json.dumps(asdict(card), ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(folder / CARD)


def read_card(folder: Path) -> ClipCard:
    """The card of a clip. Raises BadMediaError for a missing, damaged or newer one."""
    try:
        content = json.loads((folder / CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadMediaError(
            f"{folder} is no clip: its {CARD} cannot be read; run `koubo dataset prepare` again."
        ) from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise BadMediaError(f"{folder} is a clip of another version; run `koubo dataset prepare` again.")
    try:
        return ClipCard(**content)
    except TypeError as error:
        raise BadMediaError(f"{folder / CARD} lacks fields; run `koubo dataset prepare` again.") from error


def read_clip(folder: Path) -> Clip:
    """One clip, pictures still encoded. Raises BadMediaError when it is incomplete."""
    card = read_card(folder)
    try:
        pictures = [(folder / f"{index:06d}.jpg").read_bytes() for index in range(card.frames)]
        idle = (folder / IDLE).read_bytes() if card.idle else None
        samples = read_wave(folder / SPEECH)
    except (OSError, EOFError, wave.Error) as error:
        raise BadMediaError(
            f"{folder} is incomplete ({error}); delete it and run `koubo dataset prepare` again."
        ) from error
    if samples.size != (2 * card.lead + card.frames) * SAMPLES_PER_TICK:
        raise BadMediaError(
            f"{folder} is incomplete ({SPEECH} has another length than its {CARD} says); delete it and run "
            "`koubo dataset prepare` again."
        )
    return Clip(folder.name, card, pictures, idle, samples)


def clip_folders(roots: Sequence[Path]) -> list[Path]:
    """Folders of all clips below `roots`, in order. Raises BadMediaError when there are none."""
    found = sorted(card.parent for root in roots for card in root.rglob(CARD))
    if not found:
        where = ", ".join(str(root) for root in roots)
        raise BadMediaError(f"There are no clips below {where}; run `koubo dataset prepare` first.")
    return found


def write_wave(path: Path, samples: Samples) -> Path:
    """Writes float samples in [-1, 1] at 16 kHz as a 16-bit WAV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(to_pcm16(samples).tobytes())
    return path


def read_wave(path: Path) -> Samples:
    """A 16-bit mono WAV file at 16 kHz as float samples in [-1, 1]."""
    with wave.open(str(path), "rb") as file:
        return from_pcm16(np.frombuffer(file.readframes(file.getnframes()), np.int16))


def span(samples: Samples, first: int, ticks: int) -> Samples:
    """`ticks` ticks of sound from tick `first` on; silence beyond both ends."""
    out = np.zeros(ticks * SAMPLES_PER_TICK, np.float32)
    start = first * SAMPLES_PER_TICK
    low, high = max(start, 0), min(start + out.size, samples.size)
    if low < high:
        out[low - start : high - start] = samples[low:high]
    return out
