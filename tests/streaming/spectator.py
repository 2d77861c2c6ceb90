"""Somebody who sees every tick of a session as it leaves, without a network."""

from engine.live import Tick
from streaming.sessions import Session


class Spectator:
    """Keeps every tick and its slot."""

    def __init__(self) -> None:
        self.slots: list[int] = []
        self.ticks: list[Tick] = []

    def see(self, slot: int, tick: Tick) -> None:
        """Stands where a `TickListener` stands."""
        self.slots.append(slot)
        self.ticks.append(tick)


def watch(session: Session) -> Spectator:
    """A spectator from now on."""
    spectator = Spectator()
    session.on_tick.append(spectator.see)
    return spectator
