"""Step 1, quality: is the file worth reading, and are its pictures of the face clear?"""

import numpy as np
from numpy.typing import NDArray

from engine.picture.clarity import Clarity
from engine.picture.source import Source
from training.preprocess.limits import Limits

Floats = NDArray[np.float32]


def refuse_source(facts: Source, limits: Limits) -> tuple[str, str] | None:
    """(reason, figures) why a whole file is dropped, None when it is worth reading."""
    if min(facts.width, facts.height) < limits.min_side:
        return "low_resolution", f"{facts.width}x{facts.height}, needs {limits.min_side} on the shorter side"
    if 0 < facts.bits_per_pixel < limits.min_bits_per_pixel:
        figures = f"{facts.bits_per_pixel:.4f} bits a pixel, needs {limits.min_bits_per_pixel}"
        return "low_bitrate", figures
    if not facts.sound:
        return "no_sound", "no audio track"
    return None


def refuse_pictures(seen: Clarity, limits: Limits) -> tuple[str, str] | None:
    """(reason, figures) why a stretch is dropped, from the medians over its pictures."""
    if seen.sharpness < limits.min_sharpness:
        return "blurred", f"sharpness {seen.sharpness:.0f}, needs {limits.min_sharpness:.0f}"
    if not limits.min_light <= seen.light <= limits.max_light:
        return "exposure", f"grey {seen.light:.0f}, fit are {limits.min_light:.0f} to {limits.max_light:.0f}"
    if seen.contrast < limits.min_contrast:
        return "exposure", f"contrast {seen.contrast:.0f}, needs {limits.min_contrast:.0f}"
    return None


def median_clarity(sharpness: Floats, light: Floats, contrast: Floats) -> Clarity:
    """Medians over the pictures (n,) of a stretch."""
    return Clarity(float(np.median(sharpness)), float(np.median(light)), float(np.median(contrast)))
