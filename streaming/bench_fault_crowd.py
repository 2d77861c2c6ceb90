"""Hundreds ask at once: for sessions, to watch, or slowly, byte by byte; a few others are being served."""

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from itertools import count

from aiortc import RTCPeerConnection

from streaming.bench_faults import Command, Figure, Show, Ticks, at_most, running_show, told
from streaming.bench_server import Server, server_command
from streaming.process_figures import need_proc, read_process

_QUIET_S = 4.0
_CLOSE_S = 2.0
_ANSWER_S = 30.0
_SLOW_S = 6.0
_TARGET_S = 2.0
"""In which everybody should have an answer."""


@dataclass(slots=True)
class Answers:
    """What a crowd was told: how many got each status, with a Retry-After or without, and after how long."""

    statuses: Counter[int] = field(default_factory=Counter)
    waits_told: int = 0
    seconds: list[float] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    locations: list[str] = field(default_factory=list)

    def p99_s(self) -> float:
        """Seconds in which 99 of 100 had their answer."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, round(0.99 * len(ordered)))] if ordered else 0.0


def addresses() -> Callable[[], str]:
    """Another address of this machine for each caller, as people have: limits count by address."""
    numbers = count()

    def another() -> str:
        number = next(numbers)
        return f"127.1.{number // 250 % 250}.{number % 250 + 1}"

    return another


async def ask(server: Server, path: str, body: bytes, kind: str, source: str, answers: Answers) -> None:
    """One request over a connection of its own."""
    clock = asyncio.get_running_loop().time
    began = clock()
    async with asyncio.timeout(_ANSWER_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, local_addr=(source, 0))
        with contextlib.closing(writer):
            writer.write(
                f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {kind}\r\n"
                f"Content-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            head, _, answered = (await reader.read()).partition(b"\r\n\r\n")
    answers.seconds.append(clock() - began)
    answers.statuses[int(head.split()[1])] += 1
    named = [line.partition(": ") for line in head.decode().split("\r\n")]
    fields = {name.lower(): value for name, _, value in named}
    answers.waits_told += "retry-after" in fields
    answers.locations += filter(None, [fields.get("location")])
    answers.bodies.append(answered)


async def sessions_at_once(
    command: Command = server_command, crowd: int = 500, sessions: int = 2, free: int = 3
) -> list[Figure]:
    """`crowd` people ask for a session at the same moment; `free` can have one."""
    fault = f"{crowd} sessions asked at once"
    async with _served(sessions, command, most=sessions + free) as (show, before):
        source = addresses()
        answers, during = await _crowd(
            show,
            crowd,
            lambda all_: ask(show.server, "/v1/sessions", b"{}", "application/json", source(), all_),
        )
        opened = [json.loads(body)["id"] for body in answers.bodies if b'"whep"' in body]
        for session in opened:
            await show.server.request("DELETE", f"/v1/sessions/{session}")
        figures = _answered(fault, answers, 201, free, crowd)
        return figures + await _undisturbed(fault, show, before, during)


async def viewers_at_once(
    command: Command = server_command, crowd: int = 500, sessions: int = 2, free: int = 3
) -> list[Figure]:
    """`crowd` people offer to watch one session at the same moment; `free` more can."""
    fault = f"{crowd} viewers at once"
    async with _served(sessions, command, max_viewers=1 + free) as (show, before):
        offer = await _offer()
        source, path = addresses(), show.sessions[0].whep
        answers, during = await _crowd(
            show, crowd, lambda all_: ask(show.server, path, offer, "application/sdp", source(), all_)
        )
        for viewer in answers.locations:
            await show.server.request("DELETE", viewer)
        figures = _answered(fault, answers, 201, free, crowd)
        return figures + await _undisturbed(fault, show, before, during)


async def slow_clients(
    command: Command = server_command, crowd: int = 500, sessions: int = 2
) -> list[Figure]:
    """`crowd` connections that send a request a few bytes a second, and never end it (slowloris)."""
    fault = f"{crowd} slow clients"
    async with _served(sessions, command) as (show, before):
        source = addresses()
        end = asyncio.get_running_loop().time() + _SLOW_S

        async def dawdle(nobody: Answers) -> None:
            _, writer = await asyncio.open_connection("127.0.0.1", show.server.port, local_addr=(source(), 0))
            with contextlib.closing(writer), contextlib.suppress(ConnectionError):
                writer.write(b"POST /v1/sessions HTTP/1.1\r\nHost: localhost\r\n")
                while asyncio.get_running_loop().time() < end:
                    await asyncio.sleep(0.5)
                    writer.write(b"X-A: b\r\n")
                    await writer.drain()

        asked = asyncio.create_task(_while_they_dawdle(show.server))
        _, during = await _crowd(show, crowd, dawdle)
        figures = [at_most(fault, "others answered in, at most", 1000 * await asked, 500, "ms")]
        return figures + await _undisturbed(fault, show, before, during)


async def _while_they_dawdle(server: Server) -> float:
    """Seconds that the slowest of a few honest requests takes."""
    slowest = 0.0
    for _ in range(8):
        await asyncio.sleep(_SLOW_S / 10)
        began = time.monotonic()
        await server.request("GET", "/healthz")
        slowest = max(slowest, time.monotonic() - began)
    return slowest


@contextlib.asynccontextmanager
async def _served(
    sessions: int, command: Command, *, most: int | None = None, **settings: object
) -> AsyncIterator[tuple[Show, tuple[Ticks, float, int]]]:
    """A running show, and its ticks, memory and descriptors in peace."""
    need_proc()
    async with running_show(sessions, partial(command, **settings), most=most) as show:
        stretch = show.stretch()
        await stretch.begin()
        await asyncio.sleep(_QUIET_S)
        ticks = await stretch.end()
        held = read_process(show.server.process.pid)
        yield show, (ticks, held.own_mb, held.descriptors)


async def _crowd(
    show: Show, crowd: int, one: Callable[[Answers], Coroutine[None, None, None]]
) -> tuple[Answers, Ticks]:
    answers, stretch = Answers(), show.stretch()
    await stretch.begin()
    async with asyncio.TaskGroup() as everybody:
        for _ in range(crowd):
            everybody.create_task(one(answers))
    return answers, await stretch.end()


async def _offer() -> bytes:
    pc = RTCPeerConnection()
    for kind in ("video", "audio"):
        pc.addTransceiver(kind, direction="recvonly")
    await pc.setLocalDescription()
    text: str = pc.localDescription.sdp
    await pc.close()
    return text.encode()


def _answered(fault: str, answers: Answers, good: int, free: int, crowd: int) -> list[Figure]:
    given, refused = answers.statuses[good], answers.statuses[503]
    return [
        Figure(fault, "places given", given, "", f"= {free}", given == free),
        Figure(fault, "503 with Retry-After", min(refused, answers.waits_told), "", f"= {crowd - free}",
               refused == answers.waits_told == crowd - free),
        at_most(fault, "answered within, p99", 1000 * answers.p99_s(), 1000 * _TARGET_S, "ms"),
    ]  # fmt: skip


async def _undisturbed(
    fault: str, show: Show, before: tuple[Ticks, float, int], during: Ticks
) -> list[Figure]:
    ticks, own_mb, descriptors = before
    await asyncio.sleep(_CLOSE_S)
    held = read_process(show.server.process.pid)
    return [
        told(fault, "tick lateness p99, before", ticks.p99_ms, "ms"),
        told(fault, "tick lateness p99, during", during.p99_ms, "ms"),
        at_most(fault, "late ticks, share more than before", during.late_share - ticks.late_share, 0.01),
        at_most(fault, "descriptors left", held.descriptors - descriptors, 2),
        told(fault, "memory grown", held.own_mb - own_mb, "MiB"),
    ]
