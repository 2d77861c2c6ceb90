"""`koubo bench`: measure speed on this machine."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from commands.bench_batching import bench_batching
from commands.bench_compare import bench_compare
from commands.bench_encode import bench_encode
from commands.bench_faults import bench_faults
from commands.bench_latency import bench_latency
from commands.bench_live import bench_live
from commands.bench_report import Against, Plot, Report, Save
from commands.bench_soak import bench_soak
from commands.bench_start import bench_start
from commands.bench_tick import bench_tick
from commands.terminal import Json, Runtime, console, progress, show
from engine.errors import KouboError, MissingToolError

if TYPE_CHECKING:
    from engine.mouth.region import Region
    from engine.mouth.runtime import MouthRuntime

app = typer.Typer(help="Measure speed on this machine.", no_args_is_help=True)
app.command("live")(bench_live)
app.command("latency")(bench_latency)
app.command("compare")(bench_compare)
app.command("encode")(bench_encode)
app.command("start")(bench_start)
app.command("soak")(bench_soak)
app.command("faults")(bench_faults)
app.command("tick")(bench_tick)
app.command("batching")(bench_batching)

Model = Annotated[str, typer.Option("--model", "--mouth", help="A shipped mouth, or the folder of one.")]


@app.command("mouth")
def bench_mouth(
    model: Model = "lite192",
    runtime: Annotated[
        str, typer.Option(help="auto (the best here), all, tensorrt, torch or openvino.")
    ] = "auto",
    batch: Annotated[
        str | None, typer.Option(help="Faces a call, such as 1,2,4; default 1 on a CPU, 1 to 64 on a GPU.")
    ] = None,
    frames: Annotated[int, typer.Option(help="Calls to time at each batch.", min=10)] = 300,
    seconds: Annotated[float, typer.Option(help="Longest time at each batch.", min=0.1)] = 20.0,
    region: Annotated[
        str | None,
        typer.Option(help="Draw this part alone: left,top,right,bottom in pixels; Ada's is 6,40,186,182."),
    ] = None,
    card: Annotated[
        str | None, typer.Option(help="Tell the limits of this card, such as 'NVIDIA H200', instead of ours.")
    ] = None,
    save: Save = None,
    against: Against = None,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """Milliseconds and pictures a second of a mouth's live half, by runtime and batch."""
    from engine.mouth.choose import AUTO, RUNTIMES, open_runtime
    from engine.mouth.region import Region
    from trt_build.bench import bench_runtimes
    from trt_build.cost import CARDS
    from trt_build.plot import plot_mouth

    if card and card not in CARDS:
        raise KouboError(f"The peak of {card!r} is not known; known are {', '.join(CARDS)}.")
    folder = _mouth(model)
    batches = _batches(batch) if batch else None
    part = _region(region) if region else None

    def open_mouth(name: str) -> "MouthRuntime":
        mouth = open_runtime(name, folder)
        if part and not Region.whole(mouth.size).holds(part):
            raise KouboError(
                f"--region {region} lies outside the mouth's {mouth.size} x {mouth.size} pixels."
            )
        return mouth.restricted(part) if part else mouth

    report = Report("bench mouth", save, against, plot, plot_mouth)
    with progress("opening the mouth") as bar:

        def tell(what: str, done: int, total: int) -> None:
            bar.describe(what)
            bar(done, total)

        figures = bench_runtimes(
            folder,
            RUNTIMES if runtime in (AUTO, "all") else (runtime,),
            open_mouth,
            first_only=runtime == AUTO,
            batches=batches,
            frames=frames,
            seconds=seconds,
            progress=tell,
        )
    report.finish(figures | _cost(folder, card=card), as_json, _mouth_tables)


@app.command("gpu")
def bench_gpu(
    model: Model = "lite192",
    runtime: Annotated[
        str, typer.Option(help="auto, tensorrt or torch; openvino tries the measure on the CPU.")
    ] = "auto",
    seconds: Annotated[float, typer.Option(help="Time of each step, at least.", min=1)] = 3.0,
    workers: Annotated[int, typer.Option(help="Threads that draw.", min=1, max=16)] = 2,
    save: Save = None,
    against: Against = None,
    plot: Plot = None,
    as_json: Json = False,
) -> None:
    """How many streams one card draws in time: 25 pictures a second each, p99 of the delay under 40 ms."""
    from engine.mouth.choose import AUTO, RUNTIMES, open_runtime
    from engine.mouth.gpu import find_gpu
    from trt_build.bench import opened
    from trt_build.capacity import Stage, Step, WallClock, capacity
    from trt_build.plot import plot_capacity

    folder = _mouth(model)
    on_cpu = runtime == "openvino"
    if on_cpu:
        console.print("This tries the measure on the processor; its figures are not those of a GPU.")
    else:
        find_gpu()
    names = tuple(name for name in RUNTIMES if name != "openvino") if runtime == AUTO else (runtime,)
    report = Report("bench gpu", save, against, plot, plot_capacity)
    with progress("warming up") as bar:
        absent: dict[str, str] = {}
        _, mouth = next(opened(names, lambda name: open_runtime(name, folder), absent))
        done: list[Step] = []

        def tell(step: Step) -> None:
            done.append(step)
            bar.describe(f"{step.streams} streams: p99 {step.delay_ms['p99']:.1f} ms")
            bar(len(done), 0)

        found = capacity(Stage(mouth), workers=workers, seconds=seconds, clock=WallClock(), tell=tell)
    head = {
        "model": folder.name,
        "runtime": mouth.name,
        "precision": mouth.precision,
        "gpu": None if on_cpu else find_gpu().name,
    }
    figures = head | found | {"absent": absent} | _cost(folder, gpu=not on_cpu)
    report.finish(figures, as_json, _gpu_tables)


@app.command("switch")
def bench_switch(
    avatars: Annotated[
        str | None, typer.Option(help="Presenters, such as ada,kai; all that are installed when not given.")
    ] = None,
    switches: Annotated[int, typer.Option(help="Changes to a presenter that was shown before.", min=1)] = 30,
    starts: Annotated[
        int, typer.Option(help="Servers to start, in each of which every presenter is new once.", min=1)
    ] = 5,
    runtime: Runtime = None,
    save: Save = None,
    against: Against = None,
    as_json: Json = False,
) -> None:
    """How soon another presenter is seen in a live session, and whether anything is lost meanwhile."""
    from engine.mouth.choose import AUTO
    from streaming.bench_server import server_command
    from streaming.bench_switch import bench_switch as measure

    names = tuple(filter(None, avatars.split(","))) if avatars else ()
    report = Report("bench switch", save, against)
    with console.status(f"{starts} servers, then {switches} changes"):
        figures = measure(switches, starts, names, partial(server_command, runtime=runtime or AUTO))
    report.finish(figures, as_json, lambda figures: show("Switch", figures, as_json=False))


@app.command("viewers")
def bench_viewers(
    viewers: Annotated[int, typer.Option(help="Viewers of one session.", min=2, max=200)] = 20,
    seconds: Annotated[float, typer.Option(help="How long to measure, with one and with all.", min=2)] = 15.0,
    codec: Annotated[str, typer.Option(help="h264 or vp8.")] = "h264",
    runtime: Runtime = None,
    save: Save = None,
    against: Against = None,
    as_json: Json = False,
) -> None:
    """What one session costs its server with one viewer and with many: pictures are encoded once."""
    from engine.mouth.choose import AUTO
    from streaming.bench_server import server_command
    from streaming.bench_viewers import bench_viewers as measure
    from streaming.encoding.base import read_codec

    wanted = read_codec(codec)
    report = Report("bench viewers", save, against)
    with console.status(f"1 viewer, then {viewers}, for {seconds:g} s each"):
        figures = measure(viewers, seconds, wanted, partial(server_command, runtime=runtime or AUTO))
    report.finish(figures, as_json, lambda figures: show("Viewers", figures, as_json=False))


def _region(text: str) -> "Region":
    from engine.mouth.region import Region

    try:
        return Region(*(int(edge) for edge in text.split(",")))
    except (ValueError, TypeError) as error:
        raise KouboError(
            f"--region {text!r} is no part of a picture; give left,top,right,bottom, such as 6,40,186,182."
        ) from error


def _mouth(model: str) -> Path:
    from engine.anchor.package import shipped_mouth

    return Path(model) if Path(model).is_dir() else shipped_mouth(model)


def _batches(text: str) -> tuple[int, ...]:
    from engine.mouth.batches import MAX_BATCH

    try:
        sizes = tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise KouboError(f"--batch {text} is no list of numbers; give one such as 1,2,4.") from error
    if not all(1 <= size <= MAX_BATCH for size in sizes):
        raise KouboError(f"--batch {text} is out of range; a call draws 1 to {MAX_BATCH} faces.")
    return sizes


def _cost(mouth: Path, *, gpu: bool = True, card: str | None = None) -> dict[str, Any]:
    """What the mouth costs and the limits of `card` or of this GPU, or why they are not known."""
    from engine.mouth.batches import LADDER
    from engine.mouth.gpu import find_gpu
    from trt_build.cost import mouth_cost, roofline

    try:
        cost = mouth_cost(mouth)
    except MissingToolError as error:
        return {"cost": None, "roofline": None, "no_roofline": str(error)}
    known = {"cost": asdict(cost), "roofline": None}
    if not gpu:
        return known | {"no_roofline": "A processor has no published peak for it."}
    try:
        name = card or find_gpu().name
    except MissingToolError as error:
        return known | {"no_roofline": str(error)}
    lines = roofline(cost.decoder, name, LADDER)
    if lines is None:
        return known | {"no_roofline": f"The peak of {name} is not in Koubo's table."}
    return known | {"card": name, "roofline": [asdict(line) | {"streams": line.streams} for line in lines]}


def _mouth_tables(figures: dict[str, Any]) -> None:
    table = Table(title=f"Live half of {figures['model']}: milliseconds a call")
    for name in ("runtime", "faces", "p50", "p95", "p99", "pictures/s", "first"):
        table.add_column(name, justify="left" if name == "runtime" else "right", no_wrap=True)
    for name, report in figures["runtimes"].items():
        for size, step in report["batches"].items():
            spent = [f"{value:.2f}" for value in step["ms"].values()]
            rate, first = f"{step['per_second']:,.1f}", f"{step['first_ms']:.1f}"
            table.add_row(f"{name} {report['precision']}", size, *spent, rate, first)
    Console().print(table)
    _notes(figures)


def _gpu_tables(figures: dict[str, Any]) -> None:
    where = figures["gpu"] or "the processor"
    table = Table(title=f"{figures['model']} on {where}, {figures['runtime']} {figures['precision']}")
    for name in ("streams", "p50", "p95", "p99 ms", "faces a call", ""):
        table.add_column(name, justify="left" if not name else "right")
    for step in figures["steps"]:
        spent = [f"{value:.1f}" for value in step["delay_ms"].values()]
        table.add_row(str(step["streams"]), *spent, str(step["mean_batch"]), step["failure"] or "in time")
    Console().print(table)
    Console().print(f"{figures['streams']} streams in time.", highlight=False)
    _notes(figures)


def _notes(figures: dict[str, Any]) -> None:
    out = Console(highlight=False, soft_wrap=True)
    cost = figures["cost"]
    if cost:
        live, anchor = cost["decoder"], cost["encoder"]
        out.print(
            f"A picture: {live['macs'] / 1e9:.2f} GMAC, weights {live['weight_bytes'] / 1e6:.1f} MB; "
            f"an anchor frame, once: {anchor['macs'] / 1e9:.2f} GMAC, keeps {cost['map_bytes'] / 1e6:.1f} MB."
        )
    if figures["roofline"]:
        least, most = figures["roofline"][0], figures["roofline"][-1]
        out.print(
            f"No program on an {figures['card']} beats {1000 * least['floor']:.1f} us for one face, "
            f"{1000 * most['floor']:.0f} us for {most['batch']}: {most['streams']:,} streams."
        )
    missing: dict[str, list[str]] = {}
    for name, reason in (figures["absent"] | {"roofline": figures.get("no_roofline")}).items():
        if reason:
            missing.setdefault(reason, []).append(name)
    for reason, names in missing.items():
        out.print(f"[dim]no {', '.join(names)}:[/] {escape(reason)}")
