"""How much of a drawn mouth may be shown: all of it on a face that looks at the camera, nothing on a profile,
where the untouched picture is better than a broken mouth.
"""

import numpy as np
from numpy.typing import NDArray

from engine.anchor.crop import smooth_track

AWAY = (20.0, 36.0)
"""Degrees away from the camera, sideways and up or down together, up to which all of it is shown, and from
which nothing: the shipped mouth saw 12; beyond 20 what it draws begins to reach over the cheek's edge.
"""

_SIGMA = 4.0  # pictures; a share that fell at once would be a switch


def mouth_shares(yaw: NDArray[np.float32], pitch: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 (n,) in [0, 1] for the angles (n,) of n pictures in a row, degrees; NaN, no face, shows none.

    Smoothed over time, and never above what the angles of a picture alone allow.
    """
    allowed = _fall(np.hypot(yaw, pitch))
    # What is smoothed is the lowest share near by, so that it has fallen when the profile comes.
    reach = round(2 * _SIGMA)
    padded = np.pad(allowed, reach, mode="edge")
    lowest = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).min(axis=1)
    smooth = smooth_track(lowest[:, None], sigma=_SIGMA)[:, 0]
    return np.asarray(np.clip(np.minimum(smooth, allowed), 0, 1), np.float32)


def _fall(away: NDArray[np.float32]) -> NDArray[np.float32]:
    whole, nothing = AWAY
    position = np.clip((nothing - np.nan_to_num(away, nan=nothing)) / (nothing - whole), 0, 1)
    return np.asarray(position * position * (3 - 2 * position), np.float32)
