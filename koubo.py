"""The `koubo` command. Each command imports its room of the house only when it runs."""

import sys
from typing import NoReturn

import typer
from rich.markup import escape

from commands import (
    avatar,
    bench,
    build,
    capacity,
    dataset,
    doctor,
    evaluate,
    export,
    quantise,
    render,
    serve,
    sign,
    studio,
    train,
)
from commands.terminal import console
from engine.errors import KouboError

_OWN = {"commands", "engine", "streaming", "training", "trt_build"}
"""A missing module of these is our fault, not the user's."""

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
app.command("export")(export.export)
app.command("build")(build.build)
app.command("capacity")(capacity.capacity)
app.command("doctor")(doctor.doctor)
app.command("quantise")(quantise.quantise)
app.command("render")(render.render)
app.command("sign")(sign.sign)
app.command("serve")(serve.serve)


def main() -> None:
    """Runs the command line; a user's error is one sentence and exit code 1."""
    try:
        app()
    except KouboError as error:
        complain(str(error))
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in _OWN:
            raise
        complain(
            f"This command needs the Python package {error.name}, which is not installed; "
            "`pip install 'koubo[train]'` brings what training and exporting need."
        )


def complain(sentence: str) -> NoReturn:
    """Tells a user's error and leaves."""
    console.print(f"[bold red]koubo:[/] {escape(sentence)}", highlight=False, soft_wrap=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
