"""Measurements kept in a file, with the machine they were taken on, and compared with later ones."""

import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from engine.errors import KouboError, MissingToolError
from engine.mouth.gpu import find_gpu

SCHEMA = 1

_PACKAGES = ("koubo", "numpy", "onnx", "onnxruntime", "openvino", "tensorrt", "torch")

_NOISE = {"p50": 0.05, "p95": 0.10, "p99": 0.20}
_NOISE_ELSE = 0.05
"""What two runs of the same thing may differ by: tails differ more."""

_FLOORS = {"_ratio": 0.002, "_ms": 0.1, "cpu_s_per_s": 0.01}
"""Differences below these say nothing, however small the figures are."""

_LOWER = ("ms", "_ms", "_mb", "_ratio", "cpu_s_per_s")
_HIGHER = ("per_second", "streams", "fps", "sessions_in_time", "_db", "ssim")
_NEITHER = ("limit_ms", "first_ms", "delay_ms")
"""A setting; a single call, which says little; delays at another number of streams."""

_SETTINGS = ("model", "sessions", "also", "mouth", "speaking", "avatars", "avatar", "codec", "target_kbps")


@dataclass(frozen=True, slots=True)
class Run:
    """One measurement: the command such as "bench mouth", when (ISO 8601), where, and its figures."""

    command: str
    date: str
    machine: dict[str, Any]
    figures: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """One figure in two runs. `ratio` is now / before, None when before was 0.

    `verdict`: "better", "worse", or "" within the noise.
    """

    figure: str
    before: float
    now: float
    ratio: float | None
    verdict: str


def this_machine() -> dict[str, Any]:
    """The processor and its cores, the GPU and its driver (None without), the commit of a checkout, the
    system, versions.
    """
    try:
        gpu = asdict(find_gpu())
    except MissingToolError:
        gpu = {}
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "gpu": gpu.get("name"),
        "driver": gpu.get("driver"),
        "commit": _commit(),
        "os": platform.platform(terse=True),
        "python": platform.python_version(),
        "versions": versions,
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str | None:
    """Of the checkout that runs, "+" where files of it have changed since; None without one."""
    ask = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=10", "--dirty=+"]
    try:
        return subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def new_run(command: str, figures: dict[str, Any]) -> Run:
    """What was measured just now on this machine."""
    return Run(command, datetime.now().astimezone().isoformat(timespec="seconds"), this_machine(), figures)


def save_run(run: Run, path: Path) -> None:
    """Write a run as JSON, whole or not at all; makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    text = json.dumps({"schema": SCHEMA} | asdict(run), indent=2, ensure_ascii=False)
    part.write_text(text + "\n", encoding="utf-8")
    part.replace(path)


def read_run(path: Path, command: str | None = None) -> Run:
    """A saved run of `command`, of any when not given.

    Raises KouboError: missing, damaged, of another schema or command.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["schema"] == SCHEMA:
            run = Run(
                str(content["command"]),
                str(content["date"]),
                dict(content["machine"]),
                dict(content["figures"]),
            )
        else:
            raise KouboError(
                f"{path} has schema {content['schema']!r}, this Koubo reads schema {SCHEMA}; measure again."
            )
    except FileNotFoundError as error:
        raise KouboError(f"There is no saved run {path}; write one with --save.") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise KouboError(f"{path} is not a saved run ({error!r}); write one with --save.") from error
    if command and run.command != command:
        raise KouboError(f"{path} is a run of `koubo {run.command}`; give one of `koubo {command}`.")
    return run


def compare(before: Run, now: Run) -> list[Change]:
    """The figures that both runs have and that are better high or low, in the order of `now`.

    Raises KouboError when they have none in common.
    """
    earlier = dict(_numbers(before.figures))
    changes = [
        _change(names, earlier[names], value)
        for names, value in _numbers(now.figures)
        if names in earlier and _better(names)
    ]
    if not changes:
        raise KouboError("The two runs have no figure in common; measure the same runtimes and batches.")
    return changes


def differences(before: Run, now: Run) -> list[str]:
    """How the two runs were taken differently: machine, versions, model; a line each, "what: then -> now"."""
    facts = [
        {key: run.figures[key] for key in _SETTINGS if key in run.figures}
        | {key: value for key, value in run.machine.items() if key != "versions"}
        | dict(run.machine.get("versions", {}))
        for run in (before, now)
    ]
    names = dict.fromkeys([*facts[0], *facts[1]])
    return [
        f"{name}: {_told(facts[0].get(name))} -> {_told(facts[1].get(name))}"
        for name in names
        if facts[0].get(name) != facts[1].get(name)
    ]


def _told(value: Any) -> str:
    return "none" if value is None else str(value)


def _numbers(figures: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], float]]:
    """Every number in nested figures, by the names on the way to it; steps of a sweep by their sessions."""
    for name, value in figures.items():
        if isinstance(value, dict):
            yield from _numbers(value, (*above, name))
        elif isinstance(value, list):
            for step in value:
                if isinstance(step, dict) and "sessions" in step:
                    yield from _numbers(step, (*above, f"{step['sessions']} sessions"))
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield (*above, name), float(value)


def _kind(names: tuple[str, ...]) -> str:
    """What a figure is: its own name, or that of what it is a percentile or a part of."""
    part = names[-1] in _NOISE or names[-2:-1] == ("cpu_s_per_s",)
    return names[-2] if part and len(names) > 1 else names[-1]


def _better(names: tuple[str, ...]) -> str:
    """Whether a figure is better "low" or "high"; empty for one that is neither, such as a count of calls."""
    kind = _kind(names)
    if kind.endswith(_HIGHER):
        return "high"
    return "low" if kind.endswith(_LOWER) and kind not in _NEITHER else ""


def _change(names: tuple[str, ...], before: float, now: float) -> Change:
    noise = _NOISE.get(names[-1], _NOISE_ELSE)
    floor = next((least for end, least in _FLOORS.items() if _kind(names).endswith(end)), 0.0)
    verdict = ""
    if abs(now - before) > max(noise * before, floor):
        verdict = "better" if (now > before) == (_better(names) == "high") else "worse"
    return Change(".".join(names), before, now, round(now / before, 3) if before else None, verdict)
