"""The outlets of one session: each kept going by a task of its own until it is removed."""

import asyncio
import logging
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import urlsplit

from engine.errors import KouboError
from engine.live import Tick
from engine.picture.yuv import Frame
from streaming.address_policy import Target, check_outlet, redact
from streaming.encoding.base import Codec
from streaming.encoding.hub import EncodeHub
from streaming.errors import Busy, NotFound, Unprocessable
from streaming.metrics import Metrics
from streaming.outlets.base import Assignment, Outlet
from streaming.outlets.errors import OutletError
from streaming.outlets.registry import LOCAL, OUTLETS, Kind
from streaming.outlets.supervisor import State, Supervisor
from streaming.settings import Settings

logger = logging.getLogger(__name__)

TickListener = Callable[[int, Tick], None]
CheckOutlet = Callable[[str, Settings], Target]


class Entry:
    """One outlet and its task; hears how its connections do."""

    def __init__(self, kind: Kind, shown: str, outlet: Outlet, metrics: Metrics) -> None:
        self.id = secrets.token_urlsafe(9)
        self.kind = kind
        self.url = shown
        """Its address without anything secret."""
        self.bytes = 0
        self._outlet = outlet
        self._metrics = metrics
        self._clock = asyncio.get_running_loop().time
        self._supervisor = Supervisor(self._clock())
        self._task = asyncio.create_task(self._run(), name=f"outlet-{self.id}")

    @property
    def state(self) -> State:
        """How it stands."""
        return self._supervisor.state

    @property
    def since_s(self) -> float:
        """Seconds that it has been so."""
        return self._clock() - self._supervisor.since

    @property
    def retry_in_s(self) -> float | None:
        """Seconds until it tries again, while it is waiting."""
        return self._supervisor.retry_in(self._clock())

    @property
    def reconnects(self) -> int:
        """How often it came back after a fault."""
        return self._supervisor.reconnects

    @property
    def error(self) -> str | None:
        """The last fault, in one sentence."""
        return self._supervisor.error

    @property
    def place(self) -> str | None:
        """Where to look for it: the path of a playlist, the name of a file."""
        return self._outlet.place

    def live(self) -> None:
        """The peer takes what is sent."""
        before = self.reconnects
        self._supervisor.live(self._clock())
        if self.reconnects > before:
            self._metrics.outlet_reconnected(self.kind)

    def sent(self, size: int) -> None:
        """So many bytes more have gone out."""
        self.bytes += size
        self._metrics.outlet_sent(self.kind, size)

    async def close(self) -> None:
        """End it and wait until nothing of it is left."""
        self._task.cancel()
        await asyncio.wait([self._task])
        self._supervisor.ended(self._clock())

    async def _run(self) -> None:
        while True:
            self._supervisor.connecting(self._clock())
            delay = await self._attempt()
            if delay is None:
                return
            await asyncio.sleep(delay)

    async def _attempt(self) -> float | None:
        """One connection; returns the seconds until the next."""
        try:
            await self._outlet.run(self)
        except OutletError as error:
            sentence, final = str(error), error.final
        except KouboError as error:
            # Refused by a rule, or a tool is missing: so it would be the next time.
            sentence, final = str(error), True
        else:
            sentence, final = "The connection ended.", False
        logger.warning("outlet %s to %s: %s", self.id, self.url, sentence)
        return self._supervisor.failed(self._clock(), sentence, final=final)


class OutletTable:
    """Every outlet of a session, by id.

    `session_name` begins the names of its recordings; `on_tick` are the session's listeners, called with slot
    and tick on the event loop.
    """

    def __init__(
        self,
        hub: EncodeHub,
        settings: Settings,
        metrics: Metrics,
        session_name: str,
        on_tick: list[TickListener],
        check: CheckOutlet = check_outlet,
    ) -> None:
        self._hub = hub
        self._settings = settings
        self._metrics = metrics
        self._session_name = session_name
        self._check_outlet = check
        self._entries: dict[str, Entry] = {}
        self._on_tick = on_tick

    @property
    def busy(self) -> bool:
        """Whether anything goes out, or will again."""
        return any(entry.state is not State.ENDED for entry in self._entries.values())

    def list(self) -> list[Entry]:
        """Every outlet, the oldest first."""
        return [*self._entries.values()]

    def get(self, outlet_id: str) -> Entry:
        """An outlet by id. Raises NotFound."""
        entry = self._entries.get(outlet_id)
        if entry is None:
            raise NotFound("There is no such outlet; it may have been removed.")
        return entry

    async def add(self, url: str, token: str | None = None, codec: Codec | None = None) -> Entry:
        """Open an outlet; it connects in its own time. Raises Unprocessable, Busy or MissingToolError."""
        scheme = urlsplit(url).scheme
        if scheme in LOCAL and scheme in self._settings.outlet_schemes:
            shown = f"{scheme}:"
        else:
            await self._check(url)
            shown = redact(url)
        kind, opener = OUTLETS[scheme]
        if codec == "vp8" and kind != "whip":
            raise Unprocessable("Only WHIP outlets can send VP8; leave video_codec out.")
        if len(self._entries) >= self._settings.max_outlets:
            raise Busy(f"This session has all its {self._settings.max_outlets} outlets; remove one first.")
        # Some look for a library, or make a folder.
        outlet = await asyncio.to_thread(opener, self._assignment(url, token, codec))
        entry = Entry(kind, shown, outlet, self._metrics)
        self._entries[entry.id] = entry
        return entry

    async def remove(self, outlet_id: str) -> None:
        """End an outlet and forget it. Raises NotFound."""
        entry = self.get(outlet_id)
        del self._entries[outlet_id]
        await entry.close()

    async def close(self) -> None:
        """End every outlet."""
        entries, self._entries = self._entries, {}
        await asyncio.gather(*(entry.close() for entry in entries.values()))

    def _assignment(self, url: str, token: str | None, codec: Codec | None) -> Assignment:
        return Assignment(
            url=url,
            token=token,
            codec=codec,
            hub=self._hub,
            pictures=self._watch,
            name=f"{self._session_name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}",
            settings=self._settings,
            check=self._check,
        )

    async def _check(self, url: str) -> Target:
        # Names are resolved, which may take seconds.
        return await asyncio.to_thread(self._check_outlet, url, self._settings)

    def _watch(self, show: Callable[[int, Frame], None]) -> Callable[[], None]:
        def on_tick(slot: int, tick: Tick) -> None:
            show(slot, tick.picture)

        self._on_tick.append(on_tick)
        return lambda: self._on_tick.remove(on_tick)
