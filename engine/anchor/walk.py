"""The endless walk over an anchor's frames."""

from typing import Literal, Self

Loop = Literal["forward", "pingpong", "once"]


def one_round(frames: int, loop: Loop) -> tuple[int, ...]:
    """Frame numbers of one round over `frames` >= 1 frames; raises ValueError for fewer.

    0 1 2 (forward, once) or 0 1 2 1 (ping-pong): whatever goes on goes on with 0.
    """
    if frames < 1:
        raise ValueError("an anchor has at least one frame")
    forward = tuple(range(frames))
    return forward + forward[-2:0:-1] if loop == "pingpong" else forward


class AnchorWalk:
    """Frame numbers without end: 0 1 2 0 1 2 (forward, for a video that loops) or 0 1 2 1 0 1 (ping-pong)."""

    def __init__(self, frames: int, loop: Loop) -> None:
        """Walk over `frames` >= 1 frames; raises ValueError for fewer. "once" turns at its end, too."""
        self._round = one_round(frames, "forward" if loop == "forward" else "pingpong")
        self._step = 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> int:
        """The number of the next frame, in [0, frames)."""
        frame = self._round[self._step]
        self._step = (self._step + 1) % len(self._round)
        return frame
