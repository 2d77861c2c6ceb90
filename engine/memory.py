"""How much memory this process may still take, and how it keeps what it was given."""

import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path

if sys.platform != "win32":
    import resource

_PROC = Path("/proc")
_GROUPS = Path("/sys/fs/cgroup")


_M_ARENA_MAX = -8  # of mallopt(3)
_HEAPS = 2


def share_heaps() -> None:
    """Have all threads share two heaps, so that what one has freed another can use (glibc; else nothing).

    By default there are eight heaps for each core, and pictures that were freed stay in every one of them.
    To be called before there are many threads.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mallopt(_M_ARENA_MAX, _HEAPS)


def free_memory(proc: Path = _PROC, groups: Path = _GROUPS) -> int | None:
    """Bytes that can be had before the kernel refuses or kills; None where nobody tells (not on Linux).

    The least of what the machine has available (MemAvailable of proc(5)), what the control groups of this
    process leave (version 2: memory.max less what cannot be reclaimed), and its limit of address space.
    """
    return min([*_machine(proc), *_control_groups(proc, groups), *_address_space(proc)], default=None)


def _machine(proc: Path) -> Iterator[int]:
    facts = _numbers(proc / "meminfo")
    if "MemAvailable:" in facts:
        yield facts["MemAvailable:"] << 10


def _control_groups(proc: Path, groups: Path) -> Iterator[int]:
    """Of the group of this process and of each above it."""
    for line in _lines(proc / "self" / "cgroup"):
        number, _, path = line.split(":", 2)
        if number != "0":
            continue
        folder = groups / path.lstrip("/")
        for group in (folder, *folder.parents):
            limit, used = _lines(group / "memory.max"), _lines(group / "memory.current")
            if limit and used and limit[0] != "max":
                stat = _numbers(group / "memory.stat")
                files = stat.get("inactive_file", 0) + stat.get("active_file", 0)
                yield max(0, int(limit[0]) - int(used[0]) + files)
            if group == groups:
                return


def _address_space(proc: Path) -> Iterator[int]:
    pages = _lines(proc / "self" / "statm")
    if sys.platform == "win32" or not pages:
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        yield max(0, limit - int(pages[0].split()[0]) * resource.getpagesize())


def _numbers(path: Path) -> dict[str, int]:
    return {parts[0]: int(parts[1]) for parts in map(str.split, _lines(path)) if len(parts) > 1}


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
