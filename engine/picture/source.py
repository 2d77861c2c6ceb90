"""What a video file says of itself before it is decoded."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Source:
    """Facts of a video file, its picture upright.

    `fps` and `duration_s` are 0 where the file does not tell. `rotation` is how many degrees clockwise the
    stored pictures are turned to stand upright: 0, 90, 180 or 270. `depth` is bits for each colour sample,
    `bits_per_pixel` bits of the file for each pixel shown (0 where the duration is unknown).
    """

    width: int
    height: int
    fps: float
    duration_s: float
    rotation: int
    hdr: bool
    sound: bool
    variable_rate: bool = False
    interlaced: bool = False
    depth: int = 8
    codec: str = ""
    bits_per_pixel: float = 0.0
