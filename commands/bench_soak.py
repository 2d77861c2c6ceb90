"""`koubo bench soak`: does anything drift or grow in a long show, or over a thousand sessions?"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from commands.bench_report import Against, Plot, Report, Save
from commands.terminal import Json, Runtime, progress, say, show
from engine.errors import KouboError


def bench_soak(
    simulated: Annotated[
        str | None,
        typer.Option(help="So long a show in simulated time, such as 8h: minutes.", show_default="8h"),
    ] = None,
    real: Annotated[
        str | None, typer.Option(help="So long a show in real time, such as 1h, with real viewers.")
    ] = None,
    starts: Annotated[
        int | None,
        typer.Option(help="So many sessions, opened, watched and ended one after another.", min=20),
    ] = None,
    read: Annotated[
        Path | None, typer.Option(help="The lines (.jsonl) of a real show that was cut short.")
    ] = None,
    runtime: Runtime = None,
    save: Save = None,
    against: Against = None,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Drift of sound, picture and clock; what memory, threads and descriptors do. Ctrl-C ends it early."""
    from engine.mouth.choose import AUTO
    from streaming.bench_server import server_command
    from trt_build.plot_soak import plot_soak

    if sum(one is not None for one in (simulated, real, starts, read)) > 1:
        raise KouboError(
            "A soak is one thing at a time; give one of --simulated, --real, --starts and --read."
        )
    report = Report("bench soak", save, against, plot, plot_soak)
    command = partial(server_command, runtime=runtime or AUTO)
    with _lines(save if real or starts else None) as write, progress("starting", percent=True) as bar:

        def tell(done: float, total: float, what: str) -> None:
            bar.describe(what)
            bar(round(done), round(total))

        figures = _measure(simulated, real, starts, read, command, tell, write)
    report.finish(figures, as_json, _tables)


def _measure(
    simulated: str | None,
    real: str | None,
    starts: int | None,
    read: Path | None,
    command: Any,
    tell: Any,
    write: Any,
) -> dict[str, Any]:
    from streaming.durations import read_duration

    if read:
        from streaming.soak_show import soak_figures

        return soak_figures(_read(read))
    if starts:
        from streaming.bench_soak_starts import measure_starts

        return measure_starts(starts, tell, write, command)
    if real:
        from streaming.bench_soak import measure_show

        return measure_show(read_duration(real), tell, write, command)
    from streaming.bench_soak_simulated import measure_simulated

    return measure_simulated(read_duration(simulated or "8h"), tell)


@contextmanager
def _lines(save: Path | None) -> Iterator[Any]:
    """Writes each line of a run at once beside the file that the whole will be saved in."""
    if save is None:
        yield lambda line: None
        return
    path = save.with_suffix(".jsonl")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", buffering=1) as file:
        say(f"Each sample goes to {path}; `koubo bench soak --read {path}` reads a run that was cut short.")
        yield lambda line: file.write(json.dumps(line) + "\n")


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        texts = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise KouboError(
            f"{path} cannot be read ({error.strerror}); give the .jsonl of a real show."
        ) from error
    lines: list[dict[str, Any]] = []
    for text in texts:
        try:
            lines.append(dict(json.loads(text)))
        except (ValueError, TypeError):
            break  # the line at which it was cut
    return lines


def _tables(figures: dict[str, Any]) -> None:
    rest = {name: value for name, value in figures.items() if name not in ("verdicts", "samples", "faults")}
    show("Soak", rest, as_json=False)
    table = Table(title="Verdicts")
    for name in ("figure", "measured", "must be", ""):
        table.add_column(name)
    for verdict in figures["verdicts"]:
        word = "[green]met[/]" if verdict["met"] else "[red]missed[/]"
        table.add_row(verdict["name"], verdict["value"], verdict["limit"], word)
    Console().print(table)
    for fault in figures.get("faults", ()):
        Console().print(f"[yellow]at {fault['at']:.0f} s, {fault['event']}:[/] {escape(fault['fault'])}")
