"""`koubo capacity`: machines, bandwidth and cost for many sessions and viewers, from measured figures."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from commands.terminal import Json, say, show
from engine.errors import KouboError

if TYPE_CHECKING:
    from streaming.fleet import Measured

_COLUMNS = (
    "sessions", "viewers", "by", "mouth on", "a machine", "machines", "SFU nodes", "egress Gbit/s",
    "machines $/h", "SFU $/h", "egress $/h", "all $/h", "¢/viewer",
)  # fmt: skip
_WIDTH = 150


def capacity(
    sessions: Annotated[int, typer.Option(help="Sessions at once.", min=1)] = 10_000,
    viewers: Annotated[int, typer.Option(help="Viewers at once, of all sessions.", min=0)] = 1_000_000,
    bench: Annotated[
        Path | None, typer.Option(help="A run of `koubo bench live --save`; gives the measured figures.")
    ] = None,
    session_ms: Annotated[
        float | None, typer.Option(help="core-ms of a session's tick, drawn and encoded.")
    ] = None,
    mouth_ms: Annotated[
        float | None, typer.Option(help="the mouth's part of it, which a GPU takes over.")
    ] = None,
    viewer_ms: Annotated[float | None, typer.Option(help="core-ms of sending a tick to one viewer.")] = None,
    kbps: Annotated[float | None, typer.Option(help="kbit/s of one viewer.")] = None,
    busy: Annotated[
        float | None, typer.Option(help="share of the cores in use while p99 is in time.")
    ] = None,
    cores: Annotated[int, typer.Option(help="Assumed: cores of a machine.")] = 32,
    core_hour: Annotated[float, typer.Option(help="Assumed: $ of a core-hour.")] = 0.04,
    gpu_hour: Annotated[float, typer.Option(help="Assumed: $ of a GPU-hour, without its cores.")] = 3.5,
    gpu_streams: Annotated[
        float, typer.Option(help="Streams of one card at most; the default is the H200's roofline, computed.")
    ] = 26_144,
    gpu_share: Annotated[float, typer.Option(help="Assumed: share of that a card really reaches.")] = 0.25,
    spare: Annotated[
        float, typer.Option(help="Assumed: machines in reserve, as a share; one at least.")
    ] = 0.1,
    sfu_viewers: Annotated[int, typer.Option(help="Assumed: viewers of one SFU node.")] = 2_000,
    sfu_hour: Annotated[float, typer.Option(help="Assumed: $ of an SFU node's hour.")] = 0.64,
    sfu_gbps: Annotated[float, typer.Option(help="Assumed: Gbit/s that an SFU node sends.")] = 10.0,
    egress_gb: Annotated[float, typer.Option(help="Assumed: $ of a gigabyte to viewers.")] = 0.02,
    plot: Annotated[
        Path | None, typer.Option(help="Draw machines and cost by sessions into this PNG.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Machines, bandwidth and cost of many sessions and viewers, from measured figures and assumed prices."""
    from streaming.fleet import Assumed, Spread, break_even, fleet
    from trt_build.plot import need_matplotlib

    if plot:
        need_matplotlib()
    given = {
        "session_ms": session_ms, "mouth_ms": mouth_ms, "viewer_ms": viewer_ms, "kbps": kbps, "busy": busy,
    }  # fmt: skip
    measured = _measured(bench, given)
    assumed = Assumed(
        cores=cores, gpu_cores=cores, core_hour=core_hour, gpu_hour=gpu_hour,
        gpu_pictures=gpu_streams * 25, gpu_share=gpu_share, spare=spare, sfu_viewers=sfu_viewers,
        sfu_hour=sfu_hour, sfu_gbps=sfu_gbps, egress_gb=egress_gb,
    )  # fmt: skip
    ways: tuple[Spread, ...] = ("sfu", "cdn")
    steps = sorted({n for n in (10, 100, 1000) if n < sessions} | {sessions})
    fleets = [
        fleet(number, round(viewers * number / sessions), spread, measured, assumed, gpu=gpu)
        for number in steps
        for spread in ways
        for gpu in (False, True)
    ]
    figures: dict[str, Any] = {
        "inputs": asdict(measured),
        "sources": {name: _source(name, value) for name, value in given.items()},
        "assumed": asdict(assumed),
        "fleets": [asdict(one) | {"hour": one.hour} for one in fleets],
        "gpu_pays_from_sessions": break_even(measured, assumed),
    }
    if plot:
        from trt_build.plot_fleet import plot_fleet

        plot_fleet(measured, assumed, plot, sessions)
    if as_json:
        show("", figures, as_json=True)
    else:
        _tables(figures)


def _measured(bench: Path | None, given: dict[str, float | None]) -> "Measured":
    """From a saved run, with what is given in its place. Raises KouboError where something is missing."""
    from streaming.fleet import Measured, read_bench
    from trt_build.runs import read_run

    values = {name: value for name, value in given.items() if value is not None}
    if bench:
        run, busy = read_run(bench, "bench live"), values.get("busy")
        found = asdict(read_bench(run.figures, run.machine["cores"], values.get("mouth_ms"), busy))
        return Measured(**(found | values))
    missing = [name for name in given if name not in values]
    if missing:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in missing)
        raise KouboError(f"Give --bench with a run of `koubo bench live --save`, or {options}.")
    return Measured(**values)


def _source(name: str, given: float | None) -> str:
    """Where a figure is from: only what a saved run told is called measured."""
    if given is not None:
        return "given"
    return "assumed" if name == "mouth_ms" else "measured"


def _tables(figures: dict[str, Any]) -> None:
    inputs = Table(title="What it is computed from", box=SIMPLE_HEAD, show_header=False)
    for name, value in figures["inputs"].items():
        inputs.add_row(figures["sources"][name], name, f"{value:,.6g}")
    for name, value in figures["assumed"].items():
        inputs.add_row("assumed", name, f"{value:,.6g}")
    table = Table(title="An hour of it", box=SIMPLE_HEAD)
    for column in _COLUMNS:
        table.add_column(column, justify="right")
    for one in figures["fleets"]:
        share = 100 * one["hour"] / one["viewers"] if one["viewers"] else 0.0
        table.add_row(
            f"{one['sessions']:,}", f"{one['viewers']:,}", one["spread"].upper(),
            "GPU" if one["gpu"] else "cores", f"{one['per_machine']:,}", f"{one['machines']:,}",
            f"{one['sfu_nodes']:,}", f"{one['egress_gbps']:,.1f}", f"{one['machines_hour']:,.0f}",
            f"{one['sfu_hour']:,.0f}", f"{one['egress_hour']:,.0f}", f"{one['hour']:,.0f}", f"{share:.2f}",
        )  # fmt: skip
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    console.print(inputs, table)
    pays = figures["gpu_pays_from_sessions"]
    say(
        "Cores alone cost less than GPUs at any number of sessions."
        if pays is None
        else f"GPUs cost no more than cores alone from {pays:,} sessions on."
    )
