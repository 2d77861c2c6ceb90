"""Which way a matte is made for a clip, if it can be made well."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from engine.anchor.crop import Picture
from engine.anchor.finding import Finding
from engine.anchor.key_matte import key_matter
from engine.anchor.matte import Matter, MatteVideo
from engine.anchor.segmenter_matte import SegmenterMatter, known_segmenter
from engine.picture.video import read_rgb

MatteChoice = Literal["auto", "none"] | Path

_LOOKS = 4  # pictures by which a wall is judged


@dataclass(frozen=True, slots=True)
class MatteMaker:
    """What makes the mattes of a clip; all None where there are to be none.

    `clean` takes the wall's light off the person in a picture. `finding` tells why none is made.
    """

    matter: Matter | None = None
    clean: Callable[[Picture], Picture] | None = None
    finding: Finding | None = None


@contextmanager
def matte_maker(
    choice: MatteChoice, video: Path, max_side: int, first: int, last: int
) -> Iterator[MatteMaker]:
    """The maker for pictures `first` to `last` (exclusive) of `video`, read at `max_side`.

    "auto": by the wall's colour where it is plain and bright, else by the segmenter where one is installed.
    Raises MissingToolError when the segmenter is not usable, BadMediaError.
    """
    if choice == "none":
        yield MatteMaker()
        return
    if isinstance(choice, Path):
        yield MatteMaker(MatteVideo(choice))
        return
    step = max(1, (last - first) // _LOOKS)
    key = key_matter(list(islice(read_rgb(video, max_side), first, last, step)))
    if key is not None:
        yield MatteMaker(key, key.clean if key.coloured else None)
        return
    model = known_segmenter()
    if model is None:
        sentence = (
            "No matte was made, so the wall behind stays: it is not plain green, blue or white; film in "
            "front of one, or name a segmenter with KOUBO_SEGMENTER."
        )
        yield MatteMaker(finding=Finding("no-matte", "advice", sentence))
        return
    with SegmenterMatter(model) as matter:
        yield MatteMaker(matter)
