"""`koubo build`: TensorRT engines for this machine's GPU."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from commands.terminal import progress, say, told
from engine.errors import KouboError, MissingToolError
from engine.mouth.batches import PROFILES

if TYPE_CHECKING:
    from trt_build.build import Built
    from trt_build.plan import PartPlan

_MIB = 1 << 20


def build(
    avatar: Annotated[
        str | None, typer.Option(help="The mouth of this presenter, by name or folder.")
    ] = None,
    mouth: Annotated[Path | None, typer.Option(help="The mouth in this folder.")] = None,
    model: Annotated[str | None, typer.Option(help="A shipped mouth (default: every one).")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell and check what would be built; needs no GPU.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Build anew what is there already.")] = False,
    level: Annotated[
        int | None, typer.Option(help="How hard to optimise (TensorRT: 3); builds anew.", min=0, max=5)
    ] = None,
) -> None:
    """Build TensorRT engines of mouths for this machine's GPU, once; engines that fit are kept."""
    folders = _mouths(avatar, mouth, model)
    # Whatever TensorRT complains of is part of an error's sentence or of no interest.
    logging.getLogger("engine.mouth.tensorrt").setLevel(logging.CRITICAL)
    if dry_run:
        _dry_run(folders)
        return
    from engine.mouth.gpu import find_gpu
    from trt_build.build import build as run
    from trt_build.build import tensorrt_to_build

    gpu, version = find_gpu(), tensorrt_to_build().__version__
    for folder in folders:
        with progress(folder.name, percent=True) as bar:
            built = run(folder, gpu, force=force, level=level, progress=told(bar))
        _show_built(f"{folder.name} on {gpu.name}, TensorRT {version}", built)


def _mouths(avatar: str | None, mouth: Path | None, model: str | None) -> list[Path]:
    if sum(given is not None for given in (avatar, mouth, model)) > 1:
        raise KouboError("Give one of --avatar, --mouth and --model, or none for every shipped mouth.")
    from engine.anchor.package import Avatar, avatar_roots, find_avatar, shipped_mouth

    if avatar is not None:
        return [Avatar.load(find_avatar(avatar)).mouth]
    if model is not None:
        return [shipped_mouth(model)]
    if mouth is not None:
        return [mouth]
    return sorted(sheet.parent for sheet in (avatar_roots()[0] / "mouths").glob("*/model.json"))


def _dry_run(folders: list[Path]) -> None:
    from engine.mouth.gpu import find_gpu
    from trt_build.build import parse, tensorrt_to_build
    from trt_build.plan import plan, refuse

    gpu, trt, missing = None, None, []
    try:
        gpu = find_gpu()
    except MissingToolError as error:
        missing.append(str(error))
    try:
        trt = tensorrt_to_build()
    except MissingToolError as error:
        missing.append(str(error))
    for folder in folders:
        parts = plan(folder, gpu=gpu, tensorrt=trt and str(trt.__version__))
        for part in parts:
            _show_plan(folder.name, part)
        for part in parts:
            refuse(folder, part.part, part.problems)
        by = "by Koubo's rules"
        if trt is not None:
            try:
                parse(folder, trt)
                by = f"by the parser of TensorRT {trt.__version__}"
            except MissingToolError as error:
                missing.append(str(error))
        typer.echo(f"{folder.name}: checked {by}")
    for sentence in dict.fromkeys(missing):
        say(sentence)


def _show_plan(name: str, part: "PartPlan") -> None:
    key = part.key
    operators = ", ".join(f"{count} {operator}" for operator, count in part.operators.items())
    table = Table(title=f"{name}: {part.part}", show_header=False)
    for row in (
        ("inputs", "\n".join(map(str, part.inputs))),
        ("outputs", "\n".join(map(str, part.outputs))),
        ("profiles", "\n".join(f"n from {least} to {most}, best {best}" for least, best, most in PROFILES)),
        ("operators", f"{sum(part.operators.values())}: {operators}"),
        ("opset", str(part.opset)),
        ("weights", f"{part.weights:,} in {part.weight_bytes / _MIB:.1f} MiB"),
        ("model", key.model),
        ("GPU", f"{key.gpu}, compute capability {key.capability}"),
        ("driver", key.driver),
        ("TensorRT", key.tensorrt),
        ("engine", part.state),
    ):
        table.add_row(*row)
    Console().print(table)


def _show_built(title: str, built: list["Built"]) -> None:
    table = Table(title=title)
    for column in ("part", "engine", "MiB", "layers", "types", "memory, MiB"):
        table.add_column(column)
    for part in built:
        report = part.report
        table.add_row(
            part.part,
            "kept" if part.why is None else f"built in {part.seconds:.0f} s",
            f"{part.bytes / _MIB:.1f}",
            str(report.layers) if report else "unknown",
            ", ".join(f"{count} {kind}" for kind, count in report.types.items()) if report else "unknown",
            " ".join(f"{size / _MIB:.0f}" for size in report.profile_memory) if report else "unknown",
        )
    Console().print(table)
    for part in built:
        for sentence in filter(None, (part.why, *part.notes)):
            say(sentence)
