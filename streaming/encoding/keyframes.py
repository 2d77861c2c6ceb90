"""When a key frame is due. Time is counted in slots: no clock here."""

from engine.speech.audio import FRAME_RATE

LEAST_SLOTS = (FRAME_RATE + 1) // 2
"""Between two key frames; whoever asks meanwhile shares the next one (0.52 s)."""

STEADY_SLOTS = 2 * FRAME_RATE
"""Between key frames while a steady receiver is there: platforms and segments want one every two seconds."""


class KeyframeSchedule:
    """Requests in, decisions out; a stream begins with a key frame."""

    def __init__(self) -> None:
        self._wanted = True
        self._last: int | None = None

    def request(self) -> None:
        """Somebody joins, or has lost a picture."""
        self._wanted = True

    def due(self, slot: int, *, steady: bool) -> bool:
        """Whether the picture of this slot should be a key frame."""
        if self._last is None:
            return True
        since = slot - self._last
        return (self._wanted and since >= LEAST_SLOTS) or (steady and since >= STEADY_SLOTS)

    def made(self, slot: int) -> None:
        """The picture of this slot has become a key frame: everybody who waited is served."""
        self._wanted = False
        self._last = slot
