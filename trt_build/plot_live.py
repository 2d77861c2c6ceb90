"""Pictures of what was measured at a live server: lateness by sessions, delays, encoders."""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from trt_build.capacity import LIMIT_MS
from trt_build.plot import COLOURS, PALE, STYLE, open_matplotlib, write_figure

_ROWS = 40
"""Figures that a picture of a comparison shows."""


def plot_live(figures: dict[str, Any], where: str, path: Path) -> None:
    """Write a PNG of `bench live`: how late pictures and ticks are, and what the processor does, by sessions.

    `where` names the machine. Raises MissingToolError without matplotlib.
    """
    matplotlib = open_matplotlib()
    steps = figures["steps"]
    sizes = [step["sessions"] for step in steps]
    beside = " beside one with another mouth" if figures["also"] else ""
    with matplotlib.rc_context(STYLE):
        figure = matplotlib.figure.Figure(figsize=(11, 4.8), layout="constrained")
        left, right = figure.subplots(1, 2)
        figure.suptitle(f"Sessions in time: {figures['sessions_in_time']}{beside}\n{where}", fontsize=11)
        for colour, name, key in (
            (COLOURS[0], "picture encoded", "picture_lateness_ms"),
            (COLOURS[2], "tick drawn", "tick_lateness_ms"),
        ):
            low, high = ([step[key][share] for step in steps] for share in ("p50", "p99"))
            left.fill_between(sizes, low, high, color=colour, alpha=0.15, linewidth=0)
            left.plot(sizes, low, color=colour, linewidth=1)
            left.plot(sizes, high, color=colour, linewidth=2, marker="o", markersize=4, label=name)
        left.axhline(LIMIT_MS, color=COLOURS[1], linewidth=1.2)
        left.annotate(
            "the next tick is due", (0, LIMIT_MS), xycoords=("axes fraction", "data"), xytext=(4, 3),
            textcoords="offset points", color=COLOURS[1], fontsize=9,
        )  # fmt: skip
        left.set_ylabel("late, ms (p50 to p99)")
        left.set_yscale("log")
        left.yaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
        left.yaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        left.yaxis.set_minor_locator(matplotlib.ticker.NullLocator())
        left.legend(loc="upper left")
        _processor(right, sizes, steps)
        for axes in (left, right):
            axes.set_xlabel("sessions")
            axes.xaxis.set_major_locator(matplotlib.ticker.FixedLocator(sizes))
        write_figure(figure, path)


def _processor(axes: Any, sizes: list[int], steps: list[dict[str, Any]]) -> None:
    parts = {"drawing": COLOURS[0], "encoding": COLOURS[2], "sending": COLOURS[3], "clients": PALE}
    below = [0.0] * len(steps)
    for name, colour in parts.items():
        values = [step["cpu_s_per_s"][name] for step in steps]
        label = "the bench's clients" if name == "clients" else name
        axes.bar(sizes, values, bottom=below, color=colour, label=label, width=0.7)
        below = [low + value for low, value in zip(below, values, strict=True)]
    axes.set_axisbelow(True)
    axes.set_ylabel("cores in use")
    axes.legend(loc="upper left")


def plot_latency(figures: dict[str, Any], where: str, path: Path) -> None:
    """Write a PNG of `bench latency`: a histogram of each delay, with its median and its p99.

    `where` names the machine. Raises MissingToolError without matplotlib.
    """
    matplotlib = open_matplotlib()
    delays = {name: values for name, values in figures["trials_ms"].items() if values}
    with matplotlib.rc_context(STYLE):
        figure = matplotlib.figure.Figure(figsize=(11, 6.4), layout="constrained")
        figure.suptitle(f"Delays with {figures['sessions']} further busy sessions, ms\n{where}", fontsize=11)
        grid = figure.subplots(2, -(-len(delays) // 2), squeeze=False)
        for axes in grid.flat[len(delays) :]:
            axes.set_axis_off()
        for axes, (name, values) in zip(grid.flat, delays.items(), strict=False):
            found = figures[f"{name}_ms"]
            axes.hist(values, bins=min(40, max(10, len(values) // 4)), color=COLOURS[0], alpha=0.8)
            for share, style in (("p50", "-"), ("p99", "--")):
                axes.axvline(found[share], color=COLOURS[1], linewidth=1.2, linestyle=style)
            axes.set_title(f"{name.replace('_', ' ')}: {found['p50']:g}, p99 {found['p99']:g}", fontsize=10)
            axes.set_yticks([])
        write_figure(figure, path)


def plot_encode(figures: dict[str, Any], where: str, path: Path) -> None:
    """Write a PNG of `bench encode`: quality by cost, around the mouth and of the whole picture.

    `where` names the machine. Raises MissingToolError without matplotlib.
    """
    matplotlib = open_matplotlib()
    with matplotlib.rc_context(STYLE):
        figure = matplotlib.figure.Figure(figsize=(11, 5.2), layout="constrained")
        figure.suptitle(
            f"x264, {figures['size']} at {figures['target_kbps']} kbit/s, {figures['avatar']}\n{where}",
            fontsize=11,
        )
        ways = (("mouth_psnr_db", "around the mouth"), ("psnr_db", "whole picture"))
        left, right = figure.subplots(1, 2)
        for axes, (key, what) in zip((left, right), ways, strict=True):
            for number, (name, found) in enumerate(figures["variants"].items()):
                served = name == "as served"
                place = found["mean_ms"], found[key]
                # A ring, for the same options stand among the others, too.
                ring = {"markerfacecolor": "none", "markersize": 11} if served else {"markersize": 5}
                axes.plot(*place, "o", color=COLOURS[served], **ring)
                label = "served" if served else str(number)
                under = (6, -12) if served else (4, 3)
                axes.annotate(label, place, xytext=under, textcoords="offset points", fontsize=8)
                if axes is left and not served:
                    axes.plot([], [], " ", label=f"{number} {name}")
            axes.set_xlabel("processor ms a picture")
            axes.set_ylabel(f"PSNR, dB, {what}")
        figure.legend(loc="outside lower center", ncols=4, fontsize=8, handlelength=0)
        write_figure(figure, path)


def plot_comparison(runs: Sequence[tuple[str, list[dict[str, Any]]]], title: str, path: Path) -> None:
    """Write a PNG of `bench compare`: each figure's ratio to that of the first run.

    `runs`: for each other run its name and its changes, as `trt_build.runs.Change` has them. Figures that are
    0 in the first run are left out, and where there are many, those that changed least. Raises
    MissingToolError without matplotlib.
    """
    matplotlib = open_matplotlib()
    ratios = [{one["figure"]: one for one in found if one["ratio"]} for _, found in runs]
    names = [name for name in ratios[0] if all(name in found for found in ratios)]
    if len(names) > _ROWS:
        by_change = sorted(names, key=lambda name: -max(abs(np.log(f[name]["ratio"])) for f in ratios))
        kept = set(by_change[:_ROWS])
        names = [name for name in names if name in kept]
    rows = range(len(names))
    with matplotlib.rc_context(STYLE):
        figure = matplotlib.figure.Figure(figsize=(9, 1.6 + 0.24 * len(names)), layout="constrained")
        axes = figure.subplots()
        axes.set_title(title, fontsize=11)
        axes.axvline(1.0, color=PALE, linewidth=1)
        for colour, (name, _), found in zip(cycle(COLOURS), runs, ratios):
            values = [found[key]["ratio"] for key in names]
            told = [bool(found[key]["verdict"]) for key in names]
            axes.scatter(values, rows, 26, facecolors=np.where(told, colour, "white"), edgecolors=colour)
            axes.plot([], [], "o", color=colour, markersize=5, label=name)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 1.2, 1.5, 2, 3, 5, 7, 8, 9)))
        axes.xaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
        axes.set_yticks(rows, [name.replace(".", " ") for name in names], fontsize=8)
        axes.invert_yaxis()
        axes.set_xlabel("ratio to the first run (empty: within the noise)")
        axes.legend(loc="best")
        write_figure(figure, path)
