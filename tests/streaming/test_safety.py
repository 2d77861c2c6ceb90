"""A server without tokens: its own machine and nobody else."""

from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from engine.errors import KouboError
from streaming import server
from streaming.auth import Keys
from streaming.cast import EngineCast
from streaming.safety import LocalOnly, refuse_open_door
from streaming.server import bind, create_app
from streaming.settings import Settings
from tests.fakes import FakeMouth
from tests.streaming.test_auth import bearer, http_scope, run_guarded, settings_with


def test_an_open_server_listens_to_its_own_machine_only() -> None:
    open_keys, closed_keys = Keys(Settings()), Keys(settings_with())
    for host in ("127.0.0.1", "127.0.0.2", "::1"):
        with bind(host, 0) as listener:
            refuse_open_door(listener, open_keys)
    for host in ("0.0.0.0", "::"):
        with bind(host, 0) as listener:
            refuse_open_door(listener, closed_keys)
            with pytest.raises(KouboError, match=r"KOUBO_OPERATE_TOKENS.*127\.0\.0\.1\.$"):
                refuse_open_door(listener, open_keys)


def test_serve_refuses_a_public_address_without_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    with pytest.raises(KouboError, match="lets everybody in"):
        server.serve("0.0.0.0", 0, Settings(), tell=told.append)
    assert not any("Koubo is at" in line for line in told)


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("127.0.0.1:8080", None, 200),
        ("localhost:8080", "http://localhost:8080", 200),
        ("[::1]:8080", "http://[::1]:8080", 200),
        ("koubo.localhost", None, 200),
        ("127.0.0.1:8080", "https://studio.example", 200),
        ("127.0.0.1:8080", "https://evil.example", 403),
        ("127.0.0.1:8080", "http://localhost:3000", 403),
        ("127.0.0.1:8080", "http://127.0.0.1:9090", 403),
        ("127.0.0.1:8080", "null", 403),
        ("evil.example", None, 403),
        ("evil.example:8080", "http://evil.example:8080", 403),
        ("127.0.0.1.evil.example", None, 403),
        ("192.168.1.5:8080", None, 403),
        ("", None, 403),
        ("[::1", None, 403),
    ],
)
async def test_an_open_server_answers_no_foreign_page(
    app: FastAPI, host: str, origin: str | None, status: int
) -> None:
    guarded = LocalOnly(app, ["https://studio.example"])
    headers = [(b"host", host.encode())] + ([(b"origin", origin.encode())] if origin else [])
    sent = await run_guarded(guarded, http_scope("/healthz", headers=headers))  # type: ignore[arg-type]
    assert sent[0]["status"] == status


async def test_an_open_app_asks_for_no_token(avatars: Path) -> None:
    app = create_app(Settings(), EngineCast(lambda folder: FakeMouth(), "fake"))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://koubo.test") as http,
    ):
        assert (await http.post("/v1/sessions")).status_code == 201
        assert (await http.get("/v1/avatars", headers=bearer("anything"))).status_code == 200
        assert (await http.get("/nothing")).status_code == 404
