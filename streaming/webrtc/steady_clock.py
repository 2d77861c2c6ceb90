"""A clock for RTP that does not step when the system's does.

aiortc reads the wall clock for sender reports, for the times of sending in its packets and for when it last
heard of a receiver. When somebody sets that clock, receivers would take sound and picture for hours apart,
estimate a bit rate from nonsense, and a WHIP outlet would seem silent for an hour. RFC 3550 (section 6.4.1)
lets a sender count from any moment, so here it counts from the start of the process.
"""

import time
from datetime import UTC, datetime, timedelta

import aiortc.clock

_BEGAN = datetime.now(UTC)
_AT = time.monotonic()


def steady_datetime() -> datetime:
    """The wall clock as it was when the process began, and the time that has passed since."""
    return _BEGAN + timedelta(seconds=time.monotonic() - _AT)


def keep_steady() -> None:
    """Have aiortc read this clock, for all its connections; it has no public way to be given one."""
    aiortc.clock.current_datetime = steady_datetime
