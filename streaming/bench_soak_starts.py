"""`koubo bench soak --starts`: a thousand sessions that come and go leave nothing behind."""

import asyncio
import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from engine.speech.audio import SAMPLE_RATE
from engine.speech.espeak import speak
from streaming.bench_probe import Probe, with_probe
from streaming.bench_server import Server, running_server, server_command, until_ready
from streaming.bench_stamps import StampViewer
from streaming.process_figures import need_proc, read_process
from streaming.soak_figures import Slope, Verdict, column, slope, told
from streaming.webrtc.client import ClipTrack, publish
from streaming.webrtc.ending import close_connection

_AT_ONCE = 4
_ROUND = 10
"""Sessions of a round: six one after another, then four at once."""

_WARM_UP = 1 / 5
"""Share of a run before it is compared: pools of threads fill, heaps find their size."""

_HUNDRED = 10
"""Rounds at either end that are compared."""

_NOTICEABLE_MB = 30.0
"""Memory that 1,000 sessions might keep, and nobody could tell for noise: 30 kB each."""

_THREADS = 2
"""Threads of pools that come and go with the load, within their bounds."""

_SHOWN = 5
"""Pictures that a viewer sees after the text was sent."""

_PATIENCE_S = 15.0
_OBJECTS = 200
"""Python objects that caches still gain; a session that stays is thousands."""

_TEXT = "Good evening, and welcome."
Tell = Callable[[int, int, str], None]
Write = Callable[[dict[str, Any]], None]


def measure_starts(
    starts: int, tell: Tell, write: Write, command: Callable[..., list[str]] = server_command
) -> dict[str, Any]:
    """Open, watch, speak in and end `starts` sessions (rounded up to tens) on one server; `starts_figures`.

    `tell` hears (done, all, what), `write` each line as it comes. Raises KouboError.
    """
    need_proc()
    lines: list[dict[str, Any]] = []

    def note(line: dict[str, Any]) -> None:
        lines.append(line)
        write(line)

    asyncio.run(_measure(-(-starts // _ROUND), tell, note, command))
    return starts_figures(lines)


async def _measure(rounds: int, tell: Tell, note: Write, command: Callable[..., list[str]]) -> None:
    clip = speak("One two three, this microphone is being tried.", "en-us").samples
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "census.json"

        def start(port: int) -> list[str]:
            # Nobody is refused: everybody here is one address.
            return with_probe(command(port, sessions_per_minute=10_000.0, idle_close_s=20.0), path)

        async with running_server(2 * _AT_ONCE, start) as server:
            await until_ready(server)
            probe = Probe(server.process, path)
            for number in range(rounds):
                joined = await _round(server, clip)
                found = await asyncio.to_thread(probe.ask)
                held = read_process(server.process.pid)
                line: dict[str, Any] = {
                    "round": number,
                    "sessions": (number + 1) * _ROUND,
                    "joined_s": joined,
                }
                line |= asdict(held) | found
                note(line)
                tell((number + 1) * _ROUND, rounds * _ROUND, f"{held.own_mb:.0f} MB, {held.threads} threads")


async def _round(server: Server, clip: Any) -> list[float]:
    joined = [
        await _session(server, clip if number % 3 == 0 else None) for number in range(_ROUND - _AT_ONCE)
    ]
    at_once = (_session(server, clip if number % 2 == 0 else None) for number in range(_AT_ONCE))
    joined += await asyncio.gather(*at_once)
    return [round(seconds, 3) for seconds in joined]


async def _session(server: Server, clip: Any) -> float:
    """One session from its opening to its end; returns the seconds from the offer to picture and sound."""
    opened = json.loads(await server.request("POST", "/v1/sessions"))
    path = f"/v1/sessions/{opened['id']}"
    viewer = StampViewer()
    sender = None
    try:
        seconds = await viewer.connect(server.exchange(opened["whep"]))
        if clip is not None:
            track = ClipTrack(np.roll(clip, -SAMPLE_RATE // 2))
            sender = await publish(track, server.exchange(opened["whip"]))
        await server.request("POST", f"{path}/speak", json.dumps({"text": _TEXT}), "application/json")
        async with asyncio.timeout(_PATIENCE_S):
            await viewer.pictures.until(viewer.pictures.count + _SHOWN)
        await server.request("DELETE", path)
        return seconds
    finally:
        if sender is not None:
            await close_connection(sender)
        await viewer.close()


def starts_figures(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """What the lines of a run say: the first hundred sessions against the last, verdicts, what grew."""
    settled = lines[round(_WARM_UP * len(lines)) :]
    compared = max(1, min(_HUNDRED, len(settled) // 2))
    first, last = settled[:compared], settled[-compared:]
    # A line's rise "per hour" of 3.6 s each is one for 1,000 sessions.
    grown = slope([3.6 * line["sessions"] for line in settled], column(settled, "own_mb"))
    joined = [seconds for line in lines for seconds in line["joined_s"]]
    verdicts = [
        _median_verdict("descriptors", first, last, 0),
        _median_verdict("threads", first, last, _THREADS),
        _median_verdict("tasks", first, last, 0),
        _median_verdict("objects", first, last, _OBJECTS),
        _memory_verdict(grown),
    ]
    return {
        "mode": "starts",
        "starts": lines[-1]["sessions"],
        "offer_to_picture_and_sound_ms": _quantiles(joined),
        "own_mb": {"first": _median(first, "own_mb"), "last": _median(last, "own_mb")},
        "own_mb_per_1000_starts": told(grown) if grown else None,
        "objects": {"first": _median(first, "objects"), "last": _median(last, "objects")},
        "grown": _grown(first[-1], last[-1]),
        "verdicts": [asdict(verdict) for verdict in verdicts],
        "samples": [{key: line[key] for key in _DRAWN} for line in lines],
    }


_DRAWN = ("sessions", "rss_mb", "own_mb", "descriptors", "threads", "objects", "tasks")


def _memory_verdict(grown: Slope | None) -> Verdict:
    limit = f"0 within the interval, which ends below {_NOTICEABLE_MB:g} MB"
    if grown is None:
        return Verdict("memory of its own per 1000 starts", "too few sessions", limit, met=False)
    met = grown.flat and grown.high < _NOTICEABLE_MB
    return Verdict("memory of its own per 1000 starts", f"{told(grown)} MB", limit, met)


def _median(lines: list[dict[str, Any]], name: str) -> float:
    return round(float(np.median(column(lines, name))), 2)


def _median_verdict(
    name: str, first: list[dict[str, Any]], last: list[dict[str, Any]], most: float
) -> Verdict:
    before, after = _median(first, name), _median(last, name)
    return Verdict(name, f"{before:g} -> {after:g}", f"{most:g} more at most", after - before <= most)


def _quantiles(values: list[float]) -> dict[str, float]:
    found = np.percentile(values, (50, 95, 99))
    return {
        name: round(1000 * float(value), 1) for name, value in zip(("p50", "p95", "p99"), found, strict=True)
    }


def _grown(first: dict[str, Any], last: dict[str, Any]) -> dict[str, int]:
    """Types of which there are more now, by how many: where to look for a leak."""
    more = {name: count - first["types"].get(name, count) for name, count in last["types"].items()}
    return {name: count for name, count in sorted(more.items(), key=lambda item: -item[1]) if count > 0}
