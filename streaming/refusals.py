"""Counts refused requests, whoever refused them: a route, a limit, the guard at the door."""

import re
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streaming.errors import Refusal
from streaming.logs import PROBES

_OTHERS = {405: "method_not_allowed", 500: "fault"}
"""Reasons of answers that no Refusal makes."""


def _reasons() -> dict[int, str]:
    """The name of each status that is refused with: Refusal classes in snake case."""
    named = {
        kind.status: re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()
        for kind in Refusal.__subclasses__()
    }
    return {**named, **_OTHERS}


class RefusalsCounted:
    """ASGI middleware that calls `rejected(reason)` for each answer from 400 on, probes left out.

    A WebSocket counts as refused when it is closed before it was accepted. Reasons are few and fixed:
    "busy" (503), "too_many" (429), "not_found" (404), ..., "websocket", and "other" for what has no name.
    """

    def __init__(self, app: ASGIApp, rejected: Callable[[str], None]) -> None:
        self._app = app
        self._rejected = rejected
        self._reasons = _reasons()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request, and look at what is answered."""
        if scope["type"] == "lifespan" or scope.get("path") in PROBES:
            await self._app(scope, receive, send)
            return
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            if not begun:
                begun = True
                self._look(message)
            await send(message)

        await self._app(scope, receive, watched)

    def _look(self, message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            if message["status"] >= 400:
                self._rejected(self._reasons.get(message["status"], "other"))
        elif message["type"] == "websocket.close":
            self._rejected("websocket")
