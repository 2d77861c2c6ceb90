"""`koubo bench latency`: how long a viewer waits."""

from functools import partial
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from commands.bench_report import Against, Plot, Report, Save
from commands.terminal import Json, Runtime, progress

_WHAT = {
    "mic_to_mouth": "sound at the microphone to its picture",
    "text_to_sound": "text to its first sound",
    "text_to_mouth": "text to the first moving mouth",
    "interrupt_to_silence": "interrupt to silence",
    "interrupt_to_closed_mouth": "interrupt to a closed mouth",
    "join": "opening a session to its first picture",
}


def bench_latency(
    trials: Annotated[int, typer.Option(help="Texts to speak and to interrupt, and joins.", min=1)] = 40,
    sessions: Annotated[
        int, typer.Option(help="Further sessions, whose microphones speak all the time.", min=0)
    ] = 3,
    runtime: Runtime = None,
    save: Save = None,
    against: Against = None,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """How soon a busy server's viewer sees and hears what is said, an interrupt obeyed, and joins."""
    from engine.mouth.choose import AUTO
    from streaming.bench_latency import bench_latency as measure
    from streaming.bench_server import server_command
    from trt_build.plot_live import plot_latency

    report = Report("bench latency", save, against, plot, plot_latency)
    with progress("the server") as bar:

        def tell(done: int) -> None:
            bar.describe("trials")
            bar(done, trials)

        command = partial(server_command, runtime=runtime or AUTO)
        figures = measure(trials, command, sessions=sessions, tell=tell)
    report.finish(figures, as_json, _table)


def _table(figures: dict[str, Any]) -> None:
    table = Table(
        title=f"{figures['trials']} trials, {figures['sessions']} further sessions speaking: ms",
        box=SIMPLE_HEAD,
    )
    table.add_column("from, to the arrival at the viewer")
    for name in ("p50", "p95", "p99"):
        table.add_column(name, justify="right")
    for name, what in _WHAT.items():
        if found := figures.get(f"{name}_ms"):
            table.add_row(what, *(f"{value:.1f}" for value in found.values()))
    Console().print(table)
