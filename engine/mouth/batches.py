"""How many faces are drawn at once: the batch sizes that GPU runtimes prepare."""

from itertools import pairwise

LADDER = (1, 2, 4, 8, 16, 32, 64)
"""Sizes that a batch is padded up to: one CUDA graph each. At most half of a batch is padding."""

MAX_BATCH = LADDER[-1]


def padded(count: int) -> int:
    """The smallest size of the ladder that holds `count` faces, 1 to MAX_BATCH."""
    return next(size for size in LADDER if size >= count)


def chunks(count: int) -> list[range]:
    """`count` faces in as few pieces as there must be, in order; none has more than MAX_BATCH."""
    edges = [*range(0, count, MAX_BATCH), count]
    return [range(start, stop) for start, stop in pairwise(edges)]


PROFILES = ((1, 1, 2), (4, 8, 16), (32, 64, 64))
"""Optimisation profiles (smallest, best, largest batch) that together cover the ladder.

One for a few sessions, where a single face must be quick; one for a small server; one for a full card.
"""


def profile_of(size: int) -> int:
    """The number of the profile that runs a batch of a size of the ladder."""
    return next(number for number, (_, _, largest) in enumerate(PROFILES) if size <= largest)
