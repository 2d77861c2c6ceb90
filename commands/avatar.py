"""`koubo avatar`: presenters on this machine."""

import json
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from commands.terminal import Json, progress
from engine.errors import KouboError

app = typer.Typer(help="Presenters on this machine.", no_args_is_help=True)


@app.command("list")
def avatar_list(as_json: Json = False) -> None:
    """Names of the presenters on this machine."""
    from engine.anchor.package import list_avatars

    names = list_avatars()
    typer.echo(json.dumps(names) if as_json else "\n".join(names))


@app.command("prepare")
def avatar_prepare(
    video: Annotated[Path, typer.Argument(help="A video of one person, mouth closed.")],
    name: Annotated[str, typer.Option(help="Name of the new presenter.")],
    output: Annotated[Path, typer.Option(help="Folder that will hold the package.")],
    mouth: Annotated[
        Path | None, typer.Option(help="Folder of the mouth (default: the shipped one).")
    ] = None,
    title: Annotated[str, typer.Option(help="Name to show.")] = "",
    title_zh: Annotated[str, typer.Option(help="Name to show in Chinese.")] = "",
    loop: Annotated[str, typer.Option(help="forward (the video loops by itself) or pingpong.")] = "pingpong",
    licence: Annotated[str, typer.Option(help="Licence of the picture.")] = "all rights reserved",
    matte: Annotated[
        Path | None, typer.Option(help="A grey video of the same length, white where the person is.")
    ] = None,
    consent: Annotated[str, typer.Option(help="What the person who is shown agreed to.")] = "",
    credits: Annotated[str, typer.Option(help="Who made it.")] = "",
) -> None:
    """Make a presenter's package from an anchor video."""
    from engine.anchor.card import Consent
    from engine.anchor.matte import MatteVideo
    from engine.anchor.mediapipe_tracker import MediaPipeTracker
    from engine.anchor.package import shipped_mouth
    from engine.anchor.prepare import AvatarFacts, prepare

    if loop not in ("forward", "pingpong"):
        raise KouboError(f"There is no loop called {loop}; choose forward or pingpong.")
    agreed = Consent("person", title or name, consent, date.today().isoformat()) if consent else None
    facts = AvatarFacts({"en": title or name, "zh": title_zh or title or name}, licence, agreed, credits)
    with progress("pictures") as bar, MediaPipeTracker() as tracker:
        folder = prepare(
            video, name, output, mouth or shipped_mouth("lite192"), tracker,
            loop="forward" if loop == "forward" else "pingpong", facts=facts,
            matter=MatteVideo(matte) if matte else None, progress=lambda done: bar(done, 0),
        )  # fmt: skip
    typer.echo(folder)
