"""`koubo train`: train a mouth."""

from pathlib import Path
from typing import Annotated

import typer

from commands.terminal import progress, sounds, told

app = typer.Typer(help="Train a mouth.", no_args_is_help=True)


@app.command("generator")
def train_generator(
    data: Annotated[Path, typer.Option(help="Folder of rendered pairs (koubo studio dataset).")],
    speech: Annotated[Path, typer.Option(help="Folder of English recordings.")],
    output: Annotated[
        Path, typer.Option(help="Folder for checkpoints and curves; an old run there resumes.")
    ],
    preset: Annotated[str, typer.Option(help="Size of the network.")] = "lite192",
    ear_minutes: Annotated[float, typer.Option(help="Step B: minutes for the ear.", min=0)] = 14.0,
    picture_minutes: Annotated[float, typer.Option(help="Step A: minutes for the picture.", min=0)] = 45.0,
    joint_minutes: Annotated[float, typer.Option(help="Step C: minutes for both together.", min=0)] = 10.0,
    emphasise: Annotated[list[str] | None, typer.Option(help="A character to draw more often.")] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
) -> None:
    """Train a lip generator by the three-step curriculum."""
    from training.curriculum import Minutes, train

    minutes = Minutes(ear_minutes, picture_minutes, joint_minutes)
    with progress("", percent=True) as bar:
        checkpoint = train(
            preset, data, sounds(speech), output, minutes,
            emphasise=emphasise or (), seed=seed, tell=told(bar),
        )  # fmt: skip
    typer.echo(checkpoint)
