"""The endless walk over an anchor's frames."""

from typing import Literal, Self

Loop = Literal["forward", "pingpong", "once"]


class AnchorWalk:
    """Frame numbers without end: 0 1 2 0 1 2 (forward, for a video that loops) or 0 1 2 1 0 1 (ping-pong)."""

    def __init__(self, frames: int, loop: Loop) -> None:
        """Walk over `frames` >= 1 frames; raises ValueError for fewer."""
        if frames < 1:
            raise ValueError("an anchor has at least one frame")
        self._frames = frames
        self._period = frames if loop == "forward" else max(1, 2 * frames - 2)
        self._position = 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> int:
        """The number of the next frame, in [0, frames)."""
        step = self._position
        self._position = (step + 1) % self._period
        return min(step, self._period - step) if self._period > self._frames else step
