"""How much one client may ask for: bodies, requests at a time, connections, new sessions a minute."""

import asyncio
import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from ipaddress import IPv6Address, ip_address
from types import TracebackType
from typing import Any, TypeVar

from starlette.datastructures import Headers
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streaming.auth import HasRoutes, refuse
from streaming.errors import BadRequest, Refusal, TooLarge, TooMany, TooSlow
from streaming.settings import Settings

MAX_JSON_DEPTH = 32
BODY_S = 10.0
"""A body that has not come whole by then is refused."""

_REMEMBERED = 10_000
"""Addresses whose rate is remembered; of more, the longest unseen is forgotten."""


def client_key(host: str | None) -> str:
    """Whom limits count: an IPv4 address, or the /64 of an IPv6 one, which is what one customer is given."""
    try:
        address = ip_address((host or "").partition("%")[0])
    except ValueError:
        return host or "unknown"
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(IPv6Address(int(address) >> 64 << 64)) if not address.is_loopback else str(address)
    return str(address)


def is_loopback(host: str | None) -> bool:
    """Whether this is an address of this machine alone."""
    try:
        return ip_address(client_key(host)).is_loopback
    except ValueError:
        return False


class TokenBucket:
    """Lets `burst` through at once, and `per_s` a second in the long run. Time is told, not read."""

    def __init__(self, per_s: float, burst: int, now: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._level = float(burst)
        self._at = now

    def take(self, now: float) -> float:
        """Take one; returns 0, or the seconds until there is one again (nothing is taken then)."""
        self._level = min(self._burst, self._level + max(0.0, now - self._at) * self._per_s)
        self._at = max(self._at, now)
        # A hair less than one counts: a client that waits as long as it was told must not be refused.
        if self._level >= 1 - 1e-9:
            self._level -= 1
            return 0.0
        return (1 - self._level) / self._per_s


class RateLimit:
    """A token bucket for each client."""

    def __init__(self, per_s: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def take(self, client: str | None, sentence: str) -> None:
        """Count one. Raises TooMany with `sentence`, and Retry-After in whole seconds."""
        now = self._clock()
        key = client_key(client)
        bucket = self._buckets.setdefault(key, TokenBucket(self._per_s, self._burst, now))
        self._buckets.move_to_end(key)
        if len(self._buckets) > _REMEMBERED:
            self._buckets.popitem(last=False)
        if wait := bucket.take(now):
            raise TooMany(sentence, {"Retry-After": str(math.ceil(wait))})


class InHand:
    """Counts what each client holds at a time, up to `most`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._held.total()

    def hold(self, client: str | None) -> "_Held | None":
        """One more, until the context is left; None when the client holds all it may."""
        key = client_key(client)
        if self._held[key] >= self._most:
            return None
        self._held[key] += 1
        return _Held(self._held, key)


class _Held:
    def __init__(self, held: Counter[str], key: str) -> None:
        self._held, self._key = held, key

    def release(self) -> None:
        """Give it back."""
        self._held[self._key] -= 1
        if not self._held[self._key]:
            del self._held[self._key]

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


_Endpoint = TypeVar("_Endpoint", bound=Callable[..., Any])


def long_body(endpoint: _Endpoint) -> _Endpoint:
    """Declare that a route reads a long body as it comes, and bounds its size and its time itself."""
    endpoint.__koubo_long_body__ = True  # type: ignore[attr-defined]
    return endpoint


class Limits:
    """ASGI middleware: a bounded body, JSON of bounded depth, and a bounded number of requests at a time.

    Routes of `routers` that declare a `long_body` are given it unread.
    """

    def __init__(self, app: ASGIApp, settings: Settings, routers: Sequence[HasRoutes] = ()) -> None:
        self._app = app
        self._routers = routers
        self._max_body = settings.max_body_bytes
        self._at_once = InHand(settings.requests_at_once)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on, or answer 400, 413 or 429."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        client = scope.get("client")
        held = self._at_once.hold(client[0] if client else None)
        if held is None:
            sentence = "Too many requests of this address are under way; wait for some to end."
            await refuse(TooMany(sentence, {"Retry-After": "1"}), scope, receive, send)
            return
        with held:
            try:
                if "\0" in scope["path"]:
                    # No file system takes it, and not every route may think of it.
                    raise BadRequest("The address holds a NUL character.")
                if scope["type"] == "http" and not self._takes_long(scope):
                    receive = await self._bounded(scope, receive)
            except Refusal as refusal:
                await refuse(refusal, scope, receive, send)
                return
            await self._app(scope, receive, send)

    def _takes_long(self, scope: Scope) -> bool:
        for router in self._routers:
            for route in router.routes:
                match, child = route.matches(scope)
                if match is Match.FULL:
                    return hasattr(child.get("endpoint"), "__koubo_long_body__")
        return False

    async def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        """Reads the body whole, so that a slow sender ties up no route."""
        headers = Headers(scope=scope)
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > self._max_body:
            raise TooLarge(self._too_large)
        body = bytearray()
        message: Message = {"more_body": True}
        try:
            async with asyncio.timeout(BODY_S):
                while message.get("more_body", False):
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return _replaying(message, receive)
                    body += message.get("body", b"")
                    if len(body) > self._max_body:
                        raise TooLarge(self._too_large)
        except TimeoutError as error:
            raise TooSlow(f"The body did not come within {BODY_S:.0f} seconds.") from error
        if "json" in headers.get("content-type", "") and json_depth(body) > MAX_JSON_DEPTH:
            raise BadRequest(f"The body's JSON is nested deeper than {MAX_JSON_DEPTH} levels.")
        return _replaying({"type": "http.request", "body": bytes(body), "more_body": False}, receive)

    @property
    def _too_large(self) -> str:
        return f"The body is larger than {self._max_body} bytes; no request here is."


def _replaying(first: Message, receive: Receive) -> Receive:
    waiting = [first]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay


def json_depth(text: bytes | bytearray) -> int:
    """How deep brackets and braces nest, those in strings left out; never less than a JSON parser finds."""
    depth = deepest = 0
    quoted = escaped = False
    for byte in text:
        if quoted:
            quoted = escaped or byte != 0x22
            escaped = not escaped and byte == 0x5C
        elif byte == 0x22:
            quoted = True
        elif byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest
