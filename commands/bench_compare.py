"""`koubo bench compare`: saved runs side by side."""

from pathlib import Path
from string import ascii_uppercase
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from commands.bench_report import COLOURS, Plot, figure_name
from commands.terminal import Json, show
from engine.errors import KouboError


def bench_compare(
    files: Annotated[list[Path], typer.Argument(help="Runs that --save wrote; the first is the measure.")],
    everything: Annotated[
        bool, typer.Option("--all", help="Show figures that differ by no more than noise, too.")
    ] = False,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Saved runs of one benchmark side by side: machine, commit, each figure with its ratio to the first."""
    from dataclasses import asdict

    from trt_build.plot import need_matplotlib
    from trt_build.plot_live import plot_comparison
    from trt_build.runs import compare, differences, read_run

    if not 2 <= len(files) <= len(ascii_uppercase):
        raise KouboError(f"Give 2 to {len(ascii_uppercase)} files to compare, the one to measure by first.")
    if plot:
        need_matplotlib()
    first = read_run(files[0])
    runs = [first, *(read_run(file, first.command) for file in files[1:])]
    changes = [compare(first, run) for run in runs[1:]]
    if plot:
        names = [file.stem for file in files[1:]]
        plot_comparison(
            [
                (name, [asdict(change) for change in found])
                for name, found in zip(names, changes, strict=True)
            ],
            f"koubo {first.command}, against {files[0].stem}",
            plot,
        )
    others = [differences(first, run) for run in runs[1:]]
    if as_json:
        compared = [
            {"file": str(file), "differences": other, "figures": [asdict(change) for change in found]}
            for file, other, found in zip(files[1:], others, changes, strict=True)
        ]
        show("", {"command": first.command, "against": str(files[0]), "runs": compared}, as_json=True)
        return
    out = Console(highlight=False, soft_wrap=True)
    for letter, file, run in zip(ascii_uppercase, files, runs, strict=False):
        out.print(f"[bold]{letter}[/] {escape(str(file))}: koubo {run.command}, {escape(_where(run))}")
    for letter, other in zip(ascii_uppercase[1:], others, strict=False):
        for line in other:
            out.print(f"[yellow]{letter}, other[/] {escape(line)}")
    _table(changes, everything)
    if plot:
        typer.echo(plot)


def _where(run: Any) -> str:
    machine = run.machine
    processor = f"{machine.get('cpu', 'an unknown processor')} x {machine.get('cores', '?')}"
    version = machine.get("versions", {}).get("koubo", "?")
    commit = f" ({machine['commit']})" if machine.get("commit") else ""
    return ", ".join(filter(None, (run.date, processor, machine.get("gpu"), f"koubo {version}{commit}")))


def _table(changes: list[list[Any]], everything: bool) -> None:
    by_name = [{change.figure: change for change in found} for found in changes]
    names = [name for name in by_name[0] if all(name in found for found in by_name)]
    if not names:
        raise KouboError("These runs have no figure in common; measure the same steps.")
    told = [name for name in names if everything or any(found[name].verdict for found in by_name)]
    table = Table(box=SIMPLE_HEAD)
    table.add_column("figure", no_wrap=True)
    table.add_column("A", justify="right")
    for letter in ascii_uppercase[1 : len(changes) + 1]:
        table.add_column(letter, justify="right")
        table.add_column(f"{letter}/A", justify="right")
    for name in told:
        cells = []
        for found in by_name:
            change = found[name]
            ratio = "-" if change.ratio is None else f"{change.ratio:.2f}"
            cells += [f"{change.now:g}", f"[{COLOURS[change.verdict]}]{ratio} {change.verdict}[/]"]
        table.add_row(figure_name(name), f"{by_name[0][name].before:g}", *cells)
    out = Console(highlight=False)
    if told:
        Console(highlight=False, width=max(out.width, 62 + 24 * len(changes))).print(table)
    if rest := len(names) - len(told):
        out.print(f"{rest} figures differ by no more than noise; --all shows them.", style="dim")
