"""Films as phones and cameras write them, made of painted faces."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from engine.anchor.crop import Picture
from engine.picture.tone import PEAK, WHITE, pq_signal
from engine.speech.audio import SAMPLE_RATE, Samples

Light = NDArray[np.float64]

BT709, BT470BG, BT2020 = 1, 5, 9
LIMITED, FULL = 1, 2
TRANSFERS = {"pq": 16, "hlg": 18}

_709_TO_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])


def marked_picture(width: int = 96, height: int = 64) -> Picture:
    """Red at the left, green at the right, blue at the bottom right, white at the top left: no turn of it is
    like another.
    """
    picture = np.zeros((height, width, 3), np.uint8)
    picture[:, : width // 2] = (200, 40, 40)
    picture[:, width // 2 :] = (40, 180, 60)
    picture[height // 2 :, width // 2 :] = (50, 60, 190)
    picture[: height // 4, : width // 4] = 235
    return picture


def write_film(
    path: Path,
    pictures: Sequence[Picture],
    *,
    rate: int = 25,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    matrix: int | None = None,
    colour_range: int | None = None,
    tagged: bool = True,
    turn: float | None = None,
    display: Sequence[int] | None = None,
    shape: Fraction | None = None,
    times: Sequence[float] | None = None,
    interlaced: bool = False,
    speech: Samples | None = None,
    container_format: str | None = None,
) -> Path:
    """A film of RGB pictures (even sides). `turn` in degrees against the clock and `display` (nine numbers)
    set the display matrix, `shape` the pixels' width over height, `times` each picture's own time in seconds.
    """
    with av.open(str(path), "w", format=container_format) as container:
        stream = container.add_stream(codec, rate=rate)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pix_fmt
        context = stream.codec_context
        options: dict[str, object] = {"preset": "ultrafast", "crf": "4"} if codec == "libx264" else {}
        if interlaced:
            options |= {"flags": "+ildct+ilme", "x264-params": "interlaced=1:tff=1"}
        stream.options = options
        if tagged and matrix is not None:
            context.colorspace = matrix
        if tagged and colour_range is not None:
            context.color_range = colour_range
        if shape is not None:
            context.sample_aspect_ratio = shape
        if turn is not None:
            stream.set_display_rotation(turn)
        if display is not None:
            stream.set_display_matrix(list(display))
        base = Fraction(1, rate) if times is None else Fraction(1, 1000)
        context.time_base = base
        sound = None
        if speech is not None:
            sound = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame = frame.reformat(format=pix_fmt, dst_colorspace=matrix, dst_color_range=colour_range)
            if not tagged:
                frame.colorspace = 2
            frame.pts = number if times is None else round(times[number] * 1000)
            frame.time_base = base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None and speech is not None:
            heard = av.AudioFrame.from_ndarray(speech[None], format="fltp", layout="mono")
            heard.sample_rate, heard.pts = SAMPLE_RATE, 0
            container.mux(sound.encode(heard))
            container.mux(sound.encode(None))
    return path


def display_light(picture: Picture) -> Light:
    """What a standard screen shows of RGB pictures (h, w, 3), BT.2020, 1 being white."""
    return np.asarray((picture / 255.0) ** 2.4 @ _709_TO_2020.T)


def hdr_signal(light: Light, transfer: str) -> Light:
    """Display light, 1 being white paper at WHITE cd/m2, as a PQ or HLG signal in [0, 1] (BT.2100)."""
    if transfer == "pq":
        return pq_signal(light * WHITE)
    display = light * WHITE / PEAK
    luminance = np.maximum(display @ [0.2627, 0.6780, 0.0593], 1e-9)
    scene = display * (luminance ** (1 / 1.2 - 1))[..., None]
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), a * np.log(np.maximum(12 * scene - b, 1e-9)) + c)


def write_hdr(path: Path, signals: Sequence[Light], transfer: str) -> Path:
    """A 10-bit HEVC film of R'G'B' signals (h, w, 3) in [0, 1], BT.2020, limited range."""
    height, width = signals[0].shape[:2]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx265", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p10le"
        names = {"pq": "smpte2084", "hlg": "arib-std-b67"}
        stream.options = {
            "preset": "ultrafast",
            "crf": "6",
            "x265-params": "log-level=none:colorprim=bt2020:colormatrix=bt2020nc:range=limited:"
            f"transfer={names[transfer]}",
        }
        tags: dict[str, Any] = {
            "colorspace": BT2020,
            "color_primaries": BT2020,
            "color_trc": TRANSFERS[transfer],
            "color_range": LIMITED,
        }
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        for number, signal in enumerate(signals):
            frame = _ten_bit(signal)
            for name, value in tags.items():
                setattr(frame, name, value)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _ten_bit(signal: Light) -> av.VideoFrame:
    height, width = signal.shape[:2]
    red, green, blue = (signal[..., channel] for channel in range(3))
    luma = 0.2627 * red + 0.6780 * green + 0.0593 * blue
    planes = [
        64 + 876 * luma,
        512 + 896 * _halved((blue - luma) / 1.8814),
        512 + 896 * _halved((red - luma) / 1.4746),
    ]
    frame = av.VideoFrame(width, height, "yuv420p10le")
    for plane, values in zip(frame.planes, planes, strict=True):
        lines = np.zeros((plane.height, plane.line_size // 2), "<u2")
        lines[:, : values.shape[1]] = np.rint(values)
        plane.update(lines.tobytes())
    return frame


def _halved(plane: Light) -> Light:
    height, width = plane.shape
    return np.asarray(cv2.resize(plane, (width // 2, height // 2), interpolation=cv2.INTER_AREA), np.float64)
