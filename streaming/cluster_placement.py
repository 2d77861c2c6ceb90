"""Where sessions of a cluster go, and where they are. No I/O and no clock: times are given, in seconds.

A session's id begins with the name of the replica that holds it, so any gateway knows where it is without
asking anybody, and none has to remember. A gateway places a new session where there is the most room, from
what the replicas last said of themselves. Two gateways may choose the same last place; the replica then
refuses one of them, which is placed anew: the replica alone has the last word about how many it holds.
"""

import re
import secrets
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field

_NAME = re.compile(r"[0-9a-f]{8}(?=-)")


def new_name() -> str:
    """A name for a replica that no other one has had."""
    return secrets.token_hex(4)


def id_prefix(name: str) -> str:
    """What ids of sessions of this replica begin with."""
    return f"{name}-"


def holder(session_id: str) -> str | None:
    """The replica that a session's id names, None where it is no id of a cluster."""
    found = _NAME.match(session_id)
    return found[0] if found else None


@dataclass(frozen=True, slots=True)
class Load:
    """What a replica says of itself: sessions it has, how many it can have, whether new ones may come.

    `number` grows with each word of a replica: what was said before is not believed after.
    """

    sessions: int
    capacity: int
    open: bool = True
    number: int = 0


@dataclass(slots=True)
class _Place:
    load: Load
    coming: int = 0
    """Sessions that this gateway is opening there."""
    heard: float = 0.0

    @property
    def room(self) -> int:
        return self.load.capacity - self.load.sessions - self.coming if self.load.open else 0

    @property
    def share(self) -> float:
        return (self.load.sessions + self.coming) / max(1, self.load.capacity)


@dataclass(slots=True)
class _Ticket:
    until: float
    avoid: frozenset[str] = field(default_factory=frozenset)


class Placement:
    """The replicas that a gateway knows, and the requests that wait for room there, first come first served.

    `silence_s`: a replica that has said nothing for so long gets no new sessions. `most_waiting` requests may
    wait, each for `patience_s`.
    """

    def __init__(self, silence_s: float = 1.5, most_waiting: int = 64, patience_s: float = 5.0) -> None:
        self._silence_s = silence_s
        self._most_waiting = most_waiting
        self._patience_s = patience_s
        self._places: dict[str, _Place] = {}
        self._waiting: OrderedDict[Hashable, _Ticket] = OrderedDict()

    @property
    def waiting(self) -> int:
        """Requests that wait for room."""
        return len(self._waiting)

    @property
    def loads(self) -> dict[str, Load]:
        """What each replica said last."""
        return {name: place.load for name, place in self._places.items()}

    def heard(self, name: str, load: Load, now: float) -> None:
        """A replica says how it does, on its link or with an answer."""
        place = self._places.setdefault(name, _Place(load))
        place.heard = now
        if load.number >= place.load.number:
            place.load = load

    def lost(self, name: str) -> None:
        """A replica is gone, and its sessions with it. One that is not known is no error."""
        self._places.pop(name, None)

    def steady(self) -> str | None:
        """A replica that stays the same as long as it can, for what must not move about; None without any."""
        taking = [name for name, place in self._places.items() if place.load.open]
        return min(taking or self._places, default=None)

    def ask(self, ticket: Hashable, now: float, avoid: frozenset[str] = frozenset()) -> bool:
        """Wait for a place, not on the replicas to `avoid`; False when too many wait already."""
        if len(self._waiting) >= self._most_waiting:
            return False
        self._waiting[ticket] = _Ticket(now + self._patience_s, avoid)
        return True

    def forget(self, ticket: Hashable) -> None:
        """Whoever asked no longer waits."""
        self._waiting.pop(ticket, None)

    def grant(self, now: float) -> Iterator[tuple[Hashable, str]]:
        """Give out the places that there are: (ticket, replica). Each must be followed by `settle`."""
        for ticket, wish in list(self._waiting.items()):
            name = self._roomiest(now, wish.avoid)
            if name is not None:
                del self._waiting[ticket]
                self._places[name].coming += 1
                yield ticket, name

    def expired(self, now: float) -> list[Hashable]:
        """Forget those that have waited long enough, and tell who they are."""
        late = [ticket for ticket, wish in self._waiting.items() if now >= wish.until]
        for ticket in late:
            del self._waiting[ticket]
        return late

    def settle(self, name: str) -> None:
        """A session that was coming is there, as its replica has said with the answer, or will not come."""
        place = self._places.get(name)
        if place is not None and place.coming:  # else lost, or lost and back, in the meantime
            place.coming -= 1

    def _roomiest(self, now: float, avoid: frozenset[str]) -> str | None:
        fit = [
            (-place.room, place.share, name)
            for name, place in self._places.items()
            if name not in avoid and place.room > 0 and now - place.heard <= self._silence_s
        ]
        return min(fit)[2] if fit else None
