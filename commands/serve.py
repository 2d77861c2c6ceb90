"""`koubo serve`: the server, with settings from flags, the environment and a file."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from commands.terminal import Config, Runtime, say
from engine.errors import KouboError


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on.", min=0, max=65535, show_default="8080")
    ] = None,
    runtime: Runtime = None,
    config: Config = None,
    more: Annotated[
        list[str] | None, typer.Option("--set", help="Any other setting, as NAME=VALUE; may be repeated.")
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(help="PEM certificate chain; then it speaks HTTPS.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM private key of --tls-cert.")] = None,
) -> None:
    """Serve presenters to browsers: console at /, player at /player."""
    from streaming.config_file import load_settings, parse_pairs
    from streaming.connections import Certificate
    from streaming.logs import set_up
    from streaming.server import serve as run

    flags = {"host": host, "port": port, "runtime": runtime, "tls_cert": tls_cert, "tls_key": tls_key}
    settings = load_settings(config, {**flags, **parse_pairs(more or [])})
    chain, key = settings.tls_cert, settings.tls_key
    if (chain is None) != (key is None):
        raise KouboError("--tls-cert and --tls-key go together; give both or neither.")
    certificate = Certificate(chain, key) if chain and key else None
    log = set_up(settings.log_format, settings.log_level)
    try:
        tell = say if settings.log_format == "text" else logging.getLogger("koubo").info
        run(settings.host, settings.port, settings, tell=tell, certificate=certificate)
    finally:
        log.close()
