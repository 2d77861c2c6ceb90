"""The server: the app factory with its lifespan, and `serve`."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress

import cv2
import uvicorn
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from engine.errors import KouboError
from engine.mouth.openvino_runtime import OpenVinoMouth
from streaming.api import avatars, pages, sessions, webrtc
from streaming.api.errors import add_error_handlers
from streaming.cast import Cast, EngineCast
from streaming.metrics import Metrics
from streaming.sessions import SessionTable, Stage
from streaming.settings import Settings
from streaming.voices.base import Voice
from streaming.voices.espeak import EspeakVoice
from streaming.webrtc.viewer import set_picture_bitrate

_LEAVE_S = 3
_LOOP = "asyncio" if sys.platform == "win32" else "uvloop"
_EXPOSED = ["Location", "ETag", "Link", "Accept-Patch", "Accept-Post", "Retry-After"]


def create_app(
    settings: Settings | None = None, cast: Cast | None = None, voice: Voice | None = None
) -> FastAPI:
    """The app. `cast` and `voice` stand in for the engine's avatars and espeak-ng where given."""
    settings = settings or Settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        set_picture_bitrate(settings.video_bitrate_kbps)
        metrics = Metrics()
        with ThreadPoolExecutor(settings.tick_workers, thread_name_prefix="tick") as workers:
            stage = Stage(
                settings,
                cast or EngineCast(OpenVinoMouth, settings.default_avatar),
                voice or EspeakVoice(settings.default_voice),
                workers,
                metrics,
            )
            table = SessionTable(stage)
            metrics.watch(lambda: len(table), lambda: table.viewers)
            app.state.stage, app.state.table = stage, table
            warming = asyncio.create_task(stage.cast.warm_up(), name="warm-up")
            try:
                yield
            finally:
                await table.close()
                warming.cancel()
                await asyncio.wait([warming])

    app = FastAPI(title="Koubo", lifespan=lifespan)
    add_error_handlers(app)
    if settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.allowed_origins),
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=_EXPOSED,
        )
    for module in (pages, avatars, sessions, webrtc):
        app.include_router(module.router)
    pages.add_static_files(app)
    return app


def serve(host: str = "127.0.0.1", port: int = 8080, settings: Settings | None = None) -> None:
    """Run the server until it is stopped. Raises KouboError when the address cannot be used."""
    run(bind(host, port), create_app(settings))


def run(listener: socket.socket, app: FastAPI) -> None:
    """Serve an app on a listening socket until SIGINT or SIGTERM."""
    cv2.setNumThreads(1)  # OpenCV's own threads would fight those of inference and encoding
    config = uvicorn.Config(
        app, loop=_LOOP, log_level="warning", timeout_graceful_shutdown=_LEAVE_S, server_header=False
    )
    with listener, suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])


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
