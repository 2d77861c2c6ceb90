"""TCP connections: how many an address may hold, and how long it may take to ask."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from streaming.connections import PAUSE_S, Gate, bounded_protocol
from streaming.server import bind
from tests.streaming.conftest import eventually
from tests.streaming.test_limits import echo


@contextlib.asynccontextmanager
async def serving(app: Any, **protocol: Any) -> AsyncIterator[int]:
    listener = bind("127.0.0.1", 0)
    config = uvicorn.Config(
        app, http=bounded_protocol(**protocol), log_config=None, lifespan="off", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    task = asyncio.create_task(server.serve([listener]))
    await eventually(lambda: server.started)
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await task


async def closed(reader: asyncio.StreamReader, within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            return not await reader.read(1)
    except TimeoutError:
        return False
    except ConnectionError:
        return True


@pytest.mark.parametrize(
    "start",
    [b"", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nX: "],
    ids=["silent", "line", "header"],
)
async def test_a_connection_that_does_not_finish_its_request_is_closed(start: bytes) -> None:
    async with serving(echo, connections_at_once=10, headers_s=0.3) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(start)
        for _ in range(4):
            if start:
                writer.write(b"a")  # dripping does not help
            if await closed(reader, 0.2):
                break
        else:
            raise AssertionError("it is still open")
        writer.close()


async def test_a_slow_answer_is_not_a_slow_request() -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.5)
        await PlainTextResponse("ok")(scope, receive, send)

    async with serving(slow, connections_at_once=10, headers_s=0.2) as port, httpx.AsyncClient() as http:
        for _ in range(2):
            assert (await http.get(f"http://127.0.0.1:{port}/")).text == "ok"


async def test_a_second_request_that_drips_is_closed_too() -> None:
    async with serving(echo, connections_at_once=10, headers_s=0.3) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200" in await reader.readuntil(b"\r\n")
        await reader.readuntil(b"\r\n\r\n0")
        writer.write(b"GET / HTT")
        assert await closed(reader, 1.0)
        writer.close()


async def test_an_address_holds_only_so_many_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streaming.connections.is_loopback", lambda host: False)
    async with serving(echo, connections_at_once=3) as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        await asyncio.sleep(0.1)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await closed(reader, 1.0)
        writer.close()
        held[0][1].close()
        await held[0][1].wait_closed()
        await asyncio.sleep(0.1)
        async with httpx.AsyncClient() as http:
            assert (await http.get(f"http://127.0.0.1:{port}/")).status_code == 200
        for _, writer in held[1:]:
            writer.close()


async def test_this_machine_holds_any_number(app: FastAPI) -> None:
    async with serving(app, connections_at_once=1) as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
        async with httpx.AsyncClient() as http:
            assert (await http.get(f"http://127.0.0.1:{port}/healthz")).status_code == 200
        for _, writer in held:
            writer.close()


# Many at once


class Piece:
    """A connection that counts when it was read; `begins` whether a request begins with its data."""

    def __init__(self, began: list[float], *, begins: bool = True) -> None:
        self.begins = begins
        self.began = began
        self.heard: list[bytes] = []

    def read(self, data: bytes) -> bool:
        self.heard.append(data)
        self.began.append(asyncio.get_running_loop().time())
        return self.begins


async def test_who_is_alone_does_not_wait_at_the_gate() -> None:
    began: list[float] = []
    gate, piece = Gate(), Piece(began)
    for number in range(3):
        assert gate.enter(piece, b"%d" % number)
        await asyncio.sleep(5 * PAUSE_S)
    assert piece.heard == [b"0", b"1", b"2"]
    assert len(gate) == 0


async def test_many_requests_begin_one_after_another_and_in_order() -> None:
    began: list[float] = []
    gate, pieces = Gate(), [Piece(began) for _ in range(30)]
    assert [gate.enter(piece, b"x") for piece in pieces] == [True] + 29 * [False]
    assert len(gate) == 29
    await eventually(lambda: len(gate) == 0)
    assert [piece.heard for piece in pieces] == [[b"x"]] * 30
    assert began == sorted(began)
    # The loop's clock may be coarse by itself, and timers a little early.
    assert all(later - one > 0.7 * PAUSE_S for one, later in pairwise(began))


async def test_timers_keep_their_time_while_a_thousand_send_byte_by_byte() -> None:
    began: list[float] = []
    gate = Gate()
    for _ in range(1000):
        gate.enter(Piece(began, begins=False), b"x")
    await eventually(lambda: len(began) == 1000)
    assert len(gate) == 0


async def test_requests_of_one_moment_are_all_answered_and_the_loop_goes_on_between() -> None:
    busy = most = 0

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await asyncio.sleep(0)
        busy -= 1
        await PlainTextResponse("here")(scope, receive, send)

    async with serving(slow, connections_at_once=10) as port:
        limits = httpx.Limits(max_connections=60)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", limits=limits) as client:
            answers = await asyncio.gather(*(client.get("/") for _ in range(60)))
            again = await asyncio.gather(*(client.post("/", content=b"a" * 70_000) for _ in range(20)))
    assert [answer.text for answer in (*answers, *again)] == ["here"] * 80
    assert most <= 3


async def test_a_connection_that_ends_while_it_waits_is_forgotten() -> None:
    async with serving(echo, connections_at_once=10) as port:
        ends = []
        for _ in range(40):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            ends.append(writer)
        for writer in ends:
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            writer.transport.abort()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            assert (await client.post("/", content=b"still here")).text == "10"
