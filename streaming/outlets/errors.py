"""How a connection of an outlet fails."""

from engine.errors import KouboError


class OutletError(KouboError):
    """A connection failed. `final`: trying again would not help."""

    def __init__(self, sentence: str, *, final: bool = False) -> None:
        super().__init__(sentence)
        self.final = final
