"""`koubo bench live`: how many sessions a server carries in time."""

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from commands.bench_report import Against, Plot, Report, Save
from commands.terminal import Json, Runtime, progress
from engine.errors import KouboError

if TYPE_CHECKING:
    from streaming.bench_crowd import Source

_COLUMNS = (
    "sessions", "tick late", "picture late", ">40", "repeated", "fps", "mic to mouth",
    "draw+code+send", "clients", "others", "MB", "",
)  # fmt: skip
_LEAST_WIDTH = 124
_DISTURBED = 0.1
"""Cores that others may use before a run says little."""


def bench_live(
    sessions: Annotated[
        str, typer.Option(help="Steps, such as 1,2,4,6; auto: one more each step until pictures come late.")
    ] = "auto",
    seconds: Annotated[float, typer.Option(help="How long to measure each step.", min=2)] = 20.0,
    avatar: Annotated[
        str | None, typer.Option(help="Presenters by turns, such as ada,kai; the default one when not given.")
    ] = None,
    mouth: Annotated[
        str | None, typer.Option(help="Folder of a mouth to put on the presenters instead of their own.")
    ] = None,
    also: Annotated[
        str | None, typer.Option(help="Folder of a mouth for one session more, beside those of each step.")
    ] = None,
    speaking: Annotated[
        float, typer.Option(help="Share of the time in which microphones speak; 1 is the worst case.")
    ] = 1.0,
    codec: Annotated[str, typer.Option(help="h264 or vp8.")] = "h264",
    source: Annotated[str, typer.Option(help="What speaks: microphone or text.")] = "microphone",
    runtime: Runtime = None,
    save: Save = None,
    against: Against = None,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """How many live sessions this machine carries in time, over real WebRTC connections."""
    from engine.mouth.choose import AUTO
    from streaming.bench import Plan
    from streaming.bench import bench_live as measure
    from streaming.bench_server import server_command
    from streaming.encoding.base import read_codec
    from trt_build.plot_live import plot_live

    plan = Plan(
        sessions=() if sessions == "auto" else _numbers(sessions),
        seconds=seconds,
        avatars=tuple(filter(None, avatar.split(","))) if avatar else (),
        mouth=mouth,
        also=also,
        speaking=speaking,
        codec=read_codec(codec),
        source=_source(source),
    )
    report = Report("bench live", save, against, plot, plot_live)
    with progress("the server", percent=True) as bar:
        last = ""

        def tell(what: str, share: float) -> None:
            bar.describe(f"{what}{last}")
            bar(round(100 * share), 100)

        def done(step: dict[str, Any]) -> None:
            nonlocal last
            late = step["picture_lateness_ms"]["p99"]
            last = f"  ({step['sessions']}: p99 {late:.1f} ms, {step['fps']:.1f} fps)"

        command = partial(server_command, runtime=runtime or AUTO)
        figures = measure(plan, command, tell, done)
    report.finish(figures, as_json, _table)


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise KouboError(
            f"--sessions {text} is no list of numbers; give one such as 1,2,4, or auto."
        ) from error


def _source(name: str) -> "Source":
    from streaming.bench_crowd import SOURCES

    for source in SOURCES:
        if name == source:
            return source
    raise KouboError(f"There is no source {name!r}; choose {' or '.join(SOURCES)}.")


def _speakers(figures: dict[str, Any]) -> str:
    if figures["source"] == "text":
        return "Texts are spoken without end"
    worst = " (the worst case)" if figures["speaking"] == 1 else ""
    return f"Microphones speak {100 * figures['speaking']:.0f} % of the time{worst}"


def _spread(found: dict[str, float]) -> str:
    return "/".join(f"{value:.0f}" if value >= 100 else f"{value:.1f}" for value in found.values())


def _table(figures: dict[str, Any]) -> None:
    out = Console(highlight=False, soft_wrap=True)
    table = Table(
        title=f"Live sessions, {figures['codec']}: ms as p50/p95/p99; the processor in cores",
        box=SIMPLE_HEAD,
        padding=(0, 0, 0, 1),
        pad_edge=False,
    )
    for name in _COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    for step in figures["steps"]:
        cpu = step["cpu_s_per_s"]
        table.add_row(
            str(step["sessions"]) + (" + 1" if figures["also"] else ""),
            _spread(step["tick_lateness_ms"]),
            _spread(step["picture_lateness_ms"]),
            f"{100 * step['late_pictures_ratio']:.1f}%",
            f"{100 * step['repeated_mouths_ratio']:.1f}%",
            f"{step['fps']:.1f}",
            _spread(step["mic_to_mouth_ms"]) if figures["source"] == "microphone" else "",
            "+".join(f"{cpu[name]:.2f}" for name in ("drawing", "encoding", "sending")),
            f"{cpu['clients']:.2f}",
            f"{cpu['others']:.2f}",
            f"{step['rss_mb']:.0f}",
            "[green]in time[/]" if step["in_time"] else "[red]late[/]",
        )
    # As wide as it is: in a narrow terminal lines are better broken than figures left out.
    Console(width=max(out.width, _LEAST_WIDTH)).print(table)
    beside = f", beside one with the mouth {figures['also']}" if figures["also"] else ""
    out.print(f"{figures['sessions_in_time']} sessions in time{beside}.")
    out.print(
        f"In time: 99 of 100 pictures encoded within 40 ms of their tick, and 24.9 fps at every viewer. "
        f"{_speakers(figures)}. "
        "Clients ran on the same cores; what they took is told apart.",
        style="dim",
    )
    if any(step["cpu_s_per_s"]["others"] > _DISTURBED for step in figures["steps"]):
        out.print("[yellow]Other programs took part of the processor; measure again on a quiet machine.[/]")
