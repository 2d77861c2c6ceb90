"""The `koubo` command. Each command imports its room of the house only when it runs."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from commands import avatar, bench, dataset, evaluate, studio, train
from commands.terminal import console, progress
from engine.errors import KouboError

app = typer.Typer(help="A presenter on screen says what you say or type.", no_args_is_help=True)
for name, group in (
    ("avatar", avatar.app),
    ("dataset", dataset.app),
    ("studio", studio.app),
    ("train", train.app),
    ("evaluate", evaluate.app),
    ("bench", bench.app),
):
    app.add_typer(group, name=name)


def main() -> None:
    """Runs the command line; a user's error is one sentence and exit code 1."""
    try:
        app()
    except KouboError as error:
        console.print(f"[bold red]koubo:[/] {error}", highlight=False, soft_wrap=True)
        sys.exit(1)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65535)] = 8080,
) -> None:
    """Serve presenters to browsers: console at /, player at /player."""
    from streaming.server import serve as run

    run(host, port)


@app.command()
def render(
    avatar: Annotated[str, typer.Option(help="Name or folder of a presenter.")],
    audio: Annotated[Path, typer.Option(help="Any sound file.")],
    output: Annotated[Path, typer.Option(help="The MP4 to write.")],
) -> None:
    """Write a video of a presenter saying a sound file."""
    from engine.anchor.package import Avatar, find_avatar
    from engine.mouth.openvino_runtime import OpenVinoMouth
    from engine.render import render as run

    package = Avatar.load(find_avatar(avatar))
    with progress("pictures") as bar:
        run(package, audio, output, mouth=OpenVinoMouth(package.mouth), progress=bar)
    typer.echo(output)


@app.command("export")
def export(
    output: Annotated[Path, typer.Option(help="Folder for the two ONNX files and model.json.")],
    checkpoint: Annotated[
        Path | None, typer.Option(help="Last checkpoint of a training, such as together.safetensors.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Or a preset with random weights, for benchmarks.")
    ] = None,
) -> None:
    """Turn a trained mouth into the files that the engine runs."""
    from trt_build.export import export as run
    from trt_build.export import export_untrained

    if (checkpoint is None) == (preset is None):
        raise KouboError("Give either --checkpoint, to export what was trained, or --preset.")
    typer.echo(run(checkpoint, output) if checkpoint else export_untrained(str(preset), output))


if __name__ == "__main__":
    main()
