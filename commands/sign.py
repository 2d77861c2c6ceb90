"""`koubo sign`: content credentials for MP4s that are finished."""

from pathlib import Path
from typing import Annotated

import typer

from commands.terminal import Config, progress
from engine.errors import KouboError


def sign(
    videos: Annotated[list[Path], typer.Argument(help="MP4s, such as recordings; they are replaced.")],
    certificate: Annotated[
        Path | None,
        typer.Option(help="PEM chain, the signer's first.", show_default="KOUBO_C2PA_CERTIFICATE"),
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="PEM key, not encrypted.", show_default="KOUBO_C2PA_KEY")
    ] = None,
    config: Config = None,
) -> None:
    """Sign MP4s with C2PA content credentials: made by Koubo, with a trained model."""
    from streaming.config_file import load_settings
    from streaming.credentials import mp4_signer

    signer = mp4_signer(load_settings(config, {"c2pa_certificate": certificate, "c2pa_key": key}))
    if signer is None:
        raise KouboError("Signing needs a certificate; give --certificate and --key.")
    with progress("videos") as bar:
        for number, video in enumerate(videos):
            bar(number, len(videos))
            signer.sign(video)
        bar(len(videos), len(videos))
    for video in videos:
        typer.echo(video)
