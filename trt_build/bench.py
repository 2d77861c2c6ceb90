"""How long the live half of a mouth takes on this machine, by runtime and by batch."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

from engine.anchor.crop import Picture
from engine.errors import AvatarError, KouboError
from engine.mouth.batches import LADDER
from engine.mouth.runtime import MouthRuntime
from engine.speech.mel import MEL_BANDS, WINDOW_COLUMNS, Mel

Progress = Callable[[str, int, int], None]
"""Told what is being measured, how much of it is done, and how much there is."""

_FRAMES = 300
_SECONDS = 20.0
_WARM_UP = 20
_LEAST = 10
_FACES = 4
_WINDOWS = 128


def bench_runtimes(
    model: Path,
    names: Iterable[str],
    open_runtime: Callable[[str], MouthRuntime],
    *,
    first_only: bool = False,
    batches: Sequence[int] | None = None,
    frames: int = _FRAMES,
    seconds: float = _SECONDS,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure the runtimes that this machine has, one at a time, in the order of `names`.

    `open_runtime(name)` opens one or raises KouboError: why not. `first_only`: one is enough. Returns the
    first one's "model", "runtime", "precision" and "ms_per_frame" (see `bench_mouth`), then "runtimes", the
    "precision" and "batches" of all by name, and "absent", the reasons by name. Raises KouboError when there
    is none at all, and AvatarError for a damaged mouth.
    """
    head: dict[str, Any] = {}
    runtimes: dict[str, dict[str, Any]] = {}
    absent: dict[str, str] = {}
    for name, mouth in opened(names, open_runtime, absent):
        report = bench_mouth(mouth, model, batches=batches, frames=frames, seconds=seconds, progress=progress)
        runtimes[name] = {"precision": report["precision"], "batches": report.pop("batches")}
        head = head or report
        if first_only:
            break
    return head | {"runtimes": runtimes, "absent": absent}


def opened(
    names: Iterable[str], open_runtime: Callable[[str], MouthRuntime], absent: dict[str, str]
) -> Iterator[tuple[str, MouthRuntime]]:
    """The runtimes that this machine has, one after the other, each opened when it is asked for.

    Why the others cannot be had is added to `absent`. Raises KouboError when there is none at all, and
    AvatarError for a damaged mouth.
    """
    found = False
    for name in names:
        try:
            mouth = open_runtime(name)
        except AvatarError:  # the mouth itself is damaged: no other runtime would draw it
            raise
        except KouboError as error:
            absent[name] = str(error)
        else:
            found = True
            yield name, mouth
    if not found:
        raise KouboError(" ".join(dict.fromkeys(absent.values())))


def bench_mouth(
    mouth: MouthRuntime,
    model: Path,
    *,
    batches: Sequence[int] | None = None,
    frames: int = _FRAMES,
    seconds: float = _SECONDS,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Time calls on random speech windows, face features at hand as they are live.

    At every batch `frames` calls are timed, fewer (but 10 at least) when `seconds` are over before; `batches`
    None: one face on a CPU, where a batch is no faster, and the whole ladder on a GPU. Returns {"model",
    "runtime", "precision", "ms_per_frame", "batches": {"1": {"ms", "per_second", "first_ms", "calls"}}}:
    "ms" are percentiles of a call's milliseconds, "first_ms" is the first call at that batch, which counts
    for nothing else, "per_second" are pictures; "ms_per_frame" is "ms" of single faces, where timed.
    """
    sizes = sorted(set(batches or default_batches(mouth)))
    calls = _Calls(mouth, max(sizes), seed, clock)
    measured = {}
    for number, size in enumerate(sizes):
        if progress:
            progress(f"{mouth.name}, batch {size}", number, len(sizes))
        measured[str(size)] = calls.measure(size, frames, seconds)
    if progress:
        progress(mouth.name, len(sizes), len(sizes))
    report: dict[str, Any] = {"model": model.name, "runtime": mouth.name, "precision": mouth.precision}
    if 1 in sizes:
        report["ms_per_frame"] = measured["1"]["ms"]
    return report | {"batches": measured}


def default_batches(mouth: MouthRuntime) -> tuple[int, ...]:
    """One face on a CPU, where a batch is no faster; the whole ladder on a GPU."""
    return (1,) if mouth.name == "openvino" else LADDER


def random_faces(size: int, count: int, seed: int) -> Picture:
    """RGB uint8 (count, size, size, 3), the same for a seed."""
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), np.uint8)


def random_mels(seed: int) -> Mel:
    """Speech windows float32 (128, 80, 16), the same for a seed."""
    windows = np.random.default_rng(seed).uniform(-4, 4, (_WINDOWS, MEL_BANDS, WINDOW_COLUMNS))
    return windows.astype(np.float32)


def percentiles_ms(spent: Sequence[float]) -> dict[str, float]:
    """p50, p95 and p99 of durations in seconds, as milliseconds."""
    found = 1000 * np.percentile(spent, (50, 95, 99))
    return {name: round(float(value), 2) for name, value in zip(("p50", "p95", "p99"), found, strict=True)}


class _Calls:
    """Calls of one mouth, each on other windows and faces than the last."""

    def __init__(self, mouth: MouthRuntime, most: int, seed: int, clock: Callable[[], float]) -> None:
        self._mouth = mouth
        self._clock = clock
        self._mels = random_mels(seed)
        self._windows = cycle(range(_WINDOWS))
        self._anchors = cycle(mouth.encode(random_faces(mouth.size, max(_FACES, most), seed)))

    def measure(self, size: int, frames: int, seconds: float) -> dict[str, Any]:
        """Up to `frames` calls of `size` faces within about `seconds`."""
        first = self._spend(size)
        # A slow mouth needs no twenty calls to be warm.
        self._series(size, _WARM_UP - 1, 1, seconds / 10)
        spent = self._series(size, frames, _LEAST, seconds)
        return {
            "ms": percentiles_ms(spent),
            "per_second": round(size * len(spent) / sum(spent), 1),
            "first_ms": round(1000 * first, 2),
            "calls": len(spent),
        }

    def _series(self, size: int, most: int, least: int, seconds: float) -> list[float]:
        spent: list[float] = []
        start = self._clock()
        while len(spent) < most and (len(spent) < least or self._clock() - start < seconds):
            spent.append(self._spend(size))
        return spent

    def _spend(self, size: int) -> float:
        mels = self._mels[list(islice(self._windows, size))]
        faces = list(islice(self._anchors, size))
        start = self._clock()
        self._mouth.decode(mels, faces)
        return self._clock() - start
