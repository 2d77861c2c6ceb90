"""A picture of the capacity model: machines and cost by the number of sessions."""

from pathlib import Path

from streaming.fleet import Assumed, Measured, break_even, fleet
from trt_build.plot import COLOURS, PALE, STYLE, open_matplotlib, write_figure

_POINTS = 120


def plot_fleet(measured: Measured, assumed: Assumed, path: Path, most: int) -> None:
    """Write a PNG: machines (left) and dollars an hour of a session (right), with cores alone and with GPUs.

    Without viewers: these cost the same in both. Raises MissingToolError without matplotlib.
    """
    matplotlib = open_matplotlib()
    sizes = sorted({max(1, round(most ** (step / (_POINTS - 1)))) for step in range(_POINTS)})
    pays = break_even(measured, assumed)
    with matplotlib.rc_context(STYLE):
        figure = matplotlib.figure.Figure(figsize=(11, 4.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        figure.suptitle(
            f"Machines and their cost: {measured.session_ms:.1f} core-ms a tick, prices assumed; "
            "GPU throughput computed, not measured",
            fontsize=11,
        )
        for colour, gpu in ((COLOURS[0], False), (COLOURS[1], True)):
            fleets = [fleet(size, 0, "cdn", measured, assumed, gpu=gpu) for size in sizes]
            cores = assumed.gpu_cores if gpu else assumed.cores
            label = f"{cores} cores and a GPU" if gpu else f"{cores} cores"
            left.plot(sizes, [one.machines for one in fleets], color=colour, linewidth=2, label=label)
            cost = [one.machines_hour / one.sessions for one in fleets]
            right.plot(sizes, cost, color=colour, linewidth=2, label=label)
        plain = matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:,g}")
        for axes in (left, right):
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.set_xlabel("sessions")
            axes.xaxis.set_major_formatter(plain)
            axes.yaxis.set_major_formatter(plain)
            axes.legend(loc="best")
            if pays is not None and pays <= most:
                axes.axvline(pays, color=PALE, linewidth=1, linestyle="--")
        if pays is not None and pays <= most:
            right.annotate(
                f"GPUs pay from {pays:,}", (pays, 0.02), xycoords=("data", "axes fraction"), xytext=(-4, 3),
                textcoords="offset points", color=PALE, fontsize=9, ha="right",
            )  # fmt: skip
        left.set_ylabel("machines, those in reserve included")
        right.set_ylabel("$ an hour of each session")
        write_figure(figure, path)
