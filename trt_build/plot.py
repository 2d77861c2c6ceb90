"""Pictures of measurements: latency and throughput by batch, the delay by the number of streams."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.errors import MissingToolError
from trt_build.capacity import LIMIT_MS

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
"""Told apart by those who see few colours, too."""

_INK = "#333333"
PALE = "#888888"
_WIDE = 300
_ROOM = 1.7
STYLE: dict[str, Any] = {
    "font.size": 10,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": "#bbbbbb",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
    "figure.dpi": 100,
}


def need_matplotlib() -> None:
    """Raises MissingToolError without matplotlib: better said before a long measurement than after."""
    open_matplotlib()


def plot_mouth(figures: dict[str, Any], where: str, path: Path) -> None:
    """Write a PNG: a call's latency and the pictures a second by batch, for each runtime of `bench mouth`.

    `where` names the machine. Raises MissingToolError without matplotlib.
    """
    matplotlib = open_matplotlib()
    with matplotlib.rc_context(STYLE):
        figure = matplotlib.figure.Figure(figsize=(11, 4.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        figure.suptitle(f"{figures['model']}: one call of the live half\n{where}", fontsize=11)
        for colour, (name, report) in zip(COLOURS, figures["runtimes"].items(), strict=False):
            _runtime(left, right, f"{name} {report['precision']}", report["batches"], colour)
        # Only among the throughputs: far above them, it would press the latencies flat.
        if figures.get("roofline"):
            sizes = [line["batch"] for line in figures["roofline"]]
            rates = [1000 * line["batch"] / line["floor"] for line in figures["roofline"]]
            right.plot(sizes, rates, "--", color=PALE, linewidth=1, label="limit of the card")
        _finish_mouth(left, right, [int(n) for r in figures["runtimes"].values() for n in r["batches"]])
        figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=2)
        write_figure(figure, path)


def plot_capacity(figures: dict[str, Any], where: str, path: Path) -> None:
    """Write a PNG: percentiles of the delay by the number of streams, of `bench gpu`, with the deadline.

    `where` names the machine. Raises MissingToolError without matplotlib.
    """
    matplotlib = open_matplotlib()
    steps = figures["steps"]
    streams = [step["streams"] for step in steps]
    delays = {name: [step["delay_ms"][name] for step in steps] for name in ("p50", "p99")}
    with matplotlib.rc_context(STYLE):
        figure = matplotlib.figure.Figure(figsize=(8, 4.8), layout="constrained")
        axes = figure.subplots()
        axes.set_title(
            f"{figures['model']}, {figures['runtime']} {figures['precision']}: "
            f"{figures['streams']} streams in time\n{where}",
            fontsize=11,
        )
        axes.fill_between(streams, delays["p50"], delays["p99"], color=COLOURS[0], alpha=0.15, linewidth=0)
        axes.plot(streams, delays["p50"], color=COLOURS[0], linewidth=1, label="p50")
        axes.plot(streams, delays["p99"], color=COLOURS[0], linewidth=2, label="p99")
        _marks(axes, steps, passed=True, label="in time")
        _marks(axes, steps, passed=False, label="late, or the queue grows")
        axes.axhline(LIMIT_MS, color=COLOURS[1], linewidth=1.2)
        axes.annotate(
            f"{LIMIT_MS:.0f} ms", (1, LIMIT_MS), xycoords=("axes fraction", "data"), xytext=(-2, 4),
            textcoords="offset points", color=COLOURS[1], ha="right",
        )  # fmt: skip
        if figures["streams"]:
            axes.axvline(figures["streams"], color=PALE, linewidth=1, linestyle=":")
        _scales(axes, streams)
        axes.set_xlabel("streams at 25 pictures a second")
        axes.set_ylabel("from due to drawn, ms")
        figure.legend(loc="outside lower center", ncols=4)
        write_figure(figure, path)


def _runtime(left: Any, right: Any, name: str, batches: dict[str, Any], colour: str) -> None:
    sizes = [int(size) for size in batches]
    p50, p99 = ([step["ms"][name] for step in batches.values()] for name in ("p50", "p99"))
    rates = [step["per_second"] for step in batches.values()]
    if len(sizes) > 1:
        left.fill_between(sizes, p50, p99, color=colour, alpha=0.18, linewidth=0)
    else:
        left.vlines(sizes, p50, p99, color=colour, alpha=0.4, linewidth=4)
    left.plot(sizes, p50, color=colour, marker="o", markersize=4)
    label = f"{name}: from {p50[0]:,g} ms, up to {max(rates):,.0f} a second"
    right.plot(sizes, rates, color=colour, marker="o", markersize=4, label=label)


def _finish_mouth(left: Any, right: Any, sizes: Sequence[int]) -> None:
    left.axhline(LIMIT_MS, color=PALE, linewidth=1, linestyle=":")
    left.annotate(
        f"{LIMIT_MS:.0f} ms: the next is due", (0, LIMIT_MS), xycoords=("axes fraction", "data"),
        xytext=(4, 3), textcoords="offset points", color=PALE, fontsize=9,
    )  # fmt: skip
    left.set_ylabel("a call, ms (p50, band to p99)")
    right.set_ylabel("pictures a second")
    for axes in (left, right):
        axes.set_xlabel("faces a call")
        _scales(axes, sizes)


def _marks(axes: Any, steps: Sequence[dict[str, Any]], *, passed: bool, label: str) -> None:
    chosen = [step for step in steps if bool(step["failure"]) != passed]
    if chosen:
        axes.plot(
            [step["streams"] for step in chosen],
            [step["delay_ms"]["p99"] for step in chosen],
            "o" if passed else "x",
            color=COLOURS[0] if passed else COLOURS[1],
            markersize=5,
            zorder=3,
            label=label,
        )


def _scales(axes: Any, places: Sequence[int]) -> None:
    """Logarithmic axes with plain numbers: each power of two below, 1, 2, 5, 10 or the decades beside."""
    ticker = open_matplotlib().ticker
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    powers = [2**k for k in range(20) if min(places) / 1.5 <= 2**k <= max(places) * 1.5]
    axes.xaxis.set_major_locator(ticker.FixedLocator(powers))
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    # Room above and below, so that a few per cent look like a few per cent.
    low, high = axes.dataLim.intervaly / (_ROOM, 1 / _ROOM)
    axes.set_ylim(low, high)
    steps = (1, 2, 5) if high / low < _WIDE else (1,)
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=steps))
    axes.yaxis.set_minor_locator(ticker.NullLocator())
    number = ticker.FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}")
    axes.xaxis.set_major_formatter(number)
    axes.yaxis.set_major_formatter(number)


def write_figure(figure: Any, path: Path) -> None:
    """Write a PNG, whole or not at all; makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    figure.savefig(part, format="png", dpi=150, facecolor="white")
    part.replace(path)


def open_matplotlib() -> Any:
    """matplotlib, with `figure` and `ticker`. Raises MissingToolError."""
    # Figures are made without pyplot: no window, nothing kept.
    try:
        import matplotlib as whole
        import matplotlib.figure
        import matplotlib.ticker
    except ImportError as error:
        raise MissingToolError(
            "Plots need matplotlib; install it with `pip install 'koubo[bench]'`."
        ) from error
    return whole
