"""`koubo serve`: the server, with settings from flags, the environment and a file."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands.terminal import Config, Runtime, say
from engine.errors import KouboError

if TYPE_CHECKING:
    from streaming.cluster_settings import Plan


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
    ray: Annotated[bool, typer.Option("--ray", help="Run on a cluster, by Ray Serve.")] = False,
    ray_address: Annotated[
        str | None,
        typer.Option(help="Ray cluster to join: auto or HOST:PORT.", show_default="start one here"),
    ] = None,
    replicas: Annotated[str, typer.Option(help="Replicas on Ray, as MIN:MAX or one number.")] = "1",
    sessions_per_replica: Annotated[int, typer.Option(help="Sessions of a replica.", min=1)] = 4,
    replica_cpus: Annotated[float, typer.Option(help="Cores of a replica.", min=0)] = 2.0,
    replica_gpus: Annotated[float, typer.Option(help="GPUs of a replica; 0.25 for a quarter.", min=0)] = 0.0,
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
        if ray or ray_address:
            if certificate:
                raise KouboError("A cluster speaks HTTP; let the proxy in front of it hold the certificate.")
            from streaming.cluster import serve_on_ray

            plan = _plan(replicas, sessions_per_replica, replica_cpus, replica_gpus)
            serve_on_ray(settings, plan, ray_address, tell)
            return
        run(settings.host, settings.port, settings, tell=tell, certificate=certificate)
    finally:
        log.close()


def _plan(replicas: str, sessions: int, cpus: float, gpus: float) -> "Plan":
    """What the options say of a cluster. Raises KouboError."""
    from pydantic import ValidationError

    from streaming.cluster_settings import Plan

    least, _, most = replicas.partition(":")
    try:
        return Plan.model_validate(
            {"least": least, "most": most or least, "sessions": sessions, "cpus": cpus, "gpus": gpus}
        )
    except ValidationError as error:
        raise KouboError(
            f"--replicas is MIN:MAX with 1 <= MIN <= MAX, such as 2:8; not {replicas}."
        ) from error
