"""The process that draws mouths is killed, as the system does when memory runs out."""

import asyncio
import os
import signal
from pathlib import Path

from engine.errors import KouboError
from streaming.bench_faults import (
    Command,
    Figure,
    Show,
    Ticks,
    at_most,
    running_show,
    told,
    until,
)
from streaming.bench_load import Load
from streaming.bench_server import server_command

_FAULT = "mouth's process killed"
_QUIET_S = 4.0
_WATCH_S = 6.0


async def mouth_killed(command: Command = server_command, sessions: int = 2) -> list[Figure]:
    """Two sessions speak; the process is killed; when do mouths move again, and who noticed?"""
    async with running_show(sessions, command, mouth_process=True) as show:
        before = await _measured(show, _QUIET_S)
        stretch = show.stretch()
        await stretch.begin()
        drawn = await _drawn(show)
        os.kill(_mouth_process(show.server.process.pid), signal.SIGKILL)

        async def draws_again() -> bool:
            return await _drawn(show) > drawn + sessions  # what was drawn already when it was killed

        gone_s = await until(draws_again, _WATCH_S)
        await asyncio.sleep(max(0.0, _WATCH_S - gone_s))
        during = await stretch.end()
    return [
        at_most(_FAULT, "mouths move again after", 1000 * gone_s, 2000, "ms"),
        at_most(_FAULT, "ticks left out", during.skipped, 0),
        at_most(_FAULT, "late ticks more than before", during.late_share - before.late_share, 0.01),
        told(_FAULT, "ticks that repeated a mouth", during.repeated),
        told(_FAULT, "tick lateness p99, before", before.p99_ms, "ms"),
        told(_FAULT, "tick lateness p99, during", during.p99_ms, "ms"),
    ]


async def _measured(show: Show, seconds: float) -> Ticks:
    stretch = show.stretch()
    await stretch.begin()
    await asyncio.sleep(seconds)
    return await stretch.end()


async def _drawn(show: Show) -> float:
    """Mouths drawn so far."""
    return (await Load.of(show.server)).metrics["koubo_mouth_seconds_count", ""]


def _mouth_process(server: int) -> int:
    """The process that draws for a server. Raises KouboError where there is none, or no /proc."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            words = (folder / "cmdline").read_bytes()
        except OSError:
            continue  # it has ended meanwhile
        if parent == server and b"mouth_worker" in words:
            return int(folder.name)
    raise KouboError("No process draws mouths for this server; run this on Linux.")
