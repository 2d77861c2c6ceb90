"""Every threshold of the preparation in one place, with the reason for its default."""

import hashlib
import json
from dataclasses import asdict, dataclass

LEAD = 20
"""Ticks of sound stored before and after the pictures of a clip: what a sync model slides over, and more."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What footage must be to be kept. Lengths in pixels, seconds or degrees as the names say.

    The defaults ask for what a mouth crop needs, not for a large picture: a face of 96 pixels fills half of a
    192-pixel mouth, and footage of 360x288 with one head in it passes.
    """

    min_side: int = 200
    """Shorter side of the picture, pixels: below it no face can be large enough."""

    min_bits_per_pixel: float = 0.01
    """Bits of the file for each pixel shown: below it blocks replace lips (1080p at 0.5 Mbit/s)."""

    min_face: int = 96
    """Side of the mouth's square, pixels of the source: half of the smallest mouth that is trained (192)."""

    max_yaw: float = 35.0
    """Degrees to the side: beyond, one half of the lips hides the other."""

    min_sharpness: float = 20.0
    """Variance of the Laplacian of the square at 128x128: clear footage has 40 to 2000."""

    min_light: float = 40.0
    """Mean grey of the square, 0 to 255: below, teeth and lips sink into the dark."""

    max_light: float = 225.0
    """Mean grey above which skin is burnt out."""

    min_contrast: float = 10.0
    """Standard deviation of grey in the square."""

    min_seconds: float = 2.0
    """Shortest clip: the window in which sync is judged."""

    max_seconds: float = 10.0
    """Longest clip; a longer one is divided at its pauses."""

    max_pause: float = 2.0
    """A longer silence is cut out; a shorter one stays, for a mouth must learn to rest."""

    min_speech: float = 0.25
    """Share of a clip's pictures with speech."""

    min_snr_db: float = 20.0
    """Loud over quiet parts of the sound: below it noise is removed."""

    min_lip_motion: float = 0.008
    """Standard deviation of the inner lips' distance while there is speech, in sides of the mouth's square:
    lips that rest stay below 0.005, talking ones exceed 0.015."""

    max_jump: float = 0.25
    """A square that moves by this share of its side between two pictures is a hidden cut."""

    bridge: int = 5
    """Pictures without a usable face that may lie between two with one."""

    min_confidence: float = 0.1
    """Sync confidence from which the judge's word counts. Set for the shipped judge by looking at
    filmed clips of 3 s: about 6 of 100 reached it with another clip's sound."""

    min_window_confidence: float = 0.13
    """The same for one window of 2 s."""

    strict_sync: bool = False
    """Whether clips that the judge is not sure of are dropped; else they stay as they are."""

    min_steady: float = 0.6
    """Share of 2-second windows that must agree on the offset."""

    keep_offset: int = 1
    """Offsets up to this many ticks stay: 40 ms is below what people notice, and what the judge can tell."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What decides the result of one source: limits, side of stored crops, who judges sync and who
    tells persons apart.
    """

    limits: Limits
    size: int = 256
    judge: str = "shipped"
    embedder: str = "dlib"

    def fingerprint(self) -> str:
        """Changes when a finished source must be done again."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]
