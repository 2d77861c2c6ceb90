"""One request or WebSocket, passed on to the replica that holds its session."""

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from starlette.types import Message, Receive, Scope, Send
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from streaming.auth import refuse
from streaming.cluster_links import Remote
from streaming.cluster_replica import LOAD_HEADER, SECRET_HEADER
from streaming.errors import Busy, Gone, Refusal

GONE = "The machine that held this session is gone; open a new session."
GONE_CODE = 4410
"""A WebSocket is closed with this when its replica is lost: 4000 and the HTTP status, as other refusals."""

_LOST_S = 1.0
"""A request that failed knows within this time whether its replica is lost."""

_HOP = {
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}
"""Headers of one connection (RFC 9110 section 7.6.1)."""

_NOT_UP = _HOP | {"authorization", "cookie", "expect", SECRET_HEADER}
"""The gateway has checked who asks; replicas are never told a token."""

_ABNORMAL = 1006
_CODES = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011})

_NOT_DOWN = _HOP | {"date", "server", LOAD_HEADER}

_Answer = TypeVar("_Answer")


def gone() -> Gone:
    """What is answered for sessions of a lost replica."""
    return Gone(GONE)


def target(scope: Scope) -> str:
    """Path and query, as they were sent."""
    path: str = scope["path"]
    raw = scope.get("raw_path") or quote(path, safe="/%:@!$&'()*+,;=~-._").encode()
    query: bytes = scope.get("query_string", b"")
    return (raw + (b"?" + query if query else b"")).decode("latin-1")


async def forward_http(remote: Remote, scope: Scope, receive: Receive, send: Send) -> None:
    """Pass a request on, and its answer back, both as they come.

    Raises Gone when the replica is lost before it answers, Busy when it does not answer though it lives.
    """
    started = False

    async def relay() -> None:
        nonlocal started
        request = remote.client.build_request(
            scope["method"],
            _address(remote, scope),
            headers=_passed(_decoded(scope["headers"]), _NOT_UP),
            content=_body(receive) if _has_body(scope) else None,
        )
        response = await remote.client.send(request, stream=True)
        try:
            started = True
            await send(_start(response))
            async for chunk in response.aiter_raw():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await response.aclose()

    try:
        await while_there(remote, relay())
    except (Gone, httpx.TransportError) as error:
        if started:
            return  # the answer stays cut off, which its reader sees
        raise await _why(remote, error) from error


async def ask(remote: Remote, scope: Scope, body: bytes) -> httpx.Response:
    """Pass on a request whose body is here, and read its answer whole. Raises as `forward_http`."""

    async def work() -> httpx.Response:
        headers = _passed(_decoded(scope["headers"]), _NOT_UP)
        url = _address(remote, scope)
        return await remote.client.request(scope["method"], url, headers=headers, content=body)

    try:
        return await while_there(remote, work())
    except (Gone, httpx.TransportError) as error:
        raise await _why(remote, error) from error


async def answer(response: httpx.Response, send: Send) -> None:
    """Send an answer that was read whole."""
    await send(_start(response))
    await send({"type": "http.response.body", "body": response.content})


def _start(response: httpx.Response) -> Message:
    headers = _passed(response.headers.multi_items(), _NOT_DOWN)
    return {
        "type": "http.response.start",
        "status": response.status_code,
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers],
    }


async def forward_websocket(remote: Remote, scope: Scope, receive: Receive, send: Send) -> None:
    """Pass a WebSocket on until either side ends it; 4410 tells the client that the replica is lost."""
    try:
        upstream = await while_there(remote, _open(remote, target(scope)))
    except InvalidStatus as error:
        await refuse(_refusal(error), scope, receive, send)
        return
    except (Gone, OSError, TimeoutError, WebSocketException) as error:
        await refuse(await _why(remote, error), scope, receive, send)
        return
    try:
        await receive()  # "websocket.connect"
        await send({"type": "websocket.accept"})
        close = await _pump(remote, upstream, receive, send)
        if close is not None:
            await send({"type": "websocket.close", "code": close[0], "reason": close[1]})
    finally:
        await upstream.close()


async def while_there(remote: Remote, work: Coroutine[Any, Any, _Answer]) -> _Answer:
    """Await work, unless the replica is lost: Gone, at once."""
    doing = asyncio.create_task(work, name="passed-on")
    lost = asyncio.create_task(remote.lost.wait(), name="lost")
    try:
        await asyncio.wait((doing, lost), return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise gone()
        return doing.result()
    finally:
        for task in (doing, lost):
            task.cancel()
        await asyncio.wait((doing, lost))


async def _open(remote: Remote, path: str) -> ClientConnection:
    return await remote.websocket(path)


async def _pump(
    remote: Remote, upstream: ClientConnection, receive: Receive, send: Send
) -> tuple[int, str] | None:
    """Carry messages both ways; returns how the client is to be told of the end, None when it ended it."""
    up = asyncio.create_task(_upwards(upstream, receive), name="socket-up")
    down = asyncio.create_task(_downwards(upstream, send), name="socket-down")
    lost = asyncio.create_task(remote.lost.wait(), name="lost")
    tasks = (up, down, lost)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if up.done() and not down.done() and up.exception() is None:
            return None
        if not lost.done() and upstream.close_code in (None, _ABNORMAL):
            with suppress(TimeoutError):
                await asyncio.wait_for(remote.lost.wait(), _LOST_S)
        if remote.lost.is_set():
            return GONE_CODE, GONE
        return _sendable(upstream.close_code), upstream.close_reason or ""
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _upwards(upstream: ClientConnection, receive: Receive) -> None:
    while (message := await receive())["type"] == "websocket.receive":
        sound = message.get("bytes")
        with suppress(ConnectionClosed):  # told by the other direction
            await upstream.send(sound if sound is not None else message.get("text") or "")
    with suppress(OSError):
        await upstream.close(_sendable(message.get("code")))


async def _downwards(upstream: ClientConnection, send: Send) -> None:
    with suppress(ConnectionClosed):
        async for message in upstream:
            key = "text" if isinstance(message, str) else "bytes"
            await send({"type": "websocket.send", key: message})


def _sendable(code: int | None) -> int:
    """A close code that may be sent (RFC 6455 section 7.4)."""
    if code == _ABNORMAL:
        return 1011
    return code if code is not None and (code >= 3000 or code in _CODES) else 1000


async def _why(remote: Remote, error: Exception) -> Refusal:
    """What to tell a client whose request could not be passed on."""
    if isinstance(error, Gone):
        return error
    with suppress(TimeoutError):
        await asyncio.wait_for(remote.lost.wait(), _LOST_S)
    if remote.lost.is_set():
        return gone()
    return Busy("The machine that holds this does not answer; try again.", {"Retry-After": "1"})


def _refusal(error: InvalidStatus) -> Refusal:
    """The refusal of a WebSocket, as the replica gave it."""
    try:
        sentence = str(json.loads(error.response.body or b"")["detail"])
    except (ValueError, KeyError, TypeError):
        sentence = "The WebSocket was refused."
    refusal = Refusal(sentence)
    refusal.status = error.response.status_code
    return refusal


def _address(remote: Remote, scope: Scope) -> httpx.URL:
    return httpx.URL(remote.url).copy_with(raw_path=target(scope).encode("latin-1"))


def _has_body(scope: Scope) -> bool:
    names = dict(scope["headers"])
    return b"transfer-encoding" in names or names.get(b"content-length", b"0") != b"0"


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise httpx.ReadError("the client went before its request was whole")
        more = message.get("more_body", False)
        yield message.get("body", b"")


def _decoded(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]


def _passed(headers: Iterable[tuple[str, str]], left_out: set[str]) -> list[tuple[str, str]]:
    """Headers that go on: not those of the connection, nor those that it names."""
    pairs = list(headers)
    named = {
        part.strip().lower()
        for name, value in pairs
        if name.lower() == "connection"
        for part in value.split(",")
    }
    return [(name, value) for name, value in pairs if name.lower() not in left_out | named]
