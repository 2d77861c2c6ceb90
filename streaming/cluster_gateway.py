"""The door of a cluster: the HTTP API and the pages of one server, in front of many.

A gateway checks who asks and how much, places new sessions, and passes everything else on to the replica that
holds the session. It keeps nothing that another gateway would need: where a session is stands in its id.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streaming.auth import Guard, Keys, refuse
from streaming.cluster_links import Directory, Links, Remote
from streaming.cluster_metrics import merged
from streaming.cluster_placement import Placement, holder
from streaming.cluster_proxy import answer, ask, forward_http, forward_websocket, gone
from streaming.cluster_replica import LOAD_HEADER, read_load
from streaming.cluster_settings import Plan
from streaming.errors import Busy, Gone, NotFound, Refusal
from streaming.limits import Limits, RateLimit
from streaming.outlets.hls import FOLDER
from streaming.safety import HEADERS, OPEN_PATHS, LocalOnly
from streaming.server import EXPOSED_HEADERS, ROUTERS
from streaming.settings import Settings

_SESSIONS = "/v1/sessions"
_RETRY_S = "10"
_LOOK_S = 0.1

logger = logging.getLogger(__name__)


class Gateway:
    """ASGI app; `directory` knows where the replicas are. Inside its lifespan it follows them."""

    def __init__(self, settings: Settings, plan: Plan, directory: Directory) -> None:
        self.placement = Placement(patience_s=plan.wait_s)
        self._places: dict[object, asyncio.Future[str]] = {}
        secret = plan.secret.get_secret_value()
        self.links = Links(secrets.token_hex(4), directory, self.placement, secret, self._hand_out)
        self._wait_s = plan.wait_s
        self._rate = RateLimit(settings.sessions_per_minute / 60, settings.sessions_at_once)

    @asynccontextmanager
    async def lifespan(self, app: Starlette | None = None) -> AsyncIterator[None]:
        """Follow the replicas meanwhile."""
        tasks = [
            asyncio.create_task(self.links.run(), name="links"),
            asyncio.create_task(self._lose_patience(), name="patience"),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, place or pass on."""
        try:
            await self._route(scope, receive, send)
        except Refusal as refusal:
            if isinstance(refusal, Gone) and scope["type"] == "http":
                await _problem(refusal)(scope, receive, send)
            else:
                await refuse(refusal, scope, receive, send)

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if scope["type"] == "websocket":
            await forward_websocket(await self._holder(path), scope, receive, send)
        elif path == _SESSIONS and scope["method"] == "POST":
            client = scope.get("client")
            self._rate.take(
                client[0] if client else None,
                "This address opens sessions too fast; wait as long as Retry-After says.",
            )
            await self._open(scope, receive, send)
        elif path.startswith(f"{_SESSIONS}/"):
            await forward_http(await self._holder(path), scope, receive, send)
        elif path == "/healthz":
            await JSONResponse({"status": "ok"})(scope, receive, send)
        elif path == "/readyz":
            await self._ready(scope, receive, send)
        elif path == "/metrics":
            page = await self.metrics()
            media_type = "text/plain; version=0.0.4; charset=utf-8"
            await Response(page, media_type=media_type)(scope, receive, send)
        elif path.startswith(f"/{FOLDER}/"):
            await self._search(scope, receive, send)
        else:
            await forward_http(self._any(), scope, receive, send)

    async def _holder(self, path: str) -> Remote:
        """The replica of the session in a path. Raises NotFound, or Gone where the replica is lost."""
        session_id = path.removeprefix(f"{_SESSIONS}/").partition("/")[0]
        name = holder(session_id) if path.startswith(f"{_SESSIONS}/") else None
        if name is None:
            raise NotFound("There is no such session; it may have ended.")
        remote = self.links.get(name) or await self.links.find(name)
        if remote is None:
            raise gone()
        return remote

    def _any(self) -> Remote:
        """Always the same replica while it lasts: what is made or taken in there is found again."""
        name = self.placement.steady()
        remote = self.links.get(name) if name else None
        if remote is None:
            raise Busy("No machine of this cluster is ready yet; try again soon.", {"Retry-After": "5"})
        return remote

    async def _ready(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not any(load.open for load in self.placement.loads.values()):
            raise Busy("No machine of this cluster takes sessions yet.", {"Retry-After": "5"})
        await JSONResponse({"status": "ready"})(scope, receive, send)

    async def _search(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A file of a playlist lies on the machine that plays it; its name says nothing of where that is."""
        found = await asyncio.gather(
            *(ask(remote, scope, b"") for remote in self.links.remotes), return_exceptions=True
        )
        responses = [one for one in found if isinstance(one, httpx.Response)]
        best = min(responses, key=lambda one: one.status_code, default=None)
        if best is None:
            raise NotFound("There is no such playlist or segment; it may have ended.")
        await answer(best, send)

    async def _open(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Open a session where there is room; a replica that refuses after all is not asked again."""
        body = b""
        more = True
        while more:  # bounded by `Limits`, and here already
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
        refused: frozenset[str] = frozenset()
        loop = asyncio.get_running_loop()
        until = loop.time() + self._wait_s
        while True:
            name = await self._place(refused)
            try:
                remote = self.links.get(name)
                if remote is not None:
                    response = await ask(remote, scope, body)
                    load = read_load(response.headers[LOAD_HEADER])
                    self.placement.heard(name, load, loop.time())
                    if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                        await answer(response, send)
                        return
                    if (not load.open or load.sessions >= load.capacity) and loop.time() < until:
                        continue  # another gateway was first; once there is room again, it may be this one's
            except (Gone, Busy) as error:
                logger.info("replica %s could not open a session: %s", name, error)
            finally:
                self.placement.settle(name)
            refused |= {name}

    async def _place(self, avoid: frozenset[str]) -> str:
        """A replica with room for one more session. Raises Busy when there is none in time."""
        loop = asyncio.get_running_loop()
        ticket = object()
        if not self.placement.ask(ticket, loop.time(), avoid):
            raise _full()
        place: asyncio.Future[str] = loop.create_future()
        self._places[ticket] = place
        try:
            self._hand_out()
            name = await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.result():
                self.placement.settle(place.result())
            raise
        finally:
            del self._places[ticket]
            self.placement.forget(ticket)
        if not name:
            raise _full()
        return name

    def _hand_out(self) -> None:
        """Give waiting requests the room that there is."""
        for ticket, name in self.placement.grant(asyncio.get_running_loop().time()):
            place = self._places[ticket]
            if place.done():  # cancelled; whoever waited does not come
                self.placement.settle(name)
            else:
                place.set_result(name)

    async def _lose_patience(self) -> None:
        while True:
            for ticket in self.placement.expired(asyncio.get_running_loop().time()):
                place = self._places[ticket]
                if not place.done():
                    place.set_result("")
            await asyncio.sleep(_LOOK_S)

    async def metrics(self) -> bytes:
        """The figures of the gateway, and those of every replica."""
        registry = CollectorRegistry()
        loads = self.placement.loads.values()
        for name, meaning, value in (
            ("koubo_cluster_replicas", "Replicas that this gateway reaches.", len(loads)),
            ("koubo_cluster_places", "Sessions that they can have.", sum(load.capacity for load in loads)),
            ("koubo_cluster_sessions", "Sessions that they have.", sum(load.sessions for load in loads)),
            ("koubo_cluster_waiting", "New sessions that wait for a place.", self.placement.waiting),
            ("koubo_cluster_lost_replicas", "Replicas that went, so far.", self.links.losses),
        ):
            Gauge(name, meaning, registry=registry).set(value)
        remotes = self.links.remotes
        pages = await asyncio.gather(*(_page(remote) for remote in remotes))
        named = {remote.name: page for remote, page in zip(remotes, pages, strict=True) if page}
        return generate_latest(registry) + merged(named)


async def _page(remote: Remote) -> str:
    with suppress(httpx.TransportError):
        response = await remote.client.get("/metrics", timeout=2.0)
        if response.status_code == httpx.codes.OK:
            return response.text
    return ""


def _full() -> Busy:
    sentence = "All sessions of this cluster are taken; end one or try again later."
    return Busy(sentence, {"Retry-After": _RETRY_S})


def _problem(refusal: Refusal) -> JSONResponse:
    """RFC 9457; `detail` is where every other error has it."""
    body = {"type": "about:blank", "title": "Gone", "status": refusal.status, "detail": str(refusal)}
    return JSONResponse(body, refusal.status, refusal.headers, media_type="application/problem+json")


def gateway_app(settings: Settings, plan: Plan, directory: Directory) -> ASGIApp:
    """A gateway behind tokens, limits and headers, as one server has them. Raises KouboError for tokens."""
    gateway = Gateway(settings, plan, directory)
    keys = Keys(settings, link_key=plan.link_key)
    app: ASGIApp = Limits(gateway, settings, ROUTERS)
    app = Guard(app, keys, ROUTERS, OPEN_PATHS)
    if settings.allowed_origins:
        app = CORSMiddleware(
            app,
            allow_origins=settings.allowed_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=EXPOSED_HEADERS,
        )
    if keys.open:
        app = LocalOnly(app, settings.allowed_origins)
    return _Front(app, gateway)


class _Front:
    """ASGI middleware: lifespan, headers of every answer, and no address that means another one."""

    def __init__(self, app: ASGIApp, gateway: Gateway) -> None:
        self.gateway = gateway
        self._app = app
        self._lifespan = Starlette(lifespan=gateway.lifespan)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on, or refuse."""
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        send = _with_headers(send)
        path: str = scope["path"]
        # What is checked here must be what the replica reads: no client may send it up and down the path.
        if {".", ".."} & set(path.split("/")) or "\\" in path or path.startswith("/cluster"):
            await refuse(NotFound("There is nothing at this address."), scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            names = {name.lower() for name, _ in message["headers"]}
            more = [(n.lower().encode(), v.encode()) for n, v in HEADERS if n.lower().encode() not in names]
            message = {**message, "headers": [*message["headers"], *more]}
        await send(message)

    return sending
