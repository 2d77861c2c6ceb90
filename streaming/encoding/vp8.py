"""VP8 by libvpx, for live pictures."""

from streaming.encoding.libav import LibavPictureEncoder


def open_vp8(size: tuple[int, int], max_kbps: int) -> LibavPictureEncoder:
    """An encoder without delay. FFmpeg cannot change its bit rate: another one costs a key frame."""
    return LibavPictureEncoder("libvpx", size, max_kbps, _options, adaptable=False)


def _options(kbps: int) -> dict[str, str]:
    return {
        "deadline": "realtime",
        "cpu-used": "-6",
        "lag-in-frames": "0",
        "qmin": "2",
        "qmax": "56",
        # The same least and most is constant bit rate.
        "minrate": f"{kbps}k",
        "maxrate": f"{kbps}k",
        "bufsize": f"{kbps // 2}k",
        "undershoot-pct": "100",
        "overshoot-pct": "15",
        "static-thresh": "1",
    }
