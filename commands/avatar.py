"""`koubo avatar`: presenters on this machine."""

import json

import typer

from commands import avatar_create
from commands.terminal import Json

app = typer.Typer(help="Presenters on this machine.", no_args_is_help=True)


@app.command("list")
def avatar_list(as_json: Json = False) -> None:
    """Names of the presenters on this machine."""
    from engine.anchor.package import list_avatars

    names = list_avatars()
    typer.echo(json.dumps(names) if as_json else "\n".join(names))


app.command("create")(avatar_create.create)
