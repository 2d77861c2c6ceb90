"""Clips of a presenter, asked for while it is live: by HTTP, by the audio socket, and to greet."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from streaming.cast import EngineCast
from streaming.events import AvatarChanged, ClipEnded, ClipStarted, Event
from streaming.server import create_app
from streaming.sessions import Session
from streaming.settings import Settings
from streaming.webrtc.client import Watcher
from tests.fakes import FRAMES, FakeMouth
from tests.streaming.conftest import eventually, exchange
from tests.streaming.presenters import make_presenter
from tests.streaming.spectator import Spectator

Show = Callable[[str], Awaitable[httpx.Response]]


@pytest.fixture
def avatars(avatars: Path) -> Path:
    """`fake` has clips of every kind, `other` only its idle one."""
    shutil.rmtree(avatars / "fake")
    make_presenter(
        avatars, "fake", clips={"hello": "greeting", "wave": "gesture", "nod": "gesture", "talk": "talking"}
    )
    return avatars


@pytest.fixture
def show(http: httpx.AsyncClient, session: dict[str, str]) -> Show:
    """Asks for a clip."""

    async def ask(clip: str) -> httpx.Response:
        return await http.post(f"/v1/sessions/{session['id']}/clips", json={"clip": clip})

    return ask


def clips(told: list[Event]) -> list[tuple[str, str]]:
    """(type, clip) of what was told of clips."""
    return [(event.type, event.clip) for event in told if isinstance(event, ClipStarted | ClipEnded)]


async def test_a_session_lists_the_clips_of_its_presenter(
    http: httpx.AsyncClient, session: dict[str, str]
) -> None:
    path = f"/v1/sessions/{session['id']}"
    assert (await http.get(path)).json()["clips"] == [
        {"name": "idle", "kind": "idle"},
        {"name": "hello", "kind": "greeting"},
        {"name": "wave", "kind": "gesture"},
        {"name": "nod", "kind": "gesture"},
        {"name": "talk", "kind": "talking"},
    ]
    changed = await http.patch(path, json={"avatar": "other"})
    assert changed.json()["clips"] == [{"name": "idle", "kind": "idle"}]


async def test_a_gesture_is_shown_once(spectator: Spectator, told: list[Event], show: Show) -> None:
    assert (await show("wave")).status_code == 202
    await eventually(lambda: ("clip_ended", "wave") in clips(told))
    await asyncio.sleep(0.3)
    assert clips(told) == [("clip_started", "wave"), ("clip_ended", "wave")]
    shown = [slot for slot, tick in zip(spectator.slots, spectator.ticks, strict=True) if tick.clip == "wave"]
    started, ended = told
    assert isinstance(started, ClipStarted)
    assert isinstance(ended, ClipEnded)
    assert (started.at, ended.at) == (shown[0] / 25, (shown[-1] + 1) / 25)
    assert 1 <= len(shown) <= FRAMES + 5


async def test_gestures_wait_for_one_another(told: list[Event], show: Show) -> None:
    assert [(await show(clip)).status_code for clip in ("wave", "nod")] == [202, 202]
    await eventually(lambda: ("clip_ended", "nod") in clips(told))
    assert [name for kind, name in clips(told) if kind == "clip_started"] == ["wave", "nod"]
    assert clips(told).index(("clip_ended", "wave")) < clips(told).index(("clip_started", "nod"))


async def test_what_is_shown_already_is_a_conflict(told: list[Event], show: Show) -> None:
    answers = await asyncio.gather(show("wave"), show("wave"))
    assert sorted(answer.status_code for answer in answers) == [202, 409]
    assert any("already" in answer.text for answer in answers)
    await eventually(lambda: ("clip_ended", "wave") in clips(told))
    assert (await show("wave")).status_code == 202


async def test_a_posture_may_be_asked_for_again(show: Show, told: list[Event]) -> None:
    for clip in ("talk", "idle", "idle"):
        assert (await show(clip)).status_code == 202
    await asyncio.sleep(0.2)
    assert clips(told) == [], "only what ends by itself is told"


async def test_unknown_clips_are_named(show: Show) -> None:
    response = await show("dance")
    assert response.status_code == 404
    assert response.json()["detail"] == (
        "This presenter has no clip 'dance'; it has idle, hello, wave, nod, talk."
    )
    assert (await show("")).status_code == 404


async def test_a_change_of_presenter_ends_a_gesture(
    http: httpx.AsyncClient, session: dict[str, str], told: list[Event], show: Show
) -> None:
    await http.post(f"/v1/sessions/{session['id']}/prepare", json={"avatar": "other"})
    await show("wave")
    await show("nod")
    await eventually(lambda: ("clip_started", "wave") in clips(told))
    await http.patch(f"/v1/sessions/{session['id']}", json={"avatar": "other"})
    await eventually(lambda: any(isinstance(event, AvatarChanged) for event in told))
    await asyncio.sleep(0.5)
    started = [name for kind, name in clips(told) if kind == "clip_started"]
    ended = [name for kind, name in clips(told) if kind == "clip_ended"]
    assert started == ended
    assert clips(told)[-1][0] == "clip_ended"
    types = [event.type for event in told]
    assert types.index("avatar_changed") == len(types) - 1


async def test_no_clip_while_the_presenter_is_being_changed(
    live: Session, show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live.casting, "_changing", True)
    response = await show("wave")
    assert response.status_code == 409
    assert "being changed" in response.json()["detail"]


async def greeted(http: httpx.AsyncClient, whep: str, live: Session, told: list[Event]) -> list[str]:
    """Clips that were begun by the time somebody has watched for a while."""
    await asyncio.sleep(0.3)
    assert clips(told) == [], "nobody is greeted before somebody comes"
    for _ in range(2):
        watcher = Watcher()
        await watcher.connect(exchange(http, whep))
        await asyncio.wait_for(watcher.pictures.recv(), 10)
        await eventually(lambda: live.figures.ticks > 3 * FRAMES)
        await asyncio.sleep(1.0)
        await watcher.close()
    return [name for kind, name in clips(told) if kind == "clip_started"]


async def test_the_first_viewer_is_greeted(
    http: httpx.AsyncClient, session: dict[str, str], live: Session, told: list[Event]
) -> None:
    assert await greeted(http, session["whep"], live, told) == ["hello"]


async def test_greeting_can_be_left_to_whoever_operates(avatars: Path, settings: Settings) -> None:
    app = create_app(
        settings.model_copy(update={"greeting": False}), EngineCast(lambda folder: FakeMouth(), "fake")
    )
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://koubo.test") as http:
            opened = (await http.post("/v1/sessions")).json()
            live: Session = app.state.table.get(opened["id"])
            told: list[Event] = []
            live.events.listen(told.append)
            assert await greeted(http, opened["whep"], live, told) == []
