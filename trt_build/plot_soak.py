"""The picture of a long run: how far clocks drift apart, what memory does, how late ticks are."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trt_build.plot import COLOURS, PALE, STYLE, open_matplotlib, write_figure

_Line = tuple[str, str]
"""A figure of the samples, and what people call it."""


def plot_soak(figures: dict[str, Any], where: str, path: Path) -> None:
    """Write a PNG of a run of `bench soak`, whichever its mode. `where` names the machine.

    Raises MissingToolError without matplotlib.
    """
    matplotlib = open_matplotlib()
    samples = figures["samples"]
    with matplotlib.rc_context(STYLE):
        figure = matplotlib.figure.Figure(figsize=(10, 10), layout="constrained")
        panels = _PANELS[figures["mode"]]
        axes = figure.subplots(len(panels), 1, sharex=True)
        missed = sum(not verdict["met"] for verdict in figures["verdicts"])
        verdict = (
            "every figure met" if not missed else f"{missed} of {len(figures['verdicts'])} figures missed"
        )
        figure.suptitle(f"{_TITLES[figures['mode']]}: {verdict}\n{where}", fontsize=11)
        for panel, (title, lines, from_first) in zip(axes, panels, strict=True):
            _panel(panel, samples, title, lines, from_first=from_first)
        axes[-1].set_xlabel("sessions started" if figures["mode"] == "starts" else "minutes of the show")
        write_figure(figure, path)


def _panel(
    axes: Any, samples: Sequence[dict[str, Any]], title: str, lines: Sequence[_Line], *, from_first: bool
) -> None:
    for colour, (name, label) in zip(COLOURS, lines, strict=False):
        found = [(_place(sample), value) for sample in samples if (value := _value(sample, name)) is not None]
        if not found:
            continue
        first = found[0][1] if from_first else 0.0
        axes.plot(
            [x for x, _ in found], [y - first for _, y in found], color=colour, linewidth=1.2, label=label
        )
    if from_first:
        axes.axhline(0, color=PALE, linewidth=0.8, linestyle=":")
    axes.set_title(title, fontsize=10, loc="left")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _place(sample: dict[str, Any]) -> float:
    return float(sample["sessions"]) if "sessions" in sample else sample["at"] / 60


def _value(sample: dict[str, Any], name: str) -> float | None:
    """A figure by its name, `lateness_ms.p99` for one within another."""
    found: Any = sample
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return None if found is None else float(found)


_MEMORY: tuple[_Line, ...] = (("own_mb", "its own"), ("rss_mb", "resident"), ("pss_mb", "proportional"))
_HELD: tuple[_Line, ...] = (("descriptors", "descriptors"), ("threads", "threads"), ("tasks", "tasks"))

_LATE: tuple[_Line, ...] = (("lateness_ms.p50", "p50"), ("lateness_ms.p99", "p99"))

_TITLES = {"real": "A live show", "simulated": "A simulated show", "starts": "Sessions that come and go"}
_PANELS: dict[str, tuple[tuple[str, tuple[_Line, ...], bool], ...]] = {
    "real": (
        (
            "media time at the viewer against the wall clock, ms since the first sample",
            (("picture_delay_ms", "picture"), ("sound_delay_ms", "sound")),
            True,
        ),
        ("how late ticks of the last minute are, ms", _LATE, False),
        ("memory of the server, MiB since the first sample", _MEMORY, True),
        ("descriptors and threads of the server", _HELD, False),
    ),
    "simulated": (
        (
            "media time of what is handed out against the clock, ms",
            (("picture_delay_ms", "picture"), ("sound_delay_ms", "sound")),
            True,
        ),
        ("speech that waits, s", (("backlog_s", "backlog"),), False),
        ("memory of the process, MiB since the first sample", _MEMORY[:2], True),
        ("Python objects since the first sample", (("objects", "objects"),), True),
    ),
    "starts": (
        ("memory of the server, MiB since the first sample", _MEMORY[:2], True),
        ("Python objects of the server since the first sample", (("objects", "objects"),), True),
        ("descriptors, threads and tasks of the server", _HELD, False),
    ),
}  # fmt: skip
