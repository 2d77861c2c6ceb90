"""What the commands share: progress bars, tables, the folders that users name."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from engine.errors import KouboError

console = Console(stderr=True)
Runtime = Annotated[
    str | None,
    typer.Option(help="tensorrt, torch or openvino; auto: the best that works here.", show_default="auto"),
]
Config = Annotated[Path | None, typer.Option(help="A TOML file of settings.", envvar="KOUBO_CONFIG")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def say(sentence: str) -> None:
    """Tells what happens, on stderr."""
    console.print(sentence, highlight=False, soft_wrap=True, markup=False)


def sounds(folder: Path) -> list[Path]:
    """Sound files in a folder. Raises KouboError when there are none."""
    if not folder.is_dir():
        raise KouboError(f"There is no folder {folder}; give a folder of sound files.")
    files = sorted(
        f for f in folder.iterdir() if f.suffix.lower() in {".flac", ".wav", ".mp3", ".ogg", ".m4a"}
    )
    if not files:
        raise KouboError(f"{folder} holds no sound files (FLAC, WAV, MP3, OGG or M4A).")
    return files


def output_folder(path: Path) -> Path:
    """`path`, which may not be a file. Raises KouboError."""
    if path.exists() and not path.is_dir():
        raise KouboError(f"{path} is a file; give a folder with --output.")
    return path


class Bar:
    """A progress bar that is told (done, total) and, where wanted, what is being done."""

    def __init__(self, bar: Progress, what: str) -> None:
        self._bar = bar
        self._task = bar.add_task(what, total=None)

    def __call__(self, done: int, total: int) -> None:
        """How much is done; a total of 0 means that nobody knows."""
        self._bar.update(self._task, completed=done, total=total or None)

    def describe(self, what: str) -> None:
        """Names what is being done now."""
        self._bar.update(self._task, description=what)


@contextmanager
def progress(what: str, *, percent: bool = False) -> Iterator[Bar]:
    """A progress bar on stderr, labelled `what`, counting steps or, with `percent`, per cent."""
    count = TextColumn("{task.percentage:>3.0f} %") if percent else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), count, TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        yield Bar(bar, what)


def told(bar: Bar) -> Callable[[str, float, dict[str, float]], None]:
    """A callback (step, share done, figures) that shows itself on `bar`."""

    def tell(step: str, share: float, figures: dict[str, float]) -> None:
        text = "  ".join(f"{key} {value:.4g}" for key, value in figures.items())
        bar.describe(f"{step}  {text}")
        bar(round(1000 * share), 1000)

    return tell


def show(title: str, figures: dict[str, Any], as_json: bool) -> None:
    """Prints figures as JSON or as a table."""
    if as_json:
        typer.echo(json.dumps(figures))
        return
    table = Table(title=title, show_header=False)
    for key, value in figures.items():
        shown = "  ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
        table.add_row(key, shown)
    Console().print(table)
