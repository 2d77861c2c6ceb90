"""What every request passes before it reaches a route, and when the server may be reached from elsewhere."""

import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from engine.errors import KouboError
from streaming.auth import Guard, HasRoutes, Keys, Role, refuse
from streaming.errors import Forbidden
from streaming.limits import Limits, RateLimit, is_loopback
from streaming.settings import Settings

OPEN_PATHS = {
    "/static": Role.ANYONE,
    "/openapi.json": Role.ANYONE,
    "/docs": Role.ANYONE,
    "/redoc": Role.ANYONE,
}
"""What belongs to no router: the files of the pages, and the description of the API."""

HEADERS = [
    ("X-Content-Type-Options", "nosniff"),
    # The player's address may hold a token.
    ("Referrer-Policy", "no-referrer"),
]
HSTS = ("Strict-Transport-Security", "max-age=31536000")
"""With TLS: browsers never again speak to this server without (RFC 6797)."""


def add_safety(app: FastAPI, settings: Settings, routers: Sequence[HasRoutes]) -> None:
    """Put tokens and limits before all routes. Raises KouboError for unusable tokens.

    Tokens come first: of a request that may not be made, nothing is read.
    """
    app.state.keys = Keys(settings)
    app.state.session_rate = RateLimit(settings.sessions_per_minute / 60, settings.sessions_at_once)
    app.add_middleware(Limits, settings=settings, routers=routers)
    app.add_middleware(Guard, keys=app.state.keys, routers=routers, others=OPEN_PATHS)


def refuse_open_door(listener: socket.socket, keys: Keys) -> None:
    """Raise KouboError when a server without tokens listens where others than this machine reach it."""
    host, port = listener.getsockname()[:2]
    if keys.open and not is_loopback(host):
        raise KouboError(
            f"Listening on {host}:{port} lets everybody in; set KOUBO_OPERATE_TOKENS, or listen on 127.0.0.1."
        )


class LocalOnly:
    """ASGI middleware for a server without tokens: it answers this machine by its own names only.

    A browser on this machine carries foreign pages, too. The Host header tells a page that has made its own
    name point here (DNS rebinding), the Origin header one that calls from another site; a reverse proxy that
    would open the server to the world is told so by the same means.
    """

    def __init__(self, app: ASGIApp, allowed_origins: Sequence[str]) -> None:
        self._app = app
        self._allowed_origins = allowed_origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on, or answer 403."""
        if scope["type"] == "lifespan" or self._welcome(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        sentence = "A server without tokens serves its own machine only; set KOUBO_OPERATE_TOKENS to open it."
        await refuse(Forbidden(sentence), scope, receive, send)

    def _welcome(self, headers: Headers) -> bool:
        host, origin = headers.get("host", ""), headers.get("origin")
        if not _names_this_machine(host):
            return False
        if origin is None or "*" in self._allowed_origins or origin in self._allowed_origins:
            return True
        return urlsplit(origin).netloc == host if origin.isascii() else False


def _names_this_machine(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return name == "localhost" or name.endswith(".localhost") or is_loopback(name)
