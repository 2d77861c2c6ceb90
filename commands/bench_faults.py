"""`koubo bench faults`: what goes wrong, what follows from it, and whether that is good enough."""

import asyncio
from collections import defaultdict
from functools import partial
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from commands.bench_report import Against, Report, Save
from commands.terminal import Json, Runtime, console
from engine.errors import KouboError


def bench_faults(
    only: Annotated[
        str | None, typer.Option(help="Some of mouth, network, voice, sessions, viewers, slow, memory.")
    ] = None,
    runtime: Runtime = None,
    save: Save = None,
    against: Against = None,
    as_json: Json = False,
) -> None:
    """Bring faults about on real servers: a killed worker, a bad network, bad voices, crowds, no memory."""
    from engine.mouth.choose import AUTO
    from streaming.bench_fault_crowd import sessions_at_once, slow_clients, viewers_at_once
    from streaming.bench_fault_memory import out_of_memory
    from streaming.bench_fault_mouth import mouth_killed
    from streaming.bench_fault_network import bad_network
    from streaming.bench_fault_voice import bad_voice
    from streaming.bench_faults import Fault, Figure
    from streaming.bench_server import server_command

    faults: dict[str, Fault] = {
        "mouth": mouth_killed,
        "network": bad_network,
        "voice": bad_voice,
        "sessions": sessions_at_once,
        "viewers": viewers_at_once,
        "slow": slow_clients,
        "memory": out_of_memory,
    }
    names = only.split(",") if only else list(faults)
    for name in names:
        if name not in faults:
            raise KouboError(f"There is no fault {name!r}; choose among {', '.join(faults)}.")
    report = Report("bench faults", save, against)
    command = partial(server_command, runtime=runtime or AUTO)
    figures: list[Figure] = []
    for name in names:
        with console.status(name):
            figures += asyncio.run(faults[name](command))
    missed = sum(one.met is False for one in figures)
    told: dict[str, dict[str, Any]] = defaultdict(dict)
    for one in figures:
        told[one.fault][one.name] = {
            "value": one.value,
            "unit": one.unit,
            "target": one.target,
            "met": one.met,
        }
    report.finish({"missed": missed, "faults": dict(told)}, as_json, _table)


def _table(figures: dict[str, Any]) -> None:
    for fault, found in figures["faults"].items():
        table = Table(title=fault, title_justify="left")
        for name in ("what", "figure", "target", ""):
            table.add_column(name, justify="right" if name == "figure" else "left")
        for what, one in found.items():
            mark = {True: "[green]met[/]", False: "[red]missed[/]", None: ""}[one["met"]]
            table.add_row(what, f"{one['value']:.4g} {one['unit']}".rstrip(), one["target"], mark)
        Console().print(table)
