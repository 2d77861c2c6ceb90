"""`koubo bench viewers`: what one session costs its server when many watch it.

A real server in a process of its own, real WHEP connections from this one, a presenter that speaks all the
time; first with one viewer, then with all. The viewers note packets and decode nothing: they share the
server's cores.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from streaming.bench_load import Load, need_proc
from streaming.bench_server import Server, running_server, server_command
from streaming.encoding.base import Codec
from streaming.webrtc.light import LightWatcher

_TEXT = "Good evening, and welcome to the show. Tonight there is a great deal to talk about. " * 20
_WARM_UP_S = 4.0


def bench_viewers(
    viewers: int,
    seconds: float,
    codec: Codec = "h264",
    command: Callable[..., list[str]] = server_command,
) -> dict[str, Any]:
    """Measure one viewer, then `viewers`, for `seconds` seconds each; `command(port, ...)` starts the server.

    Returns {"viewers", "codec", "one", "all", "encode_ratio", "ratio_apart_from_sending",
    "sending_ms_per_viewer"}. "one" and "all" hold {"encoders", "pictures_encoded_per_second",
    "encode_ms_per_picture", "pictures_per_viewer_per_second" (of the viewer that got the fewest),
    "kbps_per_viewer", "late_ticks_ratio", "cpu_s_per_s": {"sending", "encoding", "drawing", "total"}}. Raises
    KouboError when the server does not start, or does not run on Linux.
    """
    need_proc()
    return asyncio.run(_bench(viewers, seconds, codec, command))


async def _bench(
    viewers: int, seconds: float, codec: Codec, command: Callable[..., list[str]]
) -> dict[str, Any]:
    one = await _measure(1, seconds, codec, command)
    everybody = await _measure(viewers, seconds, codec, command)
    spent, spent_by_all = one["cpu_s_per_s"], everybody["cpu_s_per_s"]
    more_sending = spent_by_all["sending"] - spent["sending"]
    return {
        "viewers": viewers,
        "codec": codec,
        "one": one,
        "all": everybody,
        "encode_ratio": _ratio(spent_by_all["encoding"], spent["encoding"]),
        "ratio_apart_from_sending": _ratio(
            spent_by_all["encoding"] + spent_by_all["drawing"], spent["encoding"] + spent["drawing"]
        ),
        "sending_ms_per_viewer": round(1000 * more_sending / max(1, viewers - 1), 2),
    }


def _ratio(after: float, before: float) -> float | None:
    return round(after / before, 3) if before else None


async def _measure(
    viewers: int, seconds: float, codec: Codec, command: Callable[..., list[str]]
) -> dict[str, Any]:
    def start(port: int) -> list[str]:
        return command(port, max_viewers=viewers)

    async with running_server(1, start) as server:
        opened = json.loads(await server.request("POST", "/v1/sessions"))
        path = f"/v1/sessions/{opened['id']}"
        async with _watching(server, opened["whep"], viewers, codec) as watchers:
            await server.request("POST", f"{path}/speak", json.dumps({"text": _TEXT}), "application/json")
            await asyncio.sleep(_WARM_UP_S)
            before = await _state(server, path, watchers)
            await asyncio.sleep(seconds)
            after = await _state(server, path, watchers)
        # A server that is told to stop lets its sessions speak to the end.
        await server.request("DELETE", path)
    return _figures(before, after, codec)


@contextlib.asynccontextmanager
async def _watching(
    server: Server, path: str, viewers: int, codec: Codec
) -> AsyncIterator[list[LightWatcher]]:
    async with contextlib.AsyncExitStack() as stack:
        watchers: list[LightWatcher] = []
        for _ in range(viewers):
            watcher = LightWatcher(codec)
            watchers.append(watcher)
            stack.push_async_callback(watcher.close)
            await watcher.connect(server.exchange(path))
        yield watchers


async def _state(server: Server, path: str, watchers: list[LightWatcher]) -> dict[str, Any]:
    session = json.loads(await server.request("GET", path))
    return {
        "at": asyncio.get_running_loop().time(),
        "load": await Load.of(server),
        "pictures": [len(watcher.arrived) for watcher in watchers],
        "bytes": [watcher.received for watcher in watchers],
        "ticks": session["ticks"],
        "late_ticks": session["late_ticks"],
    }


def _figures(before: Mapping[str, Any], after: Mapping[str, Any], codec: Codec) -> dict[str, Any]:
    seconds = after["at"] - before["at"]
    now, was = after["load"], before["load"]
    encoded = now.since(was, "koubo_encode_seconds_count", codec)
    spent = now.since(was, "koubo_encode_seconds_sum", codec)
    got = [new - old for old, new in zip(before["pictures"], after["pictures"], strict=True)]
    received = [new - old for old, new in zip(before["bytes"], after["bytes"], strict=True)]
    ticks = after["ticks"] - before["ticks"]
    return {
        "encoders": int(now.metrics.get(("koubo_encoders", codec), 0)),
        "pictures_encoded_per_second": round(encoded / seconds, 2),
        "encode_ms_per_picture": round(1000 * spent / max(1.0, encoded), 2),
        "pictures_per_viewer_per_second": round(min(got) / seconds, 2),
        "kbps_per_viewer": round(sum(received) * 8 / 1000 / seconds / len(received)),
        "late_ticks_ratio": round((after["late_ticks"] - before["late_ticks"]) / max(1, ticks), 5),
        "cpu_s_per_s": now.cpu(was, seconds),
    }
