"""H.264 by the encoder of an NVIDIA card (h264_nvenc), where FFmpeg, the driver and the card have one."""

import av
import numpy as np

from engine.errors import KouboError
from streaming.encoding.libav import LibavPictureEncoder

_BUFFER_S = 0.3
_PROBE = (256, 256)
_PROBE_KBPS = 500


def open_nvenc(size: tuple[int, int], max_kbps: int) -> LibavPictureEncoder:
    """An encoder without delay: each picture comes out at once, with SPS and PPS before key frames."""
    return LibavPictureEncoder("h264_nvenc", size, max_kbps, _options, adaptable=True)


def probe_nvenc() -> None:
    """Encode one small picture. Raises KouboError with the reason where that cannot be done."""
    width, height = _PROBE
    grey = np.full((height * 3 // 2, width), 128, np.uint8)
    try:
        made = open_nvenc(_PROBE, _PROBE_KBPS).encode(grey, 0, _PROBE_KBPS, keyframe=True)
    except av.FFmpegError as error:
        raise KouboError(
            f"The NVIDIA encoder cannot be opened here ({error.strerror}); "
            "it needs a card with NVENC and its driver."
        ) from error
    if made is None or not made.keyframe:
        raise KouboError("The NVIDIA encoder gave no picture; use libx264.")


def _options(kbps: int) -> dict[str, str]:
    return {
        "preset": "p4",
        "tune": "ull",
        "profile": "baseline",
        "rc": "cbr",
        "delay": "0",
        "zerolatency": "1",
        "forced-idr": "1",
        "no-scenecut": "1",
        "maxrate": f"{kbps}k",
        "bufsize": f"{round(kbps * _BUFFER_S)}k",
    }
