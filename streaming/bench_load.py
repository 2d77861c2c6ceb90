"""What a server spends and how late it is, from its public figures (/metrics) and from /proc."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from engine.errors import KouboError
from streaming.bench_server import Server

Metrics = Mapping[tuple[str, str], float]
"""Samples by (name, value of their only label, "" without)."""

TICK_LATENESS = "koubo_tick_lateness_seconds"
PICTURE_LATENESS = "koubo_picture_lateness_seconds"
_WORK = "koubo_work_seconds_total"
_ENCODE = "encode"


def need_proc() -> None:
    """Raises KouboError where there is no /proc, from which processor time is read."""
    if not Path("/proc/self/task").is_dir():
        raise KouboError("Processor time by thread is read from /proc; run this on Linux.")


def read_metrics(text: str) -> Metrics:
    """The samples of Prometheus text that have one label at most."""
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if len(sample.labels) <= 1
    }


@dataclass(frozen=True, slots=True)
class Load:
    """A server at one moment: its figures, and the processor seconds it has spent so far."""

    metrics: Metrics
    total_s: float
    loop_s: float
    """Of the main thread: the event loop, which takes and sends packets and answers requests."""
    machine_s: float = 0.0
    """Of everything that runs on the machine."""

    @classmethod
    async def of(cls, server: Server) -> "Load":
        """Read it."""
        metrics = read_metrics(await server.request("GET", "/metrics"))
        pid = server.process.pid
        return cls(metrics, thread_s(pid), thread_s(pid, pid), machine_s())

    def since(self, before: "Load", name: str, label: str = "") -> float:
        """How much a counter has grown."""
        key = (name, label)
        return self.metrics.get(key, 0.0) - before.metrics.get(key, 0.0)

    def cpu(self, before: "Load", seconds: float) -> dict[str, float]:
        """Cores in use since then, over `seconds`: {"sending", "encoding", "drawing", "total"}.

        Sending is all that the event loop does; drawing is all the rest, from the mouth to the label, sound
        included.
        """
        total, loop = self.total_s - before.total_s, self.loop_s - before.loop_s
        encoding = self.since(before, _WORK, _ENCODE)
        spent = {"sending": loop, "encoding": encoding, "drawing": total - loop - encoding, "total": total}
        return {name: round(value / seconds, 4) for name, value in spent.items()}

    def lateness(self, before: "Load", name: str) -> dict[str, float]:
        """Percentiles in ms of a histogram's new samples, {"p50", "p95", "p99"}; see `histogram_ms`."""
        return histogram_ms(
            {label: self.since(before, key, label) for key, label in self.metrics if key == f"{name}_bucket"}
        )

    def late_ratio(self, before: "Load", name: str, limit_s: float) -> float:
        """Share of a histogram's new samples above `limit_s`, which must be the edge of a bucket."""
        count = self.since(before, f"{name}_count")
        within = self.since(before, f"{name}_bucket", str(limit_s))
        return round(1 - within / count, 5) if count else 0.0


def histogram_ms(buckets: Mapping[str, float]) -> dict[str, float]:
    """p50, p95 and p99 in milliseconds of a Prometheus histogram in seconds: counts by upper edge ("le").

    Within a bucket samples are taken to be spread evenly; those above the last edge count as twice that.
    """
    edges = sorted((float(edge), count) for edge, count in buckets.items())
    total = edges[-1][1] if edges else 0.0
    found = {}
    for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        wanted = share * total
        value = 0.0
        for (low, below), (high, count) in pairwise([(0.0, 0.0), *edges]):
            if count >= wanted and total:
                top = high if high != float("inf") else 2 * low
                value = low + (top - low) * (wanted - below) / max(count - below, 1e-9)
                break
        found[name] = round(1000 * value, 1)
    return found


def machine_s() -> float:
    """Processor seconds that all cores together have been busy, for this system or, in a virtual machine, for
    others (steal); Linux only.
    """
    # proc_stat(5): user, nice, system, idle, iowait, irq, softirq, steal.
    times = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(times) - times[3] - times[4]) / os.sysconf("SC_CLK_TCK")


def thread_s(pid: int, thread: int | None = None) -> float:
    """Processor seconds that a process, or one of its threads, has spent so far; Linux only."""
    place = f"/proc/{pid}/stat" if thread is None else f"/proc/{pid}/task/{thread}/stat"
    # The name in parentheses may hold anything; utime and stime are fields 12 and 13 after it.
    fields = Path(place).read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
