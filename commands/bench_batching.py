"""`koubo bench batching`: mouths drawn together against mouths drawn one by one."""

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from commands.bench_report import Against, Report, Save
from commands.terminal import Json, Runtime, progress
from engine.errors import KouboError


def bench_batching(
    sessions: Annotated[
        str, typer.Option(help="How many sessions speak at once; some numbers.")
    ] = "1,2,3,4,5,6,7,8",
    avatar: Annotated[str, typer.Option(help="The presenter, by name or folder.")] = "ada",
    seconds: Annotated[float, typer.Option(help="Length of each turn.", min=0.2)] = 1.0,
    rounds: Annotated[int, typer.Option(help="Turns of each mode.", min=1)] = 3,
    runtime: Runtime = None,
    save: Save = None,
    against: Against = None,
    as_json: Json = False,
) -> None:
    """Processor time of a mouth, and whether mouths come in time: in batches against one by one."""
    from engine.anchor.package import Avatar, find_avatar
    from engine.mouth.choose import AUTO, choose
    from streaming.bench_batching import bench_batching as measure
    from streaming.bench_batching import material

    counts = _counts(sessions)
    report = Report("bench batching", save, against)
    package = Avatar.load(find_avatar(avatar))
    with progress("preparing the presenter") as bar:
        mouth = choose(package.mouth, runtime or AUTO, tell=lambda sentence: None).runtime

        def tell(done: int, total: int, name: str) -> None:
            bar.describe(name)
            bar(done, total)

        figures = measure(material(package, mouth), counts, seconds=seconds, rounds=rounds, tell=tell)
    head = {"avatar": package.card.name, "runtime": mouth.name, "precision": mouth.precision}
    report.finish(head | figures, as_json, batching_table)


def _counts(text: str) -> list[int]:
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise KouboError(f"--sessions {text} is no list of numbers; give one such as 1,2,4.") from error
    if not all(1 <= number <= 200 for number in counts):
        raise KouboError(f"--sessions {text} is out of range; give numbers from 1 to 200.")
    return counts


def batching_table(figures: dict[str, Any]) -> None:
    """Print both modes side by side."""
    table = Table(
        title=f"Mouths of {figures['avatar']}, {figures['runtime']} {figures['precision']}, "
        f"{figures['threads']} threads: in batches | one by one"
    )
    for name in ("sessions", "core-ms a mouth", "ratio", "faces a call", "ready p99 ms", "in time"):
        table.add_column(name, justify="right", no_wrap=True)
    for step in figures["steps"]:
        batched, single = step["batched"], step["one_by_one"]
        table.add_row(
            str(step["sessions"]),
            f"{batched['core_ms_a_mouth']:.2f} | {single['core_ms_a_mouth']:.2f}",
            f"{step['ratio']:.2f}",
            f"{batched['faces_a_call']:.1f}",
            f"{batched['ready_ms']['p99']:.1f} | {single['ready_ms']['p99']:.1f}",
            " | ".join("yes" if mode["in_time"] else "no" for mode in (batched, single)),
        )
    Console().print(table)
