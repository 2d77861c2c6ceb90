"""`koubo bench live`: how many sessions a server carries before its pictures come late.

One real server in a process of its own, real WebRTC connections, encoding included. Sessions are added to the
running server step by step, as they come to a server in use; each publishes speech by WHIP, from its own
moment of a clip on, and watches by WHEP. A step counts from two readings of the server's figures, so nothing
of the steps before is in it. It is in time when at least 99 of 100 pictures are encoded before the next tick
is due, and every viewer gets its pictures. The clients run on the same machine and share its cores.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import cycle, islice, takewhile
from operator import itemgetter
from typing import Any

from engine.errors import KouboError
from streaming.bench_clip import EncodedClip, speech_clip
from streaming.bench_crowd import Client, Crowd, Source
from streaming.bench_load import PICTURE_LATENESS, TICK_LATENESS, Load, need_proc
from streaming.bench_presenters import staged_presenters
from streaming.bench_server import Server, running_server, server_command, until_ready
from streaming.encoding.base import CODECS, Codec
from streaming.pacing import TICK_S, percentiles

LEAST_FPS = 24.9
LATE_SHARE = 0.01
"""Of pictures that may be late: p99 is in time."""

_WARM_UP_S = 4.0
_MOST = 256
_LOOK_S = 0.25


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure. `sessions` empty: one more each step until the deadline breaks.

    `seconds` a step; `avatars` by turns, the server's default presenter when empty; `mouth` and `also`:
    folders of mouths, `mouth` for all sessions instead of their presenters' own, `also` for one session
    beside the others; `speaking`: how much of the time microphones speak, (0, 1]; `codec` of the pictures;
    `source`: what makes presenters speak, texts have pauses of their own.
    """

    sessions: Sequence[int] = ()
    seconds: float = 20.0
    avatars: Sequence[str] = ()
    mouth: str | None = None
    also: str | None = None
    speaking: float = 1.0
    codec: Codec = "h264"
    source: Source = "microphone"


def bench_live(
    plan: Plan,
    command: Callable[[int], list[str]] = server_command,
    tell: Callable[[str, float], None] = lambda what, share: None,
    done: Callable[[dict[str, Any]], None] = lambda step: None,
) -> dict[str, Any]:
    """Measure; `command(port)` starts the server, `tell(what, share)` hears what goes on and how much of the
    step is over, `done(step)` of each finished step.

    Returns {"sessions_in_time" (up to which all is), "also", "speaking", "avatars", "mouth",
    "seconds", "steps"}, each step with the figures of `_step` and of `_Meter`. Raises KouboError when the
    server does not start, or no sound comes back.
    """
    need_proc()
    if any(number < 1 for number in plan.sessions):
        raise KouboError("A step needs a session at least; give numbers such as 1,2,4.")
    return asyncio.run(_bench(plan, command, tell, done))


async def _bench(
    plan: Plan,
    command: Callable[[int], list[str]],
    tell: Callable[[str, float], None],
    done: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    tell("the speech", 0.0)
    clip = await asyncio.to_thread(lambda: EncodedClip.of(speech_clip(share=plan.speaking)))
    steps: list[dict[str, Any]] = []
    async with AsyncExitStack() as stack:
        names, also, environment = stack.enter_context(staged_presenters(plan.avatars, plan.mouth, plan.also))
        tell("the server", 0.0)
        most = max(plan.sessions, default=_MOST) + bool(also)
        server = await stack.enter_async_context(running_server(most, command, environment))
        await until_ready(server)
        crowd = Crowd(server, clip, stack, plan.codec, plan.source)
        meter = _Meter(server, crowd.clients)
        if also:
            await crowd.enter(also)
        presenters = cycle(names or [None])
        for size in sorted(set(plan.sessions)) or _growing():
            tell(f"{size} sessions: joining", 0.0)
            for name in islice(presenters, size + bool(also) - len(crowd.clients)):
                await crowd.enter(name)
            steps.append({"sessions": size} | await meter.measure(plan.seconds, f"{size} sessions", tell))
            done(steps[-1])
            if not plan.sessions and not steps[-1]["in_time"]:
                break
        tell("where the sound was heard", 0.0)
        for step, delays in zip(steps, crowd.delays_ms(meter.spans), strict=True):
            step["mic_to_mouth_ms"] = percentiles(delays)
    return {
        "sessions_in_time": max(
            (step["sessions"] for step in takewhile(itemgetter("in_time"), steps)), default=0
        ),
        "also": plan.also,
        "speaking": plan.speaking,
        "source": plan.source,
        "codec": plan.codec,
        "avatars": list(plan.avatars),
        "mouth": plan.mouth,
        "seconds": plan.seconds,
        "steps": steps,
    }


def _growing() -> Iterator[int]:
    """1 to 8, then by a quarter each."""
    size = 1
    while size <= _MOST:
        yield size
        size += max(1, size // 4)


class _Meter:
    """Measures one step after another of a crowd's server."""

    def __init__(self, server: Server, clients: Sequence[Client]) -> None:
        self.spans: list[tuple[float, float]] = []
        self._clients = clients
        self._server = server
        self._clock = asyncio.get_running_loop().time

    async def measure(self, seconds: float, name: str, tell: Callable[[str, float], None]) -> dict[str, Any]:
        """Let it settle, then take the figures of so many seconds."""
        await asyncio.sleep(_WARM_UP_S)
        before, was = await self._states(), await Load.of(self._server)
        own, since = time.process_time(), self._clock()
        received = [client.watcher.received for client in self._clients]
        while (gone := self._clock() - since) < seconds:
            tell(name, gone / seconds)
            await asyncio.sleep(min(_LOOK_S, seconds - gone))
        until, own = self._clock(), time.process_time() - own
        now, after = await Load.of(self._server), await self._states()
        gone = until - since
        self.spans.append((since, until))
        bits = sum(
            8 * (client.watcher.received - old) for client, old in zip(self._clients, received, strict=True)
        )
        fps = [
            sum(since <= at < until for at in client.watcher.arrived.values()) / gone
            for client in self._clients
        ]
        spent = now.cpu(was, gone)
        others = max(0.0, (now.machine_s - was.machine_s - own) / gone - spent["total"])
        figures = _step(was, now, gone, before, after) | {
            "fps": round(min(fps), 2),
            "cpu_s_per_s": spent | {"clients": round(own / gone, 4), "others": round(others, 4)},
            "kbps_per_viewer": round(bits / 1000 / gone / len(self._clients)),
            "holes": sum(client.watcher.holes for client in self._clients),
            "rss_mb": self._server.rss_mb(),
        }
        in_time = figures["late_pictures_ratio"] <= LATE_SHARE and figures["fps"] >= LEAST_FPS
        return figures | {"in_time": in_time}

    async def _states(self) -> list[dict[str, Any]]:
        return [json.loads(await self._server.request("GET", client.path)) for client in self._clients]


def _step(
    was: Load, now: Load, seconds: float, before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """What the server says of a step: lateness of ticks and of encoded pictures, against when they were due,
    over all sessions, and the share of late ticks of the session that has most.
    """
    ticks = now.since(was, "koubo_ticks_total")
    worst = max(
        (new["late_ticks"] - old["late_ticks"]) / max(1, new["ticks"] - old["ticks"])
        for old, new in zip(before, after, strict=True)
    )
    return {
        "seconds": round(seconds, 1),
        "ticks": int(ticks),
        "tick_lateness_ms": now.lateness(was, TICK_LATENESS),
        "picture_lateness_ms": now.lateness(was, PICTURE_LATENESS),
        "late_ticks_ratio": now.late_ratio(was, TICK_LATENESS, TICK_S),
        "late_pictures_ratio": now.late_ratio(was, PICTURE_LATENESS, TICK_S),
        "worst_session_late_ratio": round(worst, 5),
        "repeated_mouths_ratio": round(now.since(was, "koubo_mouths_repeated_total") / max(1.0, ticks), 5),
        "unencoded_pictures": int(
            sum(now.since(was, "koubo_unencoded_pictures_total", codec) for codec in CODECS)
        ),
        "skipped_ticks": int(now.since(was, "koubo_skipped_ticks_total")),
    }
