"""A real app with a small avatar and a fake mouth, reached in this process or over a socket."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from streaming.cast import EngineCast
from streaming.drawing import Workers
from streaming.events import Event
from streaming.server import create_app
from streaming.sessions import Session
from streaming.settings import Settings
from tests.fakes import FakeMouth, make_avatar
from tests.streaming.spectator import Spectator, watch

Exchange = Callable[[str], Awaitable[str]]

SDP = {"Content-Type": "application/sdp"}


@pytest.fixture
def avatars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the avatars `fake` and `other`, found through KOUBO_AVATARS."""
    for name in ("fake", "other"):
        make_avatar(tmp_path, name)
    monkeypatch.setenv("KOUBO_AVATARS", str(tmp_path))
    return tmp_path


@pytest.fixture
def settings() -> Settings:
    return Settings(default_avatar="fake", max_sessions=3, max_viewers=3, text_queue=2, text_max_chars=200)


@pytest.fixture
def workers() -> Iterator[Workers]:
    """One thread for everything."""
    with Workers(1) as workers:
        yield workers


@pytest.fixture
async def app(avatars: Path, settings: Settings) -> AsyncIterator[FastAPI]:
    """The app inside its lifespan; when it is over, no task may be left behind."""
    before = asyncio.all_tasks()
    app = create_app(settings, EngineCast(lambda folder: FakeMouth(), "fake"))
    async with app.router.lifespan_context(app):
        yield app
    await no_task_is_left(before)


async def no_task_is_left(before: set[asyncio.Task[object]]) -> None:
    """Fail unless every task that began since `before` has ended, or does within a moment."""
    for _ in range(100):
        left = {task for task in asyncio.all_tasks() - before if task is not asyncio.current_task()}
        if not left:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"tasks left behind: {left}")


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://koubo.test") as client:
        yield client


@pytest.fixture
async def session(http: httpx.AsyncClient) -> dict[str, str]:
    """An open session: its id and addresses."""
    response = await http.post("/v1/sessions")
    assert response.status_code == 201
    opened: dict[str, str] = response.json()
    return opened


@pytest.fixture
def live(app: FastAPI, session: dict[str, str]) -> Session:
    """The open session itself."""
    found: Session = app.state.table.get(session["id"])
    return found


@pytest.fixture
def spectator(live: Session) -> Spectator:
    return watch(live)


@pytest.fixture
def told(live: Session) -> list[Event]:
    """Every event of the session."""
    events: list[Event] = []
    live.events.listen(events.append)
    return events


def exchange(http: httpx.AsyncClient, url: str, locations: list[str] | None = None) -> Exchange:
    """Posts offers to a WHIP or WHEP endpoint; notes where the connections are."""

    async def post(offer: str) -> str:
        response = await http.post(url, content=offer, headers=SDP)
        assert response.status_code == 201, response.text
        if locations is not None:
            locations.append(response.headers["Location"])
        return response.text

    return post


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def eventually(check: Callable[[], bool | Awaitable[bool]], timeout_s: float = 10) -> None:
    """Wait until `check` holds; fail when it does not in time."""
    for _ in range(round(timeout_s / 0.02)):
        held = check()
        if held if isinstance(held, bool) else await held:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not come to hold in time")
