"""What lives in a server that is measured from outside: asked by a signal, answered into a file.

The server of `koubo bench soak` starts with `answer`; an ordinary one never imports this.
"""

import asyncio
import ctypes
import gc
import json
import os
import signal
import subprocess
import threading
import time
import tracemalloc
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

from engine.errors import KouboError

_TYPES = 40
_LINES = 25
_WAIT_S = 20.0


def answer(path: Path) -> None:
    """From now on SIGUSR1 collects garbage, gives free memory back and writes what is left to `path`."""
    rounds = 0

    def look(number: int, frame: FrameType | None) -> None:
        nonlocal rounds
        rounds += 1
        part = path.with_name(path.name + ".part")
        part.write_text(json.dumps({"round": rounds} | census()))
        part.replace(path)

    signal.signal(signal.SIGUSR1, look)


def census() -> dict[str, Any]:
    """What this process holds once garbage is collected: objects by type, tasks, threads by name.

    "lines", where memory was allocated, is there when it runs under PYTHONTRACEMALLOC.
    """
    gc.collect()
    gc.collect()  # what finalisers of the first round let go
    _give_back()
    objects = gc.get_objects()
    types = Counter(f"{type(one).__module__}.{type(one).__qualname__}" for one in objects)
    found: dict[str, Any] = {
        "objects": len(objects),
        "tasks": _tasks(),
        "thread_names": sorted(thread.name for thread in threading.enumerate()),
        "types": dict(types.most_common(_TYPES)),
    }
    if tracemalloc.is_tracing():
        top = tracemalloc.take_snapshot().statistics("lineno")[:_LINES]
        found["lines"] = {str(one.traceback): one.size for one in top}
    return found


def _tasks() -> int:
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:
        return 0


def _give_back() -> None:
    """Free pages go to the system, where the C library can do so: what stays is in use, or torn."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def with_probe(command: list[str], path: Path) -> list[str]:
    """The command of a server, `python -c ...`, that answers into `path`."""
    python, option, code = command
    return [python, option, f"from pathlib import Path; from streaming.bench_probe import answer; "
            f"answer(Path({str(path)!r})); {code}"]  # fmt: skip


class Probe:
    """Asks a server that was started `with_probe`. Blocks."""

    def __init__(self, process: subprocess.Popen[bytes], path: Path) -> None:
        self._process = process
        self._path = path
        self._rounds = 0

    def ask(self) -> dict[str, Any]:
        """Its `census`. Raises KouboError when no answer comes."""
        self._rounds += 1
        os.kill(self._process.pid, signal.SIGUSR1)
        end = time.monotonic() + _WAIT_S
        while time.monotonic() < end:
            if self._path.is_file():
                found: dict[str, Any] = json.loads(self._path.read_text())
                if found["round"] >= self._rounds:
                    return found
            time.sleep(0.02)
        raise KouboError("The server did not say what it holds; check its log.")
