"""Who may do what: bearer tokens of two roles, and signed links to watch one session for a while."""

import hashlib
import hmac
import re
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qsl, urlencode

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.errors import KouboError
from streaming.errors import Forbidden, Refusal, Unauthorized
from streaming.settings import Settings

SUBPROTOCOL = "koubo"
"""What a browser's WebSocket asks for, beside "koubo.token.<token>", since it cannot send headers."""

_TOKEN_PROTOCOL = "koubo.token."
_TOKEN = re.compile(r"[A-Za-z0-9._~-]{16,}")
"""What fits unescaped into a header, a URL and the name of a WebSocket subprotocol."""

_REALM = 'Bearer realm="koubo"'


class Role(IntEnum):
    """What a request may do; each role may all that the ones below it may."""

    ANYONE = 0
    WATCH = 1
    OPERATE = 2


Need = Role | Callable[[Mapping[str, Any]], Role]
"""The role that a route needs, or a function that tells it from the path's parameters."""

_Endpoint = TypeVar("_Endpoint", bound=Callable[..., Any])


def needs(need: Need) -> Callable[[_Endpoint], _Endpoint]:
    """Declare what a route needs; stands below the route's own decorator. Undeclared, it is OPERATE."""

    def declare(endpoint: _Endpoint) -> _Endpoint:
        endpoint.__koubo_needs__ = need  # type: ignore[attr-defined]
        return endpoint

    return declare


def declared(endpoint: object) -> Need | None:
    """What `needs` declared, None where nothing was."""
    need: Need | None = getattr(endpoint, "__koubo_needs__", None)
    return need


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token allows; `session` is the only session it is good for, None for all."""

    role: Role
    session: str | None = None


class Keys:
    """The tokens of a server. Without any, it is open: everyone may everything.

    Raises KouboError for a token that is too short or has characters that do not fit everywhere, and for
    watch tokens without one to operate. `clock` gives Unix time in seconds. `link_key` signs links to watch;
    servers that share it take each other's.
    """

    def __init__(
        self, settings: Settings, clock: Callable[[], float] = time.time, link_key: bytes | None = None
    ) -> None:
        self._operate = _digests(settings.operate_tokens)
        self._watch = _digests(settings.watch_tokens)
        if self._watch and not self._operate:
            raise KouboError(
                "There are tokens to watch but none to operate; set KOUBO_OPERATE_TOKENS as well."
            )
        self._longest_s = settings.watch_link_max_s
        self._clock = clock
        # Sessions do not outlive the process, so links need not either.
        self._key = link_key or secrets.token_bytes(32)

    @property
    def open(self) -> bool:
        """Whether no token is needed."""
        return not self._operate

    def grant(self, token: str) -> Grant | None:
        """What a token allows, None for an unknown or expired one. Takes as long for any token."""
        digest = _digest(token)
        operate = _among(digest, self._operate)
        watch = _among(digest, self._watch)
        link = self._read_link(token)
        if operate:
            return Grant(Role.OPERATE)
        return Grant(Role.WATCH) if watch else link

    def watch_link(self, session: str, seconds: int) -> tuple[str, int]:
        """A token to watch one session, and when it expires (Unix time, s; `watch_link_max_s` at most)."""
        expires = int(self._clock()) + min(seconds, self._longest_s)
        return f"{session}.{expires}.{self._sign(session, str(expires))}", expires

    def _read_link(self, token: str) -> Grant | None:
        session, _, rest = token.partition(".")
        expires, _, signature = rest.partition(".")
        right = hmac.compare_digest(self._sign(session, expires).encode(), signature.encode())
        # The digits are ours once the signature is.
        return Grant(Role.WATCH, session) if right and self._clock() < int(expires) else None

    def _sign(self, session: str, expires: str) -> str:
        text = f"watch.{session}.{expires}".encode()
        return urlsafe_b64encode(hmac.digest(self._key, text, "sha256")).rstrip(b"=").decode()


def _digests(tokens: Sequence[SecretStr]) -> tuple[bytes, ...]:
    for token in tokens:
        if not _TOKEN.fullmatch(token.get_secret_value()):
            raise KouboError(
                "A token is at least 16 characters, of letters, digits and . _ ~ - only; "
                "`openssl rand -hex 24` makes a good one."
            )
    return tuple(_digest(token.get_secret_value()) for token in tokens)


def _digest(token: str) -> bytes:
    """Digests are of one length, so that comparing them tells nothing of a token's length."""
    return hashlib.sha256(token.encode()).digest()


def _among(digest: bytes, known: Iterable[bytes]) -> bool:
    """Compares with every one, whether or not one has matched."""
    found = False
    for one in known:
        found |= hmac.compare_digest(digest, one)
    return found


class HasRoutes(Protocol):
    """A router, for what it says of its routes."""

    @property
    def routes(self) -> Sequence[BaseRoute]:
        """Its routes, their paths whole."""
        ...


class Guard:
    """ASGI middleware that lets a request through only with a token for what its route needs.

    It stands before anything of the body is read. `routers` are asked for the route of a request, `others`
    maps the beginnings of paths that belong to no router to roles; whatever is not found needs OPERATE, so a
    forgotten declaration shuts a door rather than opening one.
    """

    def __init__(
        self, app: ASGIApp, keys: Keys, routers: Sequence[HasRoutes], others: Mapping[str, Role]
    ) -> None:
        self._app = app
        self._keys = keys
        self._routers = routers
        self._others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check, then hand on or answer 401 or 403."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        token, in_query = _take_token(scope)
        if scope["type"] == "websocket":
            send = _choosing_subprotocol(scope, send)
        try:
            if not self._keys.open:
                self._check(scope, token, in_query=in_query)
        except Refusal as refusal:
            await refuse(refusal, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _check(self, scope: Scope, token: str | None, *, in_query: bool) -> None:
        need, session = self._needed(scope)
        if need is Role.ANYONE:
            return
        if token is None:
            raise Unauthorized(
                "This needs a token; send it as Authorization: Bearer.", {"WWW-Authenticate": _REALM}
            )
        grant = self._keys.grant(token)
        if grant is None or (in_query and grant.role is Role.OPERATE):
            # A URL is kept in histories and logs: no place for the key to everything.
            sentence = (
                "The token is unknown or has expired; ask for a new one."
                if grant is None
                else "A token in the address may only watch; send this one as Authorization: Bearer."
            )
            raise Unauthorized(sentence, {"WWW-Authenticate": f'{_REALM}, error="invalid_token"'})
        if grant.role < need or grant.session not in (None, session):
            sentence = (
                "This token may only watch; operating needs an operator's token."
                if grant.role < need
                else "This token is good for another session only."
            )
            raise Forbidden(sentence, {"WWW-Authenticate": f'{_REALM}, error="insufficient_scope"'})

    def _needed(self, scope: Scope) -> tuple[Role, str | None]:
        """The role, and the session that the path names."""
        partial = False
        for router in self._routers:
            for route in router.routes:
                match, child = route.matches(scope)
                if match is Match.FULL:
                    params: Mapping[str, Any] = child.get("path_params", {})
                    need = declared(child.get("endpoint"))
                    role = Role.OPERATE if need is None else need if isinstance(need, Role) else need(params)
                    return role, params.get("session_id")
                partial |= match is Match.PARTIAL
        path: str = scope["path"]
        for start, role in self._others.items():
            if path == start or path.startswith(f"{start.rstrip('/')}/"):
                return role, None
        # A known path by a method that it does not take: the refusal tells nothing.
        return (Role.ANYONE if partial else Role.OPERATE), None


def _take_token(scope: Scope) -> tuple[str | None, bool]:
    """The token that a request brings, and whether it came in the query.

    A token in the query is taken out of it, in place, so that no log and no later part sees it.
    """
    pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    in_query = [value for name, value in pairs if name == "token"]
    if in_query:
        scope["query_string"] = urlencode([pair for pair in pairs if pair[0] != "token"]).encode()
    headers = Headers(scope=scope)
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and given.strip():
        return given.strip(), False
    for protocol in _subprotocols(scope):
        if protocol.startswith(_TOKEN_PROTOCOL):
            return protocol.removeprefix(_TOKEN_PROTOCOL), False
    return (in_query[0], True) if in_query else (None, False)


def _subprotocols(scope: Scope) -> list[str]:
    return list(scope.get("subprotocols", ()))


def _choosing_subprotocol(scope: Scope, send: Send) -> Send:
    """Answers a client that offered subprotocols with `koubo`: browsers give up when none is chosen."""
    if SUBPROTOCOL not in _subprotocols(scope):
        return send

    async def choose(message: Message) -> None:
        if message["type"] == "websocket.accept" and not message.get("subprotocol"):
            message = {**message, "subprotocol": SUBPROTOCOL}
        await send(message)

    return choose


async def refuse(refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with a refusal outside of any route; a WebSocket is refused before it opens."""
    if scope["type"] == "http" or "websocket.http.response" in scope.get("extensions", {}):
        response = JSONResponse({"detail": str(refusal)}, refusal.status, refusal.headers)
        await response(scope, receive, send)
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": str(refusal)})
