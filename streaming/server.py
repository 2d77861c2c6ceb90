"""The server: the app factory with its lifespan, and `serve`."""

import asyncio
import logging
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import cv2
import uvicorn
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from engine.anchor.archive import clear_imports
from engine.anchor.package import own_avatars
from engine.array_store import ArrayStore
from engine.errors import KouboError
from engine.memory import share_heaps
from engine.mouth.choose import AUTO, RUNTIMES, choose
from engine.mouth.gpu import find_gpu
from engine.mouth.runtime import MouthRuntime
from engine.paths import cache_folder
from streaming.api import audio, avatar_jobs, avatars, outlets, pages, sessions, webrtc
from streaming.api.errors import add_error_handlers
from streaming.cast import Cast, EngineCast
from streaming.connections import Certificate, bounded_protocol, check_certificate
from streaming.drain import Drain, DrainingServer
from streaming.drawing import Workers
from streaming.encoding.choose import choose_encoders
from streaming.labels import label_style
from streaming.logs import SessionInLog
from streaming.metrics import Metrics
from streaming.mouth_process import open_remote
from streaming.readiness import Readiness
from streaming.refusals import RefusalsCounted
from streaming.safety import HEADERS, HSTS, LocalOnly, add_safety, refuse_open_door
from streaming.session_table import SessionTable
from streaming.sessions import Stage
from streaming.settings import Settings
from streaming.voices.base import Voice
from streaming.voices.registry import open_voices
from streaming.workshop import Workshop

logger = logging.getLogger(__name__)

_MODULES = (pages, avatar_jobs, avatars, sessions, audio, outlets, webrtc)
"""The last takes any name of one part."""

ROUTERS = [module.router for module in _MODULES]
_LEAVE_S = 3
_SWITCH_S = 0.0001
"""How long a thread may keep Python from others: the event loop hands on what threads have made."""
_WEBSOCKET_BYTES = 1 << 20
"""Largest message of a WebSocket: more than ten seconds of sound at 48 kHz."""

_WEBSOCKET_PATIENCE_S = 120
"""An answer to a ping queues behind sound that is not read yet."""

_LOOP = "asyncio" if sys.platform == "win32" else "uvloop"
EXPOSED_HEADERS = ["Location", "ETag", "Link", "Accept-Patch", "Accept-Post", "Retry-After"]


def create_app(
    settings: Settings | None = None,
    cast: Cast | None = None,
    voice: Voice | None = None,
    metrics: Metrics | None = None,
    workshop: Workshop | None = None,
    name: str = "",
) -> FastAPI:
    """The app. `cast`, `voice` and `workshop` stand in for the engine's avatars, espeak-ng and the making of
    presenters where given. `name` stands before the ids of its sessions.
    """
    settings = settings or Settings()
    encoders = choose_encoders(settings.h264_encoder)
    logger.info(encoders.reason)
    label_style(settings)  # told now rather than by the first session
    metrics = metrics or Metrics()

    voices = open_voices(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with Workers(settings.tick_workers, metrics) as workers:
            stage = Stage(
                settings,
                cast or open_cast(settings, metrics),
                voice or voices,
                workers,
                metrics,
                Drain(settings.drain_s),
                encoders.open,
                name,
            )
            table = SessionTable(stage)
            metrics.watch_drain(lambda: stage.drain.draining)
            metrics.watch(
                lambda: len(table), lambda: table.viewers, lambda: table.encoders, lambda: table.outlets
            )
            app.state.stage, app.state.table = stage, table
            app.state.workshop = workshop or Workshop(settings)
            await asyncio.to_thread(app.state.workshop.room.clear_leftovers)
            await asyncio.to_thread(clear_imports, own_avatars())
            app.state.readiness = Readiness(stage.cast)
            warming = asyncio.create_task(app.state.readiness.run(), name="warm-up")
            try:
                yield
            finally:
                await app.state.workshop.close()
                await table.close()
                await voices.close()
                warming.cancel()
                await asyncio.wait([warming])

    app = FastAPI(title="Koubo", lifespan=lifespan)
    add_error_handlers(app)
    add_safety(app, settings, ROUTERS)
    if settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.allowed_origins),
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=EXPOSED_HEADERS,
        )
    app.add_middleware(RefusalsCounted, rejected=metrics.rejected)
    app.add_middleware(SessionInLog)
    for router in ROUTERS:
        app.include_router(router)
    pages.add_static_files(app)
    return app


def open_cast(settings: Settings, metrics: Metrics, tell: Callable[[str], None] = logger.info) -> EngineCast:
    """The avatars that are installed here. `tell` hears what draws their mouths; KouboError as there."""
    opener = mouth_opener(settings.runtime, tell, apart=settings.mouth_process)
    store = ArrayStore(cache_folder() / "avatars", settings.avatar_store_mb)
    return EngineCast(opener, settings.default_avatar, metrics.mouth, settings.avatar_cache_mb, store)


def mouth_opener(
    runtime: str, tell: Callable[[str], None] = logger.info, *, apart: bool = False
) -> Callable[[Path], MouthRuntime]:
    """Opens mouths with `runtime`, "auto" for the best one here; builds TensorRT engines that are missing.

    `apart`: each in a process of its own. `tell` hears what was chosen and why. Raises KouboError for an
    unknown runtime.
    """
    if runtime not in (AUTO, *RUNTIMES):
        raise KouboError(f"There is no runtime {runtime!r}; choose {', '.join((AUTO, *RUNTIMES))}.")

    def open_mouth(folder: Path) -> MouthRuntime:
        if apart:
            remote, sentence = open_remote(folder, runtime)
            tell(f"{sentence} It is drawn by a process of its own.")
            return remote
        choice = choose(folder, runtime, build=_build, tell=tell)
        tell(choice.sentence)
        return choice.runtime

    return open_mouth


def _build(mouth: Path) -> None:
    from trt_build.build import build

    build(mouth, find_gpu())


def serve(
    host: str = "127.0.0.1",
    port: int = 8080,
    settings: Settings | None = None,
    tell: Callable[[str], None] = logger.info,
    certificate: Certificate | None = None,
) -> None:
    """Run the server until it is stopped; `tell` hears where it is and what draws the mouth.

    Raises KouboError when the address, the certificate or the runtime cannot be used, and when the address is
    not of this machine alone while there are no tokens.
    """
    settings = settings or Settings()
    if certificate:
        check_certificate(certificate)
    metrics = Metrics()
    cast = open_cast(settings, metrics, tell)
    listener = bind(host, port)
    with ExitStack() as undo:
        undo.callback(listener.close)
        app = create_app(settings, cast, metrics=metrics)
        refuse_open_door(listener, app.state.keys)
        undo.pop_all()
    shown = f"[{host}]" if ":" in host else host
    tell(f"Koubo is at {'https' if certificate else 'http'}://{shown}:{listener.getsockname()[1]}")
    run(listener, app, settings, certificate)


def run(
    listener: socket.socket,
    app: FastAPI,
    settings: Settings | None = None,
    certificate: Certificate | None = None,
) -> None:
    """Serve an app on a listening socket until SIGINT, or until SIGTERM and the end of its sessions.

    With a certificate it speaks TLS. An app without tokens answers this machine only, and raises KouboError
    when the socket is open to others.
    """
    settings = settings or Settings()
    refuse_open_door(listener, app.state.keys)
    guarded = LocalOnly(app, settings.allowed_origins) if app.state.keys.open else app
    with listener:
        draining_server(app, guarded, settings, certificate).run(sockets=[listener])


def draining_server(
    app: FastAPI, guarded: ASGIApp, settings: Settings, certificate: Certificate | None = None
) -> DrainingServer:
    """What serves an app, `guarded` by whatever stands before it, and waits for its sessions at the end."""
    share_heaps()
    cv2.setNumThreads(1)  # OpenCV's own threads would fight those of inference and encoding
    # Of Python's lock: a tick takes it some dozen times, and would wait 5 ms each time a thread computes.
    sys.setswitchinterval(_SWITCH_S)
    config = uvicorn.Config(
        guarded,
        http=bounded_protocol(settings.connections_at_once),
        loop=_LOOP,
        log_config=None,
        timeout_graceful_shutdown=_LEAVE_S,
        server_header=False,
        headers=[*HEADERS, *([HSTS] if certificate else [])],
        ssl_certfile=certificate.chain if certificate else None,
        ssl_keyfile=certificate.key if certificate else None,
        ws_max_size=_WEBSOCKET_BYTES,
        ws_ping_timeout=_WEBSOCKET_PATIENCE_S,
        ws_per_message_deflate=False,  # it is sound
    )
    return DrainingServer(config, lambda: _drained(app))


def _drained(app: FastAPI) -> tuple[Drain, SessionTable] | None:
    if not hasattr(app.state, "stage"):
        return None
    return app.state.stage.drain, app.state.table


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises KouboError with what to do when the address is taken or not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except (OSError, OverflowError) as error:
        listener.close()
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise KouboError(
            f"Cannot listen on {host}:{port} ({reason.lower()}); stop what uses it or choose another port."
        ) from error
    return listener
