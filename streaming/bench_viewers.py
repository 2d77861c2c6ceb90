"""`koubo bench viewers`: what one session costs its server when many watch it.

A real server in a process of its own, real WHEP connections from this one, a presenter that speaks all the
time. The server's processor time is read from /proc thread by thread, first with one viewer, then with all:
the main thread is the event loop, which sends packets; threads named after a codec encode; the others draw,
and encode sound.
"""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from aiortc import RTCRtpReceiver
from prometheus_client.parser import text_string_to_metric_families

from engine.errors import KouboError
from streaming.bench_server import Server, running_server, server_command
from streaming.encoding.base import Codec
from streaming.webrtc.client import Exchange, Watcher

Group: TypeAlias = Literal["sending", "encoding", "drawing"]

_TEXT = "Good evening, and welcome to the show. Tonight there is a great deal to talk about. " * 20
_WARM_UP_S = 4.0
_MIME_TYPES: dict[Codec, str] = {"h264": "video/H264", "vp8": "video/VP8"}


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
    if not Path("/proc/self/task").is_dir():
        raise KouboError("Processor time by thread is read from /proc; run this on Linux.")
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
async def _watching(server: Server, path: str, viewers: int, codec: Codec) -> AsyncIterator[list[Watcher]]:
    watchers: list[Watcher] = []
    try:
        for _ in range(viewers):
            watcher = Watcher(decode=False)
            watchers.append(watcher)
            _prefer(watcher, codec)
            await watcher.connect(_without_estimates(server.exchange(path)))
        yield watchers
    finally:
        for watcher in watchers:
            await watcher.close()


def _without_estimates(exchange: Exchange) -> Exchange:
    """Viewers that estimate no bit rate: so many in one busy process would have it lowered.

    aiortc's estimate rests on the times of sending that packets carry.
    """

    async def post(offer: str) -> str:
        answer = await exchange(offer)
        return "".join(line for line in answer.splitlines(keepends=True) if "abs-send-time" not in line)

    return post


def _prefer(watcher: Watcher, codec: Codec) -> None:
    known = RTCRtpReceiver.getCapabilities("video")
    assert known is not None
    for transceiver in watcher.pc.getTransceivers():
        if transceiver.kind == "video":
            transceiver.setCodecPreferences(
                [one for one in known.codecs if one.mimeType == _MIME_TYPES[codec]]
            )


async def _state(server: Server, path: str, watchers: list[Watcher]) -> dict[str, Any]:
    metrics = read_metrics(await server.request("GET", "/metrics"))
    session = json.loads(await server.request("GET", path))
    return {
        "at": asyncio.get_running_loop().time(),
        "cpu_s": thread_times(server.process.pid),
        "metrics": metrics,
        "pictures": [len(watcher.frames.arrived) for watcher in watchers],
        "bytes": [await _received(watcher) for watcher in watchers],
        "ticks": session["ticks"],
        "late_ticks": session["late_ticks"],
    }


async def _received(watcher: Watcher) -> int:
    """Bytes that a watcher has received, packet headers included."""
    stats = await watcher.pc.getStats()
    return max(int(entry.bytesReceived) for entry in stats.values() if entry.type == "transport")


def _figures(before: Mapping[str, Any], after: Mapping[str, Any], codec: Codec) -> dict[str, Any]:
    seconds = after["at"] - before["at"]

    def counted(name: str) -> float:
        key = (name, codec)
        return float(after["metrics"].get(key, 0.0) - before["metrics"].get(key, 0.0))

    spent = {
        group: round((after["cpu_s"][group] - before["cpu_s"][group]) / seconds, 4)
        for group in ("sending", "encoding", "drawing")
    }
    encoded = counted("koubo_encode_seconds_count")
    got = [new - old for old, new in zip(before["pictures"], after["pictures"], strict=True)]
    received = [new - old for old, new in zip(before["bytes"], after["bytes"], strict=True)]
    ticks = after["ticks"] - before["ticks"]
    return {
        "encoders": int(after["metrics"].get(("koubo_encoders", codec), 0)),
        "pictures_encoded_per_second": round(encoded / seconds, 2),
        "encode_ms_per_picture": round(1000 * counted("koubo_encode_seconds_sum") / max(1.0, encoded), 2),
        "pictures_per_viewer_per_second": round(min(got) / seconds, 2),
        "kbps_per_viewer": round(sum(received) * 8 / 1000 / seconds / len(received)),
        "late_ticks_ratio": round((after["late_ticks"] - before["late_ticks"]) / max(1, ticks), 5),
        "cpu_s_per_s": spent | {"total": round(sum(spent.values()), 4)},
    }


def read_metrics(text: str) -> dict[tuple[str, str], float]:
    """Samples of the Prometheus text that have a codec, by (name, codec)."""
    return {
        (sample.name, sample.labels["codec"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if "codec" in sample.labels and "le" not in sample.labels
    }


def thread_times(pid: int) -> dict[Group, float]:
    """Processor seconds that a process has spent so far, by what its threads do; Linux only.

    Threads that have ended are not in it.
    """
    tick_s = 1.0 / os.sysconf("SC_CLK_TCK")
    spent: dict[Group, float] = {"sending": 0.0, "encoding": 0.0, "drawing": 0.0}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            name = (task / "comm").read_text().strip()
            # The name in parentheses may hold anything; utime and stime are fields 12 and 13 after it.
            fields = (task / "stat").read_text().rpartition(")")[2].split()
            group: Group = "drawing"
            if int(task.name) == pid:
                group = "sending"
            elif name.startswith("encode-"):
                group = "encoding"
            spent[group] += (int(fields[11]) + int(fields[12])) * tick_s
    return spent
