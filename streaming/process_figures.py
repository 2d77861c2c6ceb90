"""What a process holds, read from /proc: memory, descriptors, threads, processor time. Linux only."""

import os
from dataclasses import dataclass
from pathlib import Path

from engine.errors import KouboError

_MIB = 1024.0 * 1024.0


@dataclass(frozen=True, slots=True)
class ProcessFigures:
    """Memory in MiB: `rss_mb` all that is resident, `own_mb` the anonymous part, which is what can leak.

    `cpu_s`: processor seconds so far, of all threads.
    """

    rss_mb: float
    own_mb: float
    descriptors: int
    threads: int
    cpu_s: float


def need_proc() -> None:
    """Raises KouboError where there is no /proc: better said before a long measurement than after."""
    if not Path("/proc/self/statm").is_file():
        raise KouboError("Memory and threads are read from /proc; run this on Linux.")


def read_process(pid: int) -> ProcessFigures:
    """A process as it is now. Raises OSError when it has ended."""
    folder = Path(f"/proc/{pid}")
    # Pages: all, resident, and of these those that belong to files or are shared.
    _, resident, shared = (int(field) for field in (folder / "statm").read_text().split()[:3])
    page_mb = os.sysconf("SC_PAGE_SIZE") / _MIB
    # The name in parentheses may hold anything; utime, stime and the threads are fields 12, 13, 18 after it.
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    return ProcessFigures(
        rss_mb=round(resident * page_mb, 3),
        own_mb=round((resident - shared) * page_mb, 3),
        descriptors=sum(1 for _ in (folder / "fd").iterdir()),
        threads=int(fields[17]),
        cpu_s=(int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"),
    )
