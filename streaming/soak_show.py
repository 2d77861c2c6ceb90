"""The figures and verdicts of a show's lines, whole or cut short."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import av
import numpy as np

from engine.errors import KouboError
from engine.speech.audio import FRAME_RATE
from streaming.pacing import TICK_S, percentiles
from streaming.soak_figures import (
    Verdict,
    column,
    count_verdict,
    drift_ms,
    drift_verdict,
    memory_verdict,
    named,
    pairs,
    slope,
    told,
)

_SAMPLE_S = 10.0
_LEAST_SAMPLES = 40
_WARM_UP = 1 / 6
"""Share of a run before memory counts: caches fill, presenters are loaded, the C library's heaps grow."""

_LATE_RATIO = 0.01
_REACHED = 0.99
_FILE_TICKS = 2
"""What sound and picture of a recording may differ at its end: each ends with its last whole packet."""


def soak_figures(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """{"mode", "seconds", "wanted_s", figures..., "verdicts", "samples"} of a run's lines.

    Raises KouboError when there are too few of them to say anything.
    """
    head = next((line for line in lines if "soak" in line), {})
    samples = [line for line in lines if "own_mb" in line and "at" in line]
    if len(samples) < 2 or not head:
        raise KouboError("The run has no samples yet; let it go on for half a minute at least.")
    events = [line for line in lines if "event" in line]
    files = [line for line in lines if "file" in line]
    settled = [line for line in samples if line["at"] >= _WARM_UP * samples[-1]["at"]]
    first, last = samples[0], samples[-1]
    ticks = last["ticks"] - first["ticks"]
    late = last["late_ticks"] - first["late_ticks"]
    joins = [line["seconds"] for line in events if line["event"] == "join" and "fault" not in line]
    memory = {name: slope(*pairs(settled, named(name))) for name in ("own_mb", "rss_mb", "pss_mb")}
    verdicts = [
        *_drifts(samples),
        _count_of_ticks(first, last),
        memory_verdict("memory of its own", memory["own_mb"], last["at"] / 3600),
        count_verdict("descriptors", column(settled, "descriptors")),
        count_verdict("threads", column(settled, "threads")),
        _at_least("pictures that reached the viewer", _share(first, last), _REACHED),
        _at_most("late ticks", late / max(1, ticks), _LATE_RATIO),
        _at_most("ticks skipped", last["skipped"] - first["skipped"], 0),
        _at_most("requests refused, viewers not served", sum("fault" in line for line in events), 0),
        *_recordings(files),
    ]
    return {
        "mode": "real",
        "seconds": last["at"],
        "wanted_s": head["seconds"],
        "ticks": ticks,
        "late_ticks_ratio": round(late / max(1, ticks), 5),
        "tick_lateness_ms": {
            name: round(float(np.median([line["lateness_ms"][name] for line in samples])), 1)
            for name in ("p50", "p95", "p99")
        },
        "worst_minute_p99": max(line["lateness_ms"]["p99"] for line in samples),
        "join_ms": percentiles([1000 * seconds for seconds in joins]),
        "events": {
            name: sum(line["event"] == name for line in events)
            for name in sorted({line["event"] for line in events})
        },
        "faults": [line for line in events if "fault" in line][:20],
        "mb_per_hour": {name: told(found) if found else None for name, found in memory.items()},
        "memory": {name: [samples[0][name], samples[-1][name]] for name in memory},
        "cpu_share": round((last["cpu_s"] - first["cpu_s"]) / (last["at"] - first["at"]), 3),
        "recordings": files,
        "verdicts": [asdict(verdict) for verdict in verdicts],
        "samples": samples,
    }


def _drifts(samples: Sequence[dict[str, Any]]) -> list[Verdict]:
    """Media clocks at the viewer against the wall clock, and against each other."""

    def apart(line: dict[str, Any]) -> float | None:
        picture, sound = line["picture_delay_ms"], line["sound_delay_ms"]
        return None if picture is None or sound is None else float(sound - picture)

    lines = {
        "picture against wall clock": named("picture_delay_ms"),
        "sound against wall clock": named("sound_delay_ms"),
        "sound against picture": apart,
    }
    found = [drift_verdict(name, drift_ms(*pairs(samples, value))) for name, value in lines.items()]
    distances = [value for line in samples if (value := apart(line)) is not None]
    if distances:
        most = max(distances, key=abs)
        limit = f"{1000 * TICK_S:g} ms at most"
        found.append(
            Verdict("sound from picture, at worst", f"{most:+.1f} ms", limit, abs(most) <= 1000 * TICK_S)
        )
    return found


def _count_of_ticks(first: dict[str, Any], last: dict[str, Any]) -> Verdict:
    """Ticks made and skipped against 25 for each second that the server lived between the two samples."""
    due = FRAME_RATE * (last["uptime_s"] - first["uptime_s"])
    made = last["ticks"] - first["ticks"] + last["skipped"] - first["skipped"]
    missing = made - due
    return Verdict(
        "ticks against 25 a second", f"{missing:+.1f} of {due:.0f}", "2 at most", abs(missing) <= 2
    )


def _share(first: dict[str, Any], last: dict[str, Any]) -> float:
    """Pictures that came to the viewer, of the ticks that were made."""
    return float(last["pictures"] - first["pictures"]) / float(max(1, last["ticks"] - first["ticks"]))


def _at_least(name: str, value: float, limit: float) -> Verdict:
    return Verdict(name, f"{value:.4f}", f"{limit:g} at least", value >= limit)


def _at_most(name: str, value: float, limit: float) -> Verdict:
    return Verdict(name, f"{value:.4g}", f"{limit:g} at most", value <= limit)


def _recordings(files: Sequence[dict[str, Any]]) -> list[Verdict]:
    if not files:
        return [Verdict("recording", "none was written", "one that plays", met=False)]
    apart = max(abs(line["sound_s"] - line["picture_s"]) for line in files)
    limit = _FILE_TICKS * TICK_S
    return [
        Verdict("recordings", str(len(files)), "1", len(files) == 1),
        Verdict(
            "recording: sound from picture at its end",
            f"{1000 * apart:.0f} ms",
            f"{1000 * limit:g} ms at most",
            apart <= limit,
        ),
    ]


def span_of_recording(path: Path) -> dict[str, float]:
    """Where picture and sound of a file end, in s, its pictures, and the longest time between two of them."""
    ends = {"video": 0.0, "audio": 0.0}
    times: list[float] = []
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.pts is None or packet.stream.type not in ends:
                continue
            start = float(packet.pts * packet.time_base)
            ends[packet.stream.type] = max(
                ends[packet.stream.type], start + float((packet.duration or 0) * packet.time_base)
            )
            if packet.stream.type == "video":
                times.append(start)
    gap = float(np.diff(sorted(times)).max()) if len(times) > 1 else 0.0
    return {
        "picture_s": round(ends["video"], 3),
        "sound_s": round(ends["audio"], 3),
        "pictures": float(len(times)),
        "longest_gap_s": round(gap, 3),
        "mb": round(path.stat().st_size / 2**20, 1),
    }


def sample_period(seconds: float) -> float:
    """How often to look, in s: every ten seconds, and in short runs often enough for every slope."""
    return max(0.5, min(_SAMPLE_S, seconds / _LEAST_SAMPLES))
