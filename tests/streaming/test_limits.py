"""Limits: how much one client may ask for, in simulated time where time matters."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from streaming import limits
from streaming.cast import EngineCast
from streaming.errors import TooMany
from streaming.limits import (
    MAX_JSON_DEPTH,
    InHand,
    Limits,
    RateLimit,
    TokenBucket,
    client_key,
    is_loopback,
    json_depth,
)
from streaming.server import create_app
from streaming.settings import Settings
from tests.fakes import FakeMouth
from tests.streaming.conftest import eventually


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


# Rates


def test_a_bucket_lets_a_burst_through_and_then_its_rate() -> None:
    bucket = TokenBucket(0.5, 3, now=10.0)
    assert [bucket.take(10.0) for _ in range(3)] == [0, 0, 0]
    assert bucket.take(10.0) == pytest.approx(2.0)
    assert bucket.take(11.0) == pytest.approx(1.0)
    assert bucket.take(12.0) == 0
    assert bucket.take(12.0) == pytest.approx(2.0)


def test_a_client_that_waits_as_told_is_let_in() -> None:
    rng = random.Random(1)
    for _ in range(200):
        bucket = TokenBucket(rng.uniform(0.01, 50), rng.randint(1, 5), now=0.0)
        now = 0.0
        while (wait := bucket.take(now)) == 0:
            now += rng.uniform(0, 0.001)
        assert bucket.take(now + wait) == 0


def test_a_bucket_never_lets_more_through_than_its_rate() -> None:
    rng = random.Random(2)
    for _ in range(50):
        per_s, burst = rng.uniform(0.1, 20), rng.randint(1, 20)
        bucket, now, taken = TokenBucket(per_s, burst, now=0.0), 0.0, 0
        for _ in range(2000):
            now += rng.expovariate(2 * per_s)
            taken += bucket.take(now) == 0
        assert taken <= burst + per_s * now + 1e-6
        assert taken >= 0.6 * min(2000, per_s * now)


def test_a_bucket_does_not_fill_beyond_its_burst_nor_by_a_clock_that_goes_back() -> None:
    bucket = TokenBucket(1.0, 2, now=0.0)
    assert [bucket.take(1e6) for _ in range(2)] == [0, 0]
    assert bucket.take(1e6) > 0
    assert bucket.take(0.0) > 0
    assert bucket.take(1e6) > 0


def test_each_client_has_its_own_rate_and_is_told_when_to_come_back() -> None:
    clock = Clock()
    rate = RateLimit(0.25, 2, clock)
    for client in ("192.0.2.1", "192.0.2.2"):
        rate.take(client, "Slower.")
        rate.take(client, "Slower.")
        with pytest.raises(TooMany, match="Slower") as caught:
            rate.take(client, "Slower.")
        assert caught.value.headers == {"Retry-After": "4"}
    clock.now += 4
    rate.take("192.0.2.1", "Slower.")


def test_addresses_seen_long_ago_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_REMEMBERED", 3)
    rate = RateLimit(0.001, 1, Clock())
    for number in range(100):
        rate.take(f"192.0.2.{number}", "Slower.")
        assert len(rate._buckets) <= 3
    with pytest.raises(TooMany):
        rate.take("192.0.2.99", "Slower.")


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::9", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("::1", "::1"),
        ("testclient", "testclient"),
        (None, "unknown"),
        ("", "unknown"),
    ],
)
def test_clients_are_told_apart_by_what_one_customer_is_given(host: str | None, key: str) -> None:
    assert client_key(host) == key


def test_what_loopback_is() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.0.2.1", "localhost", "", None)))


def test_what_is_held_is_counted_by_client_and_given_back() -> None:
    hand = InHand(2)
    first, second = hand.hold("a"), hand.hold("a")
    assert first
    assert second
    assert hand.hold("a") is None
    assert hand.hold("b")
    first.release()
    assert hand.hold("a")
    assert len(hand) == 3


async def test_sessions_opened_too_fast_are_429(avatars: Path) -> None:
    settings = Settings(default_avatar="fake", sessions_at_once=2, sessions_per_minute=2, max_sessions=50)
    app = create_app(settings, EngineCast(lambda folder: FakeMouth(), "fake"))
    clock = Clock()
    async with app.router.lifespan_context(app):
        app.state.session_rate = RateLimit(2 / 60, 2, clock)

        def client(address: str) -> httpx.AsyncClient:
            transport = httpx.ASGITransport(app, client=(address, 1))
            return httpx.AsyncClient(transport=transport, base_url="http://koubo.test")

        async with client("192.0.2.1") as one, client("192.0.2.2") as other:
            assert [(await one.post("/v1/sessions")).status_code for _ in range(2)] == [201, 201]
            refused = await one.post("/v1/sessions")
            assert refused.status_code == 429
            assert refused.headers["Retry-After"] == "30"
            assert "too fast" in refused.json()["detail"]
            assert (await other.post("/v1/sessions")).status_code == 201
            clock.now += 30
            assert (await one.post("/v1/sessions")).status_code == 201
            assert len(app.state.table) == 4


# Bodies


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    body = b""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        more = message["more_body"]
    await PlainTextResponse(str(len(body)))(scope, receive, send)


def limited(**settings: Any) -> httpx.AsyncClient:
    app = Limits(echo, Settings(**settings))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://koubo.test")


async def chunks(count: int, size: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"x" * size
        await asyncio.sleep(0)


async def test_bodies_are_handed_on_whole_up_to_the_limit() -> None:
    async with limited(max_body_bytes=2000) as http:
        for size in (0, 1, 1999, 2000):
            assert (await http.post("/", content=b"x" * size)).text == str(size)
        assert (await http.post("/", content=chunks(20, 100))).text == "2000"


async def test_a_body_beyond_the_limit_is_413_told_or_not() -> None:
    async with limited(max_body_bytes=2000) as http:
        for content in (b"x" * 2001, chunks(21, 100), chunks(10_000, 1000)):
            response = await http.post("/", content=content)
            assert response.status_code == 413
            assert "2000 bytes" in response.json()["detail"]


async def test_a_body_that_is_told_too_long_is_not_read_at_all() -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("read")

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"content-length", b"99999999")]
    scope = {"type": "http", "path": "/", "headers": headers, "client": None, "method": "POST"}
    await Limits(echo, Settings())(scope, receive, send)
    assert sent[0]["status"] == 413


async def test_a_body_that_trickles_is_408(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BODY_S", 0.1)

    async def slow() -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await asyncio.sleep(0.02)

    async with limited() as http:
        response = await http.post("/", content=slow())
        assert response.status_code == 408
        assert response.json()["detail"].endswith("seconds.")


async def test_deep_json_is_400_and_shallow_json_passes() -> None:
    async with limited() as http:
        json_type = {"Content-Type": "application/json"}
        for depth, status in ((1, 200), (MAX_JSON_DEPTH, 200), (MAX_JSON_DEPTH + 1, 400), (60_000, 400)):
            body = b"[" * depth + b"]" * depth
            assert (await http.post("/", content=body, headers=json_type)).status_code == status, depth
        quoted = json.dumps({"text": "[" * 1000 + '"{\\'}).encode()
        assert (await http.post("/", content=quoted, headers=json_type)).status_code == 200
        assert (await http.post("/", content=b"[" * 1000)).status_code == 200


async def test_an_address_with_a_nul_is_400(app: FastAPI) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://koubo.test") as http:
        for path in ("/hls/%00/x.m4s", "/v1/avatars/%00/preview.jpg", "/static/%00", "/%00"):
            response = await http.get(path)
            assert response.status_code == 400, path
            assert "NUL" in response.json()["detail"]


def test_depth_is_never_less_than_what_a_parser_finds() -> None:
    rng = random.Random(3)

    def deep(value: object) -> int:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return (1 if isinstance(value, dict | list) else 0) + max(map(deep, inner), default=0)

    def make(depth: int) -> object:
        if depth == 0 or rng.random() < 0.2:
            return rng.choice([1, None, '["', "\\", '\\"]', "}{", "é[", ""])
        if rng.random() < 0.5:
            return [make(depth - 1) for _ in range(rng.randint(0, 3))]
        return {rng.choice(["a", "[", '"', "\\"]): make(depth - 1) for _ in range(rng.randint(0, 3))}

    for _ in range(500):
        value = make(6)
        assert json_depth(json.dumps(value, ensure_ascii=rng.random() < 0.5).encode()) == deep(value)


# Requests at a time


async def test_requests_at_a_time_are_counted_by_address_and_given_back() -> None:
    waiting = asyncio.Event()
    entered = 0

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal entered
        entered += 1
        await waiting.wait()
        if scope["path"] == "/fail":
            raise RuntimeError("broken")
        await PlainTextResponse("ok")(scope, receive, send)

    app = Limits(slow, Settings(requests_at_once=2))

    def client(address: str) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app, client=(address, 1))
        return httpx.AsyncClient(transport=transport, base_url="http://koubo.test")

    async with client("192.0.2.1") as one, client("192.0.2.2") as other:
        held = [asyncio.create_task(one.get(path)) for path in ("/", "/fail")]
        await eventually(lambda: entered == 2)
        refused = await one.get("/")
        assert refused.status_code == 429
        assert refused.headers["Retry-After"] == "1"
        third = asyncio.create_task(other.get("/"))
        await eventually(lambda: entered == 3)
        waiting.set()
        assert (await held[0]).status_code == 200
        with pytest.raises(RuntimeError):
            await held[1]
        assert (await third).status_code == 200
        assert (await one.get("/")).status_code == 200
    assert len(app._at_once) == 0
