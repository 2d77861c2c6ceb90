"""`koubo bench start`: how soon a server is ready and seen, and its memory."""

from functools import partial
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from commands.bench_report import Against, Report, Save
from commands.terminal import Json, Runtime, console, show


def bench_start(
    starts: Annotated[int, typer.Option(help="Servers to start that find their caches filled.", min=1)] = 5,
    cold: Annotated[int, typer.Option(help="Servers to start before, without any cache.", min=1)] = 1,
    joins: Annotated[int, typer.Option(help="New sessions, one after another.", min=1)] = 20,
    sessions: Annotated[int, typer.Option(help="Sessions at once, for the memory.", min=1)] = 4,
    avatars: Annotated[
        str | None, typer.Option(help="Whose sessions and who comes last, such as ada,kai.")
    ] = None,
    runtime: Runtime = None,
    save: Save = None,
    against: Against = None,
    as_json: Json = False,
) -> None:
    """How soon a server is ready, how soon a viewer sees the first picture, and what memory is taken."""
    from engine.mouth.choose import AUTO
    from streaming.bench_server import server_command
    from streaming.bench_start import bench_start as measure

    names = tuple(filter(None, avatars.split(","))) if avatars else ()
    report = Report("bench start", save, against)
    with console.status(f"{cold} cold starts, {starts} warm ones, then {joins} sessions"):
        figures = measure(
            starts, cold, joins, sessions, names, partial(server_command, runtime=runtime or AUTO)
        )
    report.finish(figures, as_json, _tables)


def _tables(figures: dict[str, Any]) -> None:
    rest = {name: value for name, value in figures.items() if name not in ("cold", "warm", "memory")}
    starts = {
        f"{name} {figure}": value for name in ("cold", "warm") for figure, value in figures[name].items()
    }
    show("Start", starts | rest, as_json=False)
    table = Table(title="Memory of the server in MiB")
    for name in ("state", "rss", "pss", "own"):
        table.add_column(name, justify="left" if name == "state" else "right")
    for state, sizes in figures["memory"].items():
        table.add_row(state, *(f"{value:.0f}" for value in sizes.values()))
    Console().print(table)
