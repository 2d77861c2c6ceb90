"""What a video file says of itself."""

from dataclasses import dataclass
from pathlib import Path

import av

from engine.errors import NoPictureError
from engine.picture.convert import orientation, transfer_of, upright_size
from engine.picture.decode import opened, rate_of, timed


@dataclass(frozen=True, slots=True)
class Source:
    """Facts of a video file, its picture upright.

    `fps` and `duration_s` are 0 where the file does not tell. `rotation` is how many degrees clockwise the
    stored pictures are turned to stand upright: 0, 90, 180 or 270. `depth` is bits for each colour sample,
    `bits_per_pixel` bits of the file for each pixel shown (0 where the duration is unknown). `start_s` is the
    time of the first picture on the file's clock.
    """

    width: int
    height: int
    fps: float
    duration_s: float
    rotation: int
    hdr: bool
    sound: bool
    variable_rate: bool = False
    depth: int = 8
    codec: str = ""
    start_s: float = 0.0
    bits_per_pixel: float = 0.0


def probe(path: Path) -> Source:
    """The facts of a video file, of which one picture is decoded.

    Raises BadMediaError when it is missing or damaged, NoPictureError when it holds no picture.
    """
    with opened(path) as (container, stream):
        rate = rate_of(stream)
        length = stream.duration * stream.time_base if stream.duration and stream.time_base else None
        seconds = float(length or (container.duration or 0) / av.time_base)
        for _, frame in timed(container, stream):
            width, height = upright_size(frame, stream.sample_aspect_ratio)
            bits = path.stat().st_size * 8 / (seconds * rate * width * height) if seconds else 0.0
            return Source(
                width=width,
                height=height,
                fps=round(rate, 3),
                duration_s=round(seconds, 3),
                rotation=-90 * orientation(frame)[0] % 360,
                hdr=transfer_of(frame) is not None,
                sound=bool(container.streams.audio),
                variable_rate=abs(float(stream.base_rate or rate) - rate) > 0.02 * rate,
                depth=frame.format.components[0].bits,
                codec=stream.codec_context.name,
                start_s=float(frame.time or 0.0),
                bits_per_pixel=round(bits, 4),
            )
    raise NoPictureError(f"{path.name} holds no picture; give a video file.")
