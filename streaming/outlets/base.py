"""What an outlet is, and what it is made of."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from engine.picture.yuv import Frame
from streaming.address_policy import Target
from streaming.encoding.base import Codec
from streaming.encoding.hub import EncodeHub
from streaming.settings import Settings


class Report(Protocol):
    """Hears how a connection does."""

    def live(self) -> None:
        """The peer takes what is sent."""
        ...

    def sent(self, size: int) -> None:
        """So many bytes more have gone out, or into a file."""
        ...


class Outlet(Protocol):
    """Where the presenter goes; `run` may be called again after it failed."""

    @property
    def place(self) -> str | None:
        """Where to look for it, such as the path of a playlist or the name of a file."""
        ...

    async def run(self, report: Report) -> None:
        """One connection, from its beginning to its end.

        Ends only by being cancelled, after which it leaves cleanly within three seconds, or with an
        OutletError.
        """
        ...


class Pictures(Protocol):
    """Raw pictures of a session for outlets that take no encoded ones."""

    def __call__(self, show: Callable[[int, Frame], None]) -> Callable[[], None]:
        """Call `show(slot, picture)` with every tick's, on the event loop; returns what ends it."""
        ...


@dataclass(frozen=True, slots=True)
class Assignment:
    """What an outlet is made from. `token` is a bearer token, `name` what files of it are called.

    `check` says whether a URL may be connected to, anew before each connection: a name may have got another
    address. It raises Unprocessable.
    """

    url: str
    token: str | None
    codec: Codec | None
    hub: EncodeHub
    pictures: Pictures
    name: str
    settings: Settings
    check: Callable[[str], Awaitable[Target]]
