"""What becomes of a benchmark's figures: shown, saved, compared with a former run, drawn."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from commands.terminal import show
from engine.errors import KouboError

Save = Annotated[Path | None, typer.Option(help="Write the run, with the machine, to this JSON file.")]
Against = Annotated[Path | None, typer.Option(help="Compare with a run that --save wrote.")]
COLOURS = {"better": "green", "worse": "red", "": "dim"}
"""Of verdicts."""

Plot = Annotated[Path | None, typer.Option(help="Draw the run into this PNG file.")]


class Report:
    """What becomes of figures: shown, saved, compared, drawn. What can fail is tried before measuring."""

    def __init__(
        self,
        command: str,
        save: Path | None,
        against: Path | None,
        plot: Path | None = None,
        draw: Callable[[dict[str, Any], str, Path], None] | None = None,
    ) -> None:
        from trt_build.plot import need_matplotlib
        from trt_build.runs import read_run

        for path in (save, plot):
            if path and path.is_dir():
                raise KouboError(f"{path} is a folder; give a file to write.")
        if plot:
            need_matplotlib()
        self._command = command
        self._save = save
        self._before = read_run(against, command) if against else None
        self._plot = plot
        self._draw = draw

    def finish(
        self, figures: dict[str, Any], as_json: bool, tables: Callable[[dict[str, Any]], None]
    ) -> None:
        """Shows figures as JSON or by `tables`; the rest as it was asked for."""
        from trt_build.runs import compare, differences, new_run, save_run

        run = new_run(self._command, figures)
        if self._save:
            save_run(run, self._save)
        if self._plot and self._draw:
            self._draw(figures, run.machine["gpu"] or run.machine["cpu"], self._plot)
        changes = compare(self._before, run) if self._before else []
        if as_json:
            extra = {"against": [asdict(change) for change in changes]} if changes else {}
            show("", figures | extra, as_json=True)
            return
        tables(figures)
        if self._before:
            _comparison(changes, differences(self._before, run), self._before.date)
        for path in filter(None, (self._save, self._plot)):
            typer.echo(path)


def figure_name(name: str) -> str:
    """`runtimes.openvino.batches.1.ms.p50` as people say it."""
    name = name.removeprefix("variants.")
    return name.removeprefix("runtimes.").replace(".batches.", ", faces ").replace(".", " ")


def _comparison(changes: list[Any], lines: list[str], date: str) -> None:
    table = Table(title=f"Against the run of {date}")
    for name in ("figure", "then", "now", "now/then", ""):
        table.add_column(name, justify="left" if name in ("figure", "") else "right")
    for change in changes:
        ratio = f"{change.ratio:.2f}" if change.ratio is not None else "-"
        verdict = f"[{COLOURS[change.verdict]}]{change.verdict or 'same'}[/]"
        table.add_row(figure_name(change.figure), f"{change.before:g}", f"{change.now:g}", ratio, verdict)
    Console().print(table)
    for line in lines:
        Console(highlight=False, soft_wrap=True).print(f"[yellow]other[/] {escape(line)}")
