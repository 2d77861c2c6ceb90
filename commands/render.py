"""`koubo render`: a video of a presenter, labelled as the pictures of the server are."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands.terminal import Config, Runtime, progress, say

if TYPE_CHECKING:
    from engine.render import Cue


def render(
    avatar: Annotated[str, typer.Option(help="Name or folder of a presenter.")],
    audio: Annotated[Path, typer.Option(help="Any sound file.")],
    output: Annotated[Path, typer.Option(help="The MP4 to write.")],
    clip: Annotated[
        list[str] | None,
        typer.Option(
            help="A clip to show and from when on, such as wave@3.5 (seconds); may be given several times.",
            metavar="NAME@SECONDS",
        ),
    ] = None,
    runtime: Runtime = None,
    label: Annotated[
        str | None,
        typer.Option(help="AI label in the picture: zh, en, both or off.", show_default="zh"),
    ] = None,
    label_corner: Annotated[
        str | None,
        typer.Option(
            help="top-left, top-right, bottom-left or bottom-right.",
            show_default="top-left",
        ),
    ] = None,
    label_size: Annotated[
        float | None,
        typer.Option(
            help="Height of its words, as a share of the picture's shorter side: 0.05 to 0.15.",
            show_default="0.055",
        ),
    ] = None,
    label_opacity: Annotated[
        float | None,
        typer.Option(help="Of the pill behind its words: 0.5 to 1.", show_default="0.55"),
    ] = None,
    label_off_reason: Annotated[
        str | None, typer.Option(help="Why the video may go without a label, with --label off.")
    ] = None,
    config: Config = None,
) -> None:
    """Write a video of a presenter saying a sound file."""
    from secrets import token_hex

    from engine.anchor.package import Avatar, find_avatar
    from engine.mouth.choose import choose
    from engine.render import render as run
    from streaming.config_file import load_settings
    from streaming.credentials import mp4_signer
    from streaming.labels import aigc_metadata, label_style

    flags = {
        "runtime": runtime,
        "label": label,
        "label_corner": label_corner,
        "label_size": label_size,
        "label_opacity": label_opacity,
        "label_off_reason": label_off_reason,
    }
    cues = [_cue(text) for text in clip or []]
    settings = load_settings(config, flags)
    style, signer = label_style(settings), mp4_signer(settings)
    package = Avatar.load(find_avatar(avatar))
    mouth = choose(package.mouth, settings.runtime, tell=say).runtime
    metadata = aigc_metadata(settings, token_hex(16))
    with progress("pictures") as bar:
        run(package, audio, output, mouth=mouth, cues=cues, label=style, metadata=metadata, progress=bar)
    if signer is not None:
        signer.sign(output)
    typer.echo(output)


def _cue(text: str) -> "Cue":
    from engine.errors import KouboError
    from engine.render import Cue

    name, _, seconds = text.rpartition("@")
    try:
        return Cue(name, float(seconds))
    except ValueError as error:
        raise KouboError(f"--clip {text} is no clip and time; give them such as wave@3.5.") from error
