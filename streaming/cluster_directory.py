"""Where the replicas of a cluster are, and whether it goes on. No I/O, no clock: times are given, in seconds.

Whoever is in it says so again every second, so a directory that died and began anew is whole a second later.
"""

from dataclasses import dataclass
from typing import Literal, TypeVar

Phase = Literal["run", "drain", "stop"]
"""What all replicas do: take sessions, wait for those there are, or end them."""

_Value = TypeVar("_Value")

REGISTER_S = 1.0
"""How often a replica says where it is."""

_FORGET_S = 5.0


@dataclass(frozen=True, slots=True)
class Order:
    """What a replica is told: what to do, and how many new sessions wait for room at the gateways."""

    phase: Phase
    waiting: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A replica: its URL, its sessions, and how many of these somebody uses."""

    url: str
    sessions: int
    in_use: int


class Register:
    """Entries of replicas and figures of gateways, each good for `forget_s` after it was told."""

    def __init__(self, forget_s: float = _FORGET_S) -> None:
        self._forget_s = forget_s
        self._replicas: dict[str, tuple[Entry, float]] = {}
        self._waiting: dict[str, tuple[int, float]] = {}
        self.phase: Phase = "run"

    def enter(self, name: str, entry: Entry, now: float) -> Order:
        """A replica says where it is and how it does."""
        self._replicas[name] = entry, now
        return Order(self.phase, sum(self._fresh(self._waiting, now).values()))

    def leave(self, name: str) -> None:
        """A replica ends in order."""
        self._replicas.pop(name, None)

    def ask(self, gateway: str, waiting: int, now: float) -> dict[str, str]:
        """A gateway tells how many sessions wait at it, and hears name and URL of each replica."""
        self._waiting[gateway] = waiting, now
        return {name: entry.url for name, entry in self.replicas(now).items()}

    def replicas(self, now: float) -> dict[str, Entry]:
        """Those that have told of themselves lately."""
        return self._fresh(self._replicas, now)

    def _fresh(self, table: dict[str, tuple[_Value, float]], now: float) -> dict[str, _Value]:
        for name in [name for name, (_, told) in table.items() if now - told > self._forget_s]:
            del table[name]
        return {name: value for name, (value, _) in table.items()}
