"""`koubo bench tick`: what each step of a speaking tick costs on this machine."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from commands.bench_report import Against, Report, Save
from commands.terminal import Json, Runtime, say
from engine.errors import KouboError


def bench_tick(
    avatar: Annotated[str, typer.Option(help="Name or folder of a presenter.")] = "ada",
    seconds: Annotated[float, typer.Option(help="Of speech, at 25 ticks each.", min=0.4)] = 20.0,
    runtime: Runtime = None,
    flame: Annotated[Path | None, typer.Option(help="Draw a flame graph into this SVG file.")] = None,
    save: Save = None,
    against: Against = None,
    as_json: Json = False,
) -> None:
    """Processor time of each step of a speaking tick: mouth, paste, label, encoding and their parts."""
    from engine.anchor.package import Avatar, find_avatar
    from engine.mouth.choose import AUTO, choose
    from streaming.bench_tick import bench_tick as measure

    if flame and flame.is_dir():
        raise KouboError(f"{flame} is a folder; give a file to write.")
    report = Report("bench tick", save, against)
    package = Avatar.load(find_avatar(avatar))
    mouth = choose(package.mouth, runtime or AUTO, tell=say).runtime
    # No bar: its thread would be measured too.
    say(f"{package.name} speaks for {seconds:g} s, as fast as it goes")
    figures = measure(package, mouth, seconds, flame)
    report.finish(figures, as_json, _table)
    if flame and not as_json:
        typer.echo(flame)


def _table(figures: dict[str, Any]) -> None:
    mouth = f"{figures['runtime']} {figures['precision']}"
    table = Table(title=f"A speaking tick of {figures['avatar']}, {figures['size']}, {mouth}: core-ms")
    for name in ("step", "p50", "p95", "share"):
        table.add_column(name, justify="left" if name == "step" else "right")
    for name, step in figures["steps"].items():
        *above, own = name.split("/")
        spent = [f"{value:.2f}" for value in step["cpu_ms"].values()]
        table.add_row("  " * len(above) + own, *spent, f"{100 * step['share']:.1f} %")
    table.add_section()
    table.add_row("tick", *(f"{value:.2f}" for value in figures["tick"]["cpu_ms"].values()), "100 %")
    table.add_row("on the clock", *(f"{value:.2f}" for value in figures["tick"]["wall_ms"].values()), "")
    Console().print(table)
    memory = figures["memory"]
    Console(highlight=False).print(
        f"A tick holds {memory['held_mb']:.2f} MiB more than before it, and takes {memory['page_faults']} "
        "fresh pages of memory from the system."
    )
