"""How good a generated mouth is: the measures, one file each.

`pixels` holds pictures against each other, `track` follows faces, `lips`, `mouth`, `voice`, `flicker`, `seam`
measure, `columns` measures several videos of the same speech in one reading.
"""

from engine.evaluate.lips import correlation
from engine.evaluate.mouth import MouthScore, apertures, compare
from engine.evaluate.pixels import gradient_energy, luminance, ssim
from engine.evaluate.voice import VoiceScore, follow_voice

__all__ = [
    "MouthScore",
    "VoiceScore",
    "apertures",
    "compare",
    "correlation",
    "follow_voice",
    "gradient_energy",
    "luminance",
    "ssim",
]
