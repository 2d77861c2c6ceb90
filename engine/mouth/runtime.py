"""The role of a mouth runtime: what runs the two halves of a trained mouth."""

from collections.abc import Sequence
from typing import Any, Protocol

from engine.anchor.crop import Picture
from engine.mouth.region import Region
from engine.speech.mel import Mel

Features = tuple[Any, ...]
"""What the face encoder keeps of one anchor face, largest map first, in fp16: arrays, or memory on a GPU.

Only the runtime that made them can read them.
"""


class MouthRuntime(Protocol):
    """Draws lips on faces. Calls may come from any thread, and from several at once."""

    @property
    def name(self) -> str:
        """The runtime, such as "openvino"."""
        ...

    @property
    def precision(self) -> str:
        """What it computes in: "f32", "bf16", "f16"."""
        ...

    @property
    def size(self) -> int:
        """Side S of its square pictures."""
        ...

    @property
    def region(self) -> Region:
        """The part of its pictures that `decode` draws; elsewhere they are 0."""
        ...

    @property
    def maps_key(self) -> str | None:
        """Names the layout, precision and region of its features, where they are plain arrays that may be
        kept and read again later; None where they are memory of a device.
        """
        ...

    def restricted(self, region: Region) -> "MouthRuntime":
        """The same networks, drawing at least `region`; may be this one itself. Its features are its own."""
        ...

    def encode(self, faces: Picture) -> list[Features]:
        """The features of idle faces, RGB uint8 (n, S, S, 3); needed once per anchor frame."""
        ...

    def decode(self, mels: Mel, features: Sequence[Features]) -> Picture:
        """Faces that speak: mel windows float32 (n, 80, 16) on n faces -> RGB uint8 (n, S, S, 3)."""
        ...


class WholeSquare:
    """What mouths have in common that always draw all of their square, into features on a device."""

    maps_key: str | None = None

    @property
    def region(self: MouthRuntime) -> Region:
        """All of the square."""
        return Region.whole(self.size)

    def restricted(self: MouthRuntime, region: Region) -> MouthRuntime:
        """This one itself."""
        return self
