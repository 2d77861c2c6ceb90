"""`koubo bench start`: how soon a server is there, how soon a viewer sees a picture, what memory is taken.

Real servers in processes of their own, the caches in a folder made for the measure. A start is cold when that
folder is empty and warm when a former server has filled it; the system's own cache of files is warm in both.
Memory is read from /proc (Linux): `rss` counts every page that is there, files that other processes share
among them; `pss` counts shared pages by the share of this process; `own` is what is in no file (the rest can
be read from disk again, and is dropped when memory is short).
"""

import asyncio
import json
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from engine.anchor.package import list_avatars
from engine.errors import KouboError
from streaming.bench_server import Server, running_server, server_command, until_ready
from streaming.pacing import percentiles
from streaming.process_figures import need_proc, read_process
from streaming.webrtc.client import Watcher

_TEXT = "Good evening, and welcome to the show. Tonight there is a great deal to talk about. " * 20
_JSON = "application/json"
_WAIT_S = 30.0
_QUIET_CORES = 0.1
"""A server that takes less of a core is done with what it does in the background."""

_LOOK_S = 0.5
_SETTLE_S = 120.0
_NOBODY = "nobody-at-all"
"""A default presenter that there is not: a server that has loaded none."""

Command = Callable[[int], list[str]]


@dataclass(frozen=True, slots=True)
class Memory:
    """Of a process, in MiB."""

    rss: float
    pss: float
    own: float


@dataclass(frozen=True, slots=True)
class Join:
    """Seconds until a viewer of a new session saw something: the session, the answer and the first picture,
    the last two from the sending of the offer.
    """

    session: float
    answer: float
    picture: float


@dataclass(slots=True)
class Start:
    """Seconds from the start of a process until it answers and until it is ready; its first viewer."""

    answers: float
    ready: float
    first: Join


@dataclass(slots=True)
class _Found:
    cold: list[Start] = field(default_factory=list)
    warm: list[Start] = field(default_factory=list)
    joins: list[Join] = field(default_factory=list)
    memory: dict[str, Memory] = field(default_factory=dict)


def bench_start(
    starts: int = 5,
    cold: int = 1,
    joins: int = 20,
    sessions: int = 4,
    names: Sequence[str] = (),
    command: Command = server_command,
) -> dict[str, Any]:
    """Start `cold` servers without caches, then `starts` with those of the last one; open sessions.

    `joins`: new sessions of one server, one after another; `sessions`: at once, all speaking and watched, for
    memory; `names`: whose sessions, and the presenter that comes last, the first two when empty;
    `command(port)` starts a server. Returns {"cold", "warm": {"starts", "answers_ms", "ready_ms",
    "first_picture_ms" (of its first viewer, from the sending of the offer)}, "joins", "session_ms",
    "answer_ms", "picture_ms" (percentiles {"p50", "p95", "p99"}; the last two from the sending of the offer),
    "memory": {state: {"rss_mb", "pss_mb", "own_mb"}}, "session_mb" (own memory of each further session of the
    same presenter, None with fewer than two), "presenter_mb" (of the second presenter, with its session)}.
    Raises KouboError when a server does not start or shows nothing, and where there is no /proc.
    """
    need_proc()
    chosen = list(names or list_avatars())[:2]
    if not chosen:
        raise KouboError("No avatar is installed; make one with `koubo avatar create`, or set KOUBO_AVATARS.")
    return asyncio.run(_bench(starts, cold, joins, sessions, chosen, command))


async def _bench(
    starts: int, cold: int, joins: int, sessions: int, names: Sequence[str], command: Command
) -> dict[str, Any]:
    found = _Found()
    for number in range(cold):
        with tempfile.TemporaryDirectory(prefix="koubo-bench-") as cache:
            bench = _Bench(Path(cache), command, sessions + 1, names)
            found.cold.append(await bench.start())
            if number < cold - 1:
                continue
            for _ in range(starts):
                found.warm.append(await bench.start())
            found.joins, found.memory = await bench.sessions(joins, sessions)
    return _figures(found, sessions)


class _Bench:
    """Servers that share a folder for their caches."""

    def __init__(self, cache: Path, command: Command, sessions: int, names: Sequence[str]) -> None:
        self._environment = {"KOUBO_CACHE": str(cache), "KOUBO_DEFAULT_AVATAR": names[0]}
        self._names = names
        self._command = command
        self._sessions = sessions

    async def start(self) -> Start:
        """A server until its first viewer has seen a picture; then it may finish its work."""
        begun = perf_counter()
        async with running_server(self._sessions, self._command, self._environment) as server:
            answers = perf_counter()
            await until_ready(server)
            ready = perf_counter()
            async with AsyncExitStack() as leaving:
                first = await _join(server, leaving)
            await _settled(server)
        return Start(answers - begun, ready - begun, first)

    async def sessions(self, joins: int, sessions: int) -> tuple[list[Join], dict[str, Memory]]:
        """Viewers of new sessions one after another, then many at once."""
        memory: dict[str, Memory] = {}
        nobody = self._environment | {"KOUBO_DEFAULT_AVATAR": _NOBODY}
        async with running_server(self._sessions, self._command, nobody) as server:
            await _settled(server)
            memory["no presenter"] = read_memory(server.process.pid)
        found: list[Join] = []
        async with running_server(self._sessions, self._command, self._environment) as server:
            await until_ready(server)
            await _settled(server)
            memory["ready"] = read_memory(server.process.pid)
            for _ in range(joins):
                async with AsyncExitStack() as leaving:
                    found.append(await _join(server, leaving))
            async with AsyncExitStack() as leaving:
                for number in range(sessions):
                    await _join(server, leaving, speaking=True)
                    await asyncio.sleep(2 * _LOOK_S)
                    memory[f"{number + 1} sessions"] = read_memory(server.process.pid)
                for name in self._names[1:]:
                    await _join(server, leaving, name, speaking=True)
                    await asyncio.sleep(2 * _LOOK_S)
                    memory["another presenter"] = read_memory(server.process.pid)
            await _settled(server)
            memory["all left"] = read_memory(server.process.pid)
        return found, memory


async def _join(
    server: Server, leaving: AsyncExitStack, avatar: str | None = None, *, speaking: bool = False
) -> Join:
    """A new session and its viewer, who has seen a picture; both go with `leaving`."""
    begun = perf_counter()
    body = json.dumps({"avatar": avatar} if avatar else {})
    opened = json.loads(await server.request("POST", "/v1/sessions", body, _JSON))
    asked = perf_counter()
    path = f"/v1/sessions/{opened['id']}"
    leaving.push_async_callback(server.request, "DELETE", path)
    if speaking:
        await server.request("POST", f"{path}/speak", json.dumps({"text": _TEXT}), _JSON)
    watcher = Watcher()
    leaving.push_async_callback(watcher.close)
    times: list[float] = []

    async def post(offer: str) -> str:
        times.append(perf_counter())
        answer = await server.exchange(opened["whep"])(offer)
        times.append(perf_counter())
        return answer

    try:
        async with asyncio.timeout(_WAIT_S):
            await watcher.connect(post)
            await watcher.pictures.recv()
    except TimeoutError as error:
        raise KouboError(f"No picture came within {_WAIT_S:g} s; check the server's log.") from error
    sent, answered = times
    return Join(asked - begun, answered - sent, perf_counter() - sent)


async def _settled(server: Server) -> None:
    """Wait until the server has finished what it does in the background, such as filling its caches."""
    last = read_process(server.process.pid).cpu_s
    for _ in range(round(_SETTLE_S / _LOOK_S)):
        await asyncio.sleep(_LOOK_S)
        now = read_process(server.process.pid).cpu_s
        if now - last < _QUIET_CORES * _LOOK_S:
            return
        last = now
    raise KouboError(f"The server was still busy after {_SETTLE_S:g} s without a viewer; check its log.")


def read_memory(pid: int) -> Memory:
    """Of a process, from /proc."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    sizes = {parts[0].rstrip(":"): int(parts[1]) / 1024 for parts in map(str.split, rollup)}
    return Memory(sizes["Rss"], sizes["Pss"], sizes["Anonymous"])


def _figures(found: _Found, sessions: int) -> dict[str, Any]:
    own = {state: memory.own for state, memory in found.memory.items()}
    one, most, other = own["1 sessions"], own[f"{sessions} sessions"], own.get("another presenter")
    return {
        "cold": _started(found.cold),
        "warm": _started(found.warm),
        "joins": len(found.joins),
        "session_ms": percentiles([1000 * join.session for join in found.joins]),
        "answer_ms": percentiles([1000 * join.answer for join in found.joins]),
        "picture_ms": percentiles([1000 * join.picture for join in found.joins]),
        "memory": {
            state: {f"{kind}_mb": round(getattr(memory, kind), 1) for kind in ("rss", "pss", "own")}
            for state, memory in found.memory.items()
        },
        "session_mb": round((most - one) / (sessions - 1), 1) if sessions > 1 else None,
        "presenter_mb": round(other - most, 1) if other else None,
    }


def _started(starts: list[Start]) -> dict[str, Any]:
    return {
        "starts": len(starts),
        "answers_ms": percentiles([1000 * start.answers for start in starts]),
        "ready_ms": percentiles([1000 * start.ready for start in starts]),
        "first_picture_ms": percentiles([1000 * start.first.picture for start in starts]),
    }
