"""`koubo export`: a trained mouth to the files that every runtime takes."""

from pathlib import Path
from typing import Annotated

import typer

from commands.terminal import Json, console, output_folder, show
from engine.errors import KouboError


def export(
    output: Annotated[Path, typer.Option(help="Folder for the two ONNX files and model.json.")],
    checkpoint: Annotated[
        Path | None, typer.Option(help="Last checkpoint of a training, such as together.safetensors.")
    ] = None,
    avatar: Annotated[
        str | None, typer.Option(help="Or the mouth of a presenter: its name or folder, or a mouth's folder.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Or a preset with random weights, for benchmarks.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Turn a trained mouth into the files that the engine runs, and check that they draw the same."""
    if sum(source is not None for source in (checkpoint, avatar, preset)) != 1:
        raise KouboError("Give one of --checkpoint, to export what was trained, --avatar or --preset.")
    folder = output_folder(output)
    with console.status("exporting"):
        if checkpoint:
            from trt_build.export import export as run

            found = run(checkpoint, folder)
        elif preset:
            from trt_build.export import export_untrained

            found = export_untrained(preset, folder)
        else:
            from trt_build.renew import renew

            found = renew(_mouth_of(str(avatar)), folder)
    differences = {
        f"{kind} input": {"largest": round(far.largest, 5), "mean": round(far.mean, 7)}
        for kind, far in found.items()
    }
    show("Difference from the original, pictures in [-1, 1]", {"mouth": str(folder), **differences}, as_json)


def _mouth_of(name: str) -> Path:
    from engine.anchor.card import CARD, read_card
    from engine.anchor.package import find_avatar
    from engine.mouth.sheet import MOUTH_SHEET

    folder = Path(name)
    if (folder / MOUTH_SHEET).is_file() and not (folder / CARD).is_file():
        return folder
    package = find_avatar(name)
    return package / read_card(package).mouth
