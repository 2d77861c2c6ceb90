"""`koubo bench faults`: what a server does when something goes wrong beside it, below it or before it.

A real server in a process of its own; real viewers; each fault is brought about for real. Every figure of a
running session is the server's own, over the time of the fault alone.
"""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from streaming.bench_load import TICK_LATENESS, Load
from streaming.bench_server import Server, running_server, server_command, until_ready
from streaming.pacing import TICK_S
from streaming.webrtc.client import Watcher

Command: TypeAlias = Callable[..., list[str]]
"""`command(port, **settings)` starts a server."""

TEXT = "Good evening, and welcome to the show. Tonight there is a great deal to talk about. " * 20

_AVATAR = "ada"
_SETTLE_S = 6.0
"""Until what was begun at the start, and connecting, is over."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of one fault. `target` is what it should be, in words; `met` None where there is none."""

    fault: str
    name: str
    value: float
    unit: str = ""
    target: str = ""
    met: bool | None = None


def at_most(fault: str, name: str, value: float, most: float, unit: str = "") -> Figure:
    """A figure that should be no larger than `most`."""
    return Figure(fault, name, round(value, 3), unit, f"<= {most:g}", value <= most)


def at_least(fault: str, name: str, value: float, least: float, unit: str = "") -> Figure:
    """A figure that should be no smaller than `least`."""
    return Figure(fault, name, round(value, 3), unit, f">= {least:g}", value >= least)


def told(fault: str, name: str, value: float, unit: str = "") -> Figure:
    """A figure without a target."""
    return Figure(fault, name, round(value, 3), unit)


@dataclass(frozen=True, slots=True)
class Ticks:
    """The ticks of all sessions of a server in a stretch of time.

    `late` came after the next was due, `skipped` did not come at all, `missing` had not come by the end,
    `repeated` showed the last mouth again; `p99_ms` of their lateness.
    """

    ticks: int
    late: int
    skipped: int
    missing: int
    repeated: int
    p99_ms: float

    @property
    def late_share(self) -> float:
        """Of all ticks that were due, those late or left out."""
        return (self.late + self.skipped) / max(1, self.ticks + self.skipped)


class Stretch:
    """Measures `Ticks` from `begin` to `end`."""

    def __init__(self, server: Server, sessions: int) -> None:
        self._server = server
        self._sessions = sessions

    async def begin(self) -> None:
        """From now on."""
        self._before = await Load.of(self._server)
        self._began = asyncio.get_running_loop().time()

    async def end(self) -> Ticks:
        """Until now."""
        after = await Load.of(self._server)
        due = self._sessions * (asyncio.get_running_loop().time() - self._began) / TICK_S
        ticks = after.since(self._before, "koubo_ticks_total")
        return Ticks(
            round(ticks),
            round(after.since(self._before, "koubo_late_ticks_total")),
            round(after.since(self._before, "koubo_skipped_ticks_total")),
            round(due - ticks),
            round(after.since(self._before, "koubo_mouths_repeated_total")),
            after.lateness(self._before, TICK_LATENESS)["p99"],
        )


@dataclass(frozen=True, slots=True)
class Opened:
    """A session of the server."""

    id: str
    whip: str
    whep: str

    @property
    def path(self) -> str:
        """Of the session."""
        return f"/v1/sessions/{self.id}"


async def open_session(server: Server) -> Opened:
    """Raises KouboError."""
    answer = json.loads(await server.request("POST", "/v1/sessions"))
    return Opened(answer["id"], answer["whip"], answer["whep"])


async def speak(server: Server, session: Opened, text: str = TEXT, voice: str | None = None) -> None:
    """Have a session say something."""
    body = {"text": text} | ({"voice": voice} if voice else {})
    await server.request("POST", f"{session.path}/speak", json.dumps(body), "application/json")


@dataclass(frozen=True, slots=True)
class Show:
    """A server with sessions that speak, each watched by a real viewer."""

    server: Server
    sessions: list[Opened]
    watchers: list[Watcher]

    def stretch(self, more: int = 0) -> Stretch:
        """To measure the ticks of its sessions, and of so many more."""
        return Stretch(self.server, len(self.sessions) + more)


@asynccontextmanager
async def running_show(
    sessions: int,
    command: Command = server_command,
    *,
    most: int | None = None,
    environment: Mapping[str, str] | None = None,
    **settings: object,
) -> AsyncIterator[Show]:
    """So many sessions that speak, of at most `most` (None: no more than there are)."""
    limit = most or sessions
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(
            running_server(
                limit,
                lambda port: command(port, drain_s=0.0, max_sessions=limit, **settings),
                {"KOUBO_DEFAULT_AVATAR": _AVATAR} | dict(environment or {}),
            )
        )
        await until_ready(server)
        show = Show(server, [], [])
        for _ in range(sessions):
            session = await open_session(server)
            watcher = Watcher(decode=False)
            stack.push_async_callback(watcher.close)
            await watcher.connect(server.exchange(session.whep))
            await speak(server, session)
            show.sessions.append(session)
            show.watchers.append(watcher)
        await asyncio.sleep(_SETTLE_S)
        yield show


async def until(check: Callable[[], Awaitable[bool]], patience_s: float) -> float:
    """Seconds until something holds; `math.inf` when it does not in time."""
    clock = asyncio.get_running_loop().time
    began = clock()
    while clock() - began < patience_s:
        if await check():
            return clock() - began
        await asyncio.sleep(TICK_S / 4)
    return math.inf


def shown(figures: list[Figure]) -> str:
    """As lines, for a test that prints what it found."""
    marks: dict[bool | None, str] = {True: "met", False: "MISSED", None: ""}
    return "\n".join(
        f"{one.fault}: {one.name} {one.value:g} {one.unit} {one.target} {marks[one.met]}".rstrip()
        for one in figures
    )


Fault: TypeAlias = Callable[[Command], Coroutine[Any, Any, list[Figure]]]
"""Brings a fault about on a server of its own, and tells its figures."""


async def status(server: Server, session: Opened) -> dict[str, Any]:
    """What the server tells of a session."""
    found: dict[str, Any] = json.loads(await server.request("GET", session.path))
    return found
