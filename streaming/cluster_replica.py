"""One server of a cluster: the ordinary app on a port of its own, for the cluster's gateways alone."""

import asyncio
import hmac
import json
import logging
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import count

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from engine.errors import KouboError
from streaming.auth import Keys, refuse
from streaming.cast import Cast
from streaming.cluster_placement import Load, id_prefix
from streaming.cluster_settings import Plan
from streaming.drain import DrainingServer
from streaming.errors import Forbidden
from streaming.server import bind, create_app, draining_server
from streaming.settings import Settings

SECRET_HEADER = "x-koubo-cluster"
LINK = "/cluster/link"
"""A WebSocket on which a replica says how it does, at every change and every `BEAT_S`."""

LOAD_HEADER = "x-koubo-load"
"""The same with every answer to a new session, so that a gateway need not wait for the link."""

BEAT_S = 0.5
_LOOK_S = 0.05
_START_S = 120.0

logger = logging.getLogger(__name__)


def replica_settings(settings: Settings, plan: Plan) -> Settings:
    """The settings of a replica: tokens and limits for each address are the gateways' business."""
    many = 1_000_000
    return settings.model_copy(
        update={
            "max_sessions": plan.sessions,
            "drain_s": plan.drain_s,
            "operate_tokens": (),
            "watch_tokens": (),
            "allowed_origins": (),
            "sessions_per_minute": float(many),
            "sessions_at_once": many,
            "requests_at_once": many,
            "connections_at_once": many,
            "tls_cert": None,
            "tls_key": None,
        }
    )


def read_load(text: str) -> Load:
    """What a replica said. Raises ValueError, KeyError or TypeError for anything else."""
    said = json.loads(text)
    return Load(int(said["sessions"]), int(said["capacity"]), bool(said["open"]), int(said["number"]))


class Replica:
    """A server in a thread of its own. `name` is in its sessions' ids; `cast` stands in for the avatars.

    Raises KouboError when it does not start.
    """

    def __init__(
        self, name: str, settings: Settings, plan: Plan, host: str = "127.0.0.1", cast: Cast | None = None
    ) -> None:
        self.name = name
        settings = replica_settings(settings, plan)
        self._capacity = plan.sessions
        self._app = create_app(settings, cast, name=id_prefix(name))
        self._app.state.keys = Keys(settings, link_key=plan.link_key)
        self._listener = bind(host, 0)
        port = self._listener.getsockname()[1]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        guarded = GatewaysOnly(self._app, plan.secret.get_secret_value(), self.load)
        self._server: DrainingServer = draining_server(self._app, guarded, settings)
        self._thread = threading.Thread(target=self._serve, name=f"replica-{name}", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it serves."""
        return self._thread.is_alive()

    def load(self) -> Load:
        """How it does; all zero before it can serve."""
        state = self._app.state
        if not hasattr(state, "readiness"):
            return Load(0, self._capacity, open=False)
        ready = state.readiness.obstacle is None and not state.stage.drain.draining
        return Load(len(state.table), self._capacity, open=ready)

    @property
    def in_use(self) -> int:
        """Sessions that somebody uses, or did a moment ago."""
        state = self._app.state
        return state.table.in_use if hasattr(state, "table") else 0

    def close_door(self) -> None:
        """Take no new sessions; those that run go on. When none is used any more, it ends."""
        if hasattr(self._app.state, "stage"):
            self._app.state.stage.drain.begin()

    def hurry(self) -> None:
        """Wait for no session."""
        if hasattr(self._app.state, "stage"):
            self._app.state.stage.drain.hurry()

    async def until_ready(self) -> None:
        """Wait until sessions may come. Raises KouboError when it ends before, or takes two minutes."""
        try:
            async with asyncio.timeout(_START_S):
                while not self.load().open:
                    if not self.alive:
                        raise KouboError("A replica ended while it started; its log says why.")
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError as error:
            state = self._app.state
            why = state.readiness.obstacle if hasattr(state, "readiness") else "It does not serve yet."
            raise KouboError(f"A replica was not ready within two minutes: {why}") from error

    async def drain(self) -> None:
        """Take no new sessions, let those that run go on for the plan's time, then end."""
        self.close_door()
        if not hasattr(self._app.state, "stage"):
            self._server.should_exit = True
        await asyncio.to_thread(self._thread.join)

    async def stop(self) -> None:
        """End at once, in order."""
        self.hurry()
        await self.drain()

    def _serve(self) -> None:
        with self._listener:
            self._server.run(sockets=[self._listener])


class GatewaysOnly:
    """ASGI middleware: whoever does not show the cluster's secret gets 403; the link is answered here."""

    def __init__(self, app: ASGIApp, secret: str, load: Callable[[], Load]) -> None:
        self._app = app
        self._secret = secret.encode()
        self._load = load
        self._numbers = count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on, or refuse."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        shown = Headers(scope=scope).get(SECRET_HEADER, "").encode()
        if not hmac.compare_digest(shown, self._secret):
            await refuse(Forbidden("This port is for the gateways of its cluster."), scope, receive, send)
        elif scope["type"] == "websocket" and scope["path"] == LINK:
            await self._tell(WebSocket(scope, receive, send))
        elif scope["type"] == "http" and scope["method"] == "POST":
            await self._app(scope, receive, self._telling(send))
        else:
            await self._app(scope, receive, send)

    def _say(self) -> str:
        """How the replica does, as JSON; asked on its loop alone: numbers follow one another as facts do."""
        return json.dumps(asdict(replace(self._load(), number=next(self._numbers))))

    def _telling(self, send: Send) -> Send:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                said = (LOAD_HEADER.encode(), self._say().encode())
                message = {**message, "headers": [*message["headers"], said]}
            await send(message)

        return sending

    async def _tell(self, link: WebSocket) -> None:
        await link.accept()
        gone = asyncio.create_task(link.receive(), name="link-end")
        said: Load | None = None
        beats = 0
        try:
            while not gone.done():
                load = self._load()
                if load != said or beats * _LOOK_S >= BEAT_S:
                    said, beats = load, 0
                    await link.send_text(self._say())
                beats += 1
                await asyncio.wait([gone], timeout=_LOOK_S)
        except WebSocketDisconnect:
            pass
        finally:
            gone.cancel()
            await asyncio.wait([gone])
