"""Tokens: who gets in, who does not, and what a refusal says; for each route of the app."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, APIWebSocketRoute
from pydantic import SecretStr
from starlette.routing import Mount, Route
from starlette.types import Message, Scope
from starlette.websockets import WebSocket

from engine.errors import KouboError
from streaming import server
from streaming.auth import Grant, Guard, Keys, Need, Role, declared
from streaming.safety import OPEN_PATHS
from streaming.server import create_app
from streaming.settings import Settings

OPERATE = "operate-0123456789"
OTHER_OPERATE = "operate-9876543210"
WATCH = "watch-0123456789ab"


def settings_with(**values: Any) -> Settings:
    return Settings(
        default_avatar="fake",
        operate_tokens=(SecretStr(OPERATE), SecretStr(OTHER_OPERATE)),
        watch_tokens=(SecretStr(WATCH),),
        **values,
    )


@pytest.fixture
def settings() -> Settings:
    """For the `app` of conftest: one that needs tokens."""
    return settings_with()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def opened(http: httpx.AsyncClient) -> dict[str, str]:
    response = await http.post("/v1/sessions", headers=bearer(OPERATE))
    assert response.status_code == 201
    body: dict[str, str] = response.json()
    return body


# Keys


def test_tokens_have_their_roles() -> None:
    keys = Keys(settings_with())
    assert keys.grant(OPERATE) == keys.grant(OTHER_OPERATE) == Grant(Role.OPERATE)
    assert keys.grant(WATCH) == Grant(Role.WATCH)
    for wrong in ("", OPERATE[:-1], OPERATE + "0", OPERATE.upper(), "ключ", "\udcff", "a.b.c", "..", "."):
        if wrong.isprintable():
            assert keys.grant(wrong) is None, wrong


def test_every_token_is_compared_whatever_matches(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = Keys(settings_with())
    compared: list[tuple[bytes, bytes]] = []

    def compare(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return a == b

    monkeypatch.setattr("streaming.auth.hmac.compare_digest", compare)
    counts = []
    for token in (OPERATE, OTHER_OPERATE, WATCH, "unknown-0123456789"):
        compared.clear()
        keys.grant(token)
        counts.append(len(compared))
        # Digests or signatures of one length: nothing of the token's own length shows.
        assert all(len(a) == len(b) for a, b in compared[:3])
    assert counts == [4, 4, 4, 4]


@pytest.mark.parametrize(
    "token", ["", "short", "a" * 15, "has space 0123456789", "ä" * 20, "a/b=0123456789abcd"]
)
def test_an_unusable_token_stops_the_server(token: str) -> None:
    with pytest.raises(KouboError, match="at least 16 characters") as caught:
        create_app(Settings(operate_tokens=(SecretStr(token),)))
    assert token not in str(caught.value) or not token


def test_tokens_to_watch_need_one_to_operate() -> None:
    with pytest.raises(KouboError, match="KOUBO_OPERATE_TOKENS"):
        Keys(Settings(watch_tokens=(SecretStr(WATCH),)))


def test_tokens_come_from_the_environment_and_show_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOUBO_OPERATE_TOKENS", f'["{OPERATE}"]')
    settings = Settings()
    assert Keys(settings).grant(OPERATE) == Grant(Role.OPERATE)
    assert OPERATE not in repr(settings)
    assert OPERATE not in settings.model_dump_json()


def test_a_link_watches_one_session_until_it_expires(clock: Clock) -> None:
    keys = Keys(settings_with(), clock)
    token, expires = keys.watch_link("abc-_123", 60)
    assert expires == clock.now + 60
    assert keys.grant(token) == Grant(Role.WATCH, "abc-_123")
    clock.now = expires - 0.5
    assert keys.grant(token) is not None
    clock.now = expires
    assert keys.grant(token) is None


def test_a_link_lives_no_longer_than_the_operator_lets_it(clock: Clock) -> None:
    keys = Keys(settings_with(watch_link_max_s=100), clock)
    assert keys.watch_link("s", 10_000)[1] == clock.now + 100


def test_a_link_cannot_be_changed(clock: Clock) -> None:
    keys = Keys(settings_with(), clock)
    token, expires = keys.watch_link("mine", 60)
    signature = token.rpartition(".")[2]
    for forged in (
        f"yours.{expires}.{signature}",
        f"mine.{expires + 1}.{signature}",
        f"mine.0{expires}.{signature}",
        f"mine.{expires}.{signature[:-1]}",
        f"mine.{expires}.",
        f"mine.{expires}",
        f"mine..{signature}",
        f"min.e{expires}.{signature}",
        f"mine.{expires}.{signature}.",
    ):
        assert keys.grant(forged) is None, forged
    assert Keys(settings_with(), clock).grant(token) is None, "another process has another key"


# Every route


def routes(app: FastAPI) -> Iterator[tuple[str, Need | None]]:
    """Every door of the app with what it needs, however it was hung."""
    for module in server._MODULES:
        for route in module.router.routes:
            assert isinstance(route, APIRoute | APIWebSocketRoute), f"{route} is of a kind not walked here"
            methods = sorted(getattr(route, "methods", None) or ["WEBSOCKET"])
            yield f"{' '.join(methods)} {route.path}", declared(route.endpoint)
    for door in app.routes:
        if isinstance(door, Mount | Route) and not isinstance(door, APIRoute):
            starts = [role for start, role in OPEN_PATHS.items() if door.path.startswith(start)]
            yield door.path, starts[0] if starts else None


def test_every_route_declares_what_it_needs() -> None:
    found = dict(routes(create_app(settings_with())))
    assert len(found) > 15
    assert [route for route, need in found.items() if need is None] == []


def test_nothing_is_served_beside_the_routers_that_are_guarded() -> None:
    app = create_app(settings_with())
    known = {route.path for module in server._MODULES for route in module.router.routes}
    served = set(app.openapi()["paths"])
    assert served <= known


def test_only_these_doors_are_open_to_anyone() -> None:
    found = dict(routes(create_app(settings_with())))
    open_doors = {route for route, need in found.items() if need is Role.ANYONE}
    assert {
        route for route in open_doors if not route.startswith(("/static", "/docs", "/openapi", "/redoc"))
    } <= {
        "GET /healthz",
        "GET /readyz",
        "GET /",
        "GET /player",
        "GET /hls/{name}/{file}",  # the name is a secret of its own
    }


def fill(path: str, opened: Mapping[str, str]) -> str:
    values = {"session_id": opened["id"], "kind": "whip", "peer_id": "x", "name": "fake", "outlet_id": "x"}
    for name, value in values.items():
        path = path.replace(f"{{{name}}}", value).replace(f"{{{name}:path}}", value)
    return path


async def test_every_route_that_needs_a_token_asks_for_it(
    app: FastAPI, http: httpx.AsyncClient, opened: dict[str, str]
) -> None:
    asked = 0
    for module in server._MODULES:
        for route in module.router.routes:
            if not isinstance(route, APIRoute) or declared(route.endpoint) is Role.ANYONE:
                continue
            for method in sorted(route.methods or ()):
                for headers in ({}, bearer("unknown-0123456789"), {"Authorization": f"Basic {OPERATE}"}):
                    response = await http.request(method, fill(route.path, opened), headers=headers)
                    assert response.status_code == 401, (method, route.path)
                    assert response.headers["WWW-Authenticate"].startswith('Bearer realm="koubo"')
                    asked += 1
    assert asked > 30
    assert (await http.get(f"/v1/sessions/{opened['id']}", headers=bearer(OPERATE))).status_code == 200


async def test_a_watching_token_cannot_operate(http: httpx.AsyncClient, opened: dict[str, str]) -> None:
    address = f"/v1/sessions/{opened['id']}"
    for method, path in (
        ("POST", "/v1/sessions"),
        ("DELETE", address),
        ("POST", f"{address}/speak"),
        ("POST", f"{address}/interrupt"),
        ("POST", f"{address}/watch-links"),
        ("POST", f"{address}/whip"),
        ("OPTIONS", f"{address}/whip"),
        ("DELETE", f"{address}/whip/x"),
    ):
        response = await http.request(method, path, headers=bearer(WATCH))
        assert response.status_code == 403, (method, path)
        assert "insufficient_scope" in response.headers["WWW-Authenticate"]
        assert response.json()["detail"].endswith(".")
    for path in (address, "/v1/avatars", "/v1/voices", "/metrics"):
        assert (await http.get(path, headers=bearer(WATCH))).status_code == 200, path
    assert (await http.options(f"{address}/whep", headers=bearer(WATCH))).status_code == 200


async def test_nothing_of_a_refused_request_is_read(app: FastAPI) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("the body was read")

    async def send(message: Message) -> None:
        sent.append(message)

    await app(http_scope("/v1/sessions", method="POST"), receive, send)
    assert sent[0]["status"] == 401
    assert len(app.state.table) == 0


async def test_what_is_not_there_is_not_told_without_a_token(http: httpx.AsyncClient) -> None:
    for path in ("/v1/sessions/none", "/v1/nothing", "/nothing", "/v1/sessions/", "//v1/sessions"):
        assert (await http.get(path)).status_code in (401, 405), path
    assert (await http.get("/v1/sessions/none", headers=bearer(OPERATE))).status_code == 404
    assert (await http.get("/nothing", headers=bearer(OPERATE))).status_code == 404


async def test_pages_and_health_are_open(http: httpx.AsyncClient) -> None:
    for path in ("/", "/player", "/static/player.js", "/healthz"):
        assert (await http.get(path)).status_code == 200, path
    assert (await http.get("/static/../streaming/settings.py")).status_code in (401, 404)
    assert (await http.get("/staticky")).status_code == 401


# Links and tokens in the query


async def test_a_watch_link_watches_its_session_alone(
    http: httpx.AsyncClient, opened: dict[str, str]
) -> None:
    address = f"/v1/sessions/{opened['id']}"
    response = await http.post(f"{address}/watch-links", json={"seconds": 60}, headers=bearer(OPERATE))
    assert response.status_code == 201
    link = response.json()
    assert set(link) == {"token", "expires", "player", "whep"}
    assert link["whep"] == f"{address}/whep?token={link['token']}"
    assert (await http.get(link["player"])).status_code == 200
    assert (await http.options(link["whep"])).status_code == 200
    assert (await http.get(address, headers=bearer(link["token"]))).status_code == 200
    other = (await http.post("/v1/sessions", headers=bearer(OPERATE))).json()
    for path in (f"/v1/sessions/{other['id']}", f"{other['whep']}", "/v1/avatars", "/metrics"):
        response = await http.get(path, headers=bearer(link["token"]))
        assert response.status_code == 403, path
        assert "another session" in response.json()["detail"]
    assert (await http.post(f"{address}/interrupt", headers=bearer(link["token"]))).status_code == 403


async def test_a_link_is_good_for_an_hour_unless_it_says_otherwise(
    http: httpx.AsyncClient, opened: dict[str, str]
) -> None:
    url = f"/v1/sessions/{opened['id']}/watch-links"
    assert (await http.post(url, headers=bearer(OPERATE))).status_code == 201
    for seconds in (0, -1, 10**12, "soon", 1.5):
        response = await http.post(url, json={"seconds": seconds}, headers=bearer(OPERATE))
        assert response.status_code == 422, seconds


async def test_a_token_in_the_address_may_only_watch(http: httpx.AsyncClient, opened: dict[str, str]) -> None:
    address = f"/v1/sessions/{opened['id']}"
    assert (await http.get(f"{address}?token={WATCH}")).status_code == 200
    refused = await http.get(f"{address}?token={OPERATE}")
    assert refused.status_code == 401
    assert "Authorization" in refused.json()["detail"]
    assert (await http.post(f"{address}/interrupt?token={WATCH}")).status_code == 403


async def run_guarded(app: FastAPI, scope: Scope) -> list[Message]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect" if scope["type"] == "websocket" else "http.request", "body": b""}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


def http_scope(path: str, query: str = "", **more: Any) -> Scope:
    return {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "scheme": "http",
        "http_version": "1.1",
        "query_string": query.encode(),
        "headers": [(b"host", b"koubo.test")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        **more,
    }


async def test_a_token_does_not_stay_in_the_address(app: FastAPI, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    scope = http_scope("/v1/avatars", f"a=1&token={WATCH}&b=%26")
    sent = await run_guarded(app, scope)
    assert sent[0]["status"] == 200
    # The very scope that the server's access log reads.
    assert scope["query_string"] == b"a=1&b=%26"
    assert WATCH not in caplog.text


# WebSockets


def socket_scope(app: FastAPI, *subprotocols: str, **more: Any) -> Scope:
    scope = http_scope("/v1/nowhere", **more)
    return {**scope, "type": "websocket", "scheme": "ws", "subprotocols": list(subprotocols)}


async def test_a_websocket_is_refused_before_it_opens(app: FastAPI) -> None:
    sent = await run_guarded(app, socket_scope(app))
    assert [message["type"] for message in sent] == ["websocket.close"]
    assert sent[0]["code"] == 1008
    sent = await run_guarded(app, socket_scope(app, extensions={"websocket.http.response": {}}))
    assert sent[0]["type"] == "websocket.http.response.start"
    assert sent[0]["status"] == 401


async def test_a_websocket_brings_its_token_as_a_subprotocol_and_koubo_is_chosen() -> None:
    async def endpoint(scope: Scope, receive: Any, send: Any) -> None:
        await WebSocket(scope, receive, send).accept()

    guard = Guard(endpoint, Keys(settings_with()), [], {})
    for token, first in ((OPERATE, "websocket.accept"), (WATCH, "websocket.close"), ("x", "websocket.close")):
        sent = await run_guarded(guard, socket_scope(None, "koubo", f"koubo.token.{token}"))  # type: ignore[arg-type]
        assert sent[0]["type"] == first, token
        if first == "websocket.accept":
            assert sent[0]["subprotocol"] == "koubo"
