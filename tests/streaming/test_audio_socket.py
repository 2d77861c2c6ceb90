"""The audio socket as an agent uses it: a real client, a real socket, a real session."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from streaming.api.audio import MAX_CONTROL_CHARS
from streaming.sessions import Session
from streaming.settings import Settings
from tests.streaming.conftest import eventually
from tests.streaming.presenters import make_presenter
from tests.streaming.spectator import Spectator, watch

START = {"type": "start", "sample_rate": 16_000, "format": "s16le"}


@pytest.fixture
def settings() -> Settings:
    return Settings(default_avatar="fake", max_sessions=3, text_queue=2, audio_buffer_s=3)


@pytest.fixture
async def address(app: FastAPI) -> AsyncIterator[str]:
    """Where the app listens; its lifespan is run by the fixture of the app."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            timeout_graceful_shutdown=1,
            ws_per_message_deflate=False,
        )
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        await eventually(lambda: server.started)
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}"
        # As the server does when it drains: sockets end with their sessions.
        await app.state.table.close()
        server.should_exit = True
        await task


@pytest.fixture
async def opened(app: FastAPI, session: dict[str, str]) -> Session:
    found: Session = app.state.table.get(session["id"])
    return found


class Agent:
    """A producer's end of the socket."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def tell(self, **message: object) -> None:
        await self.socket.send(json.dumps(message))

    async def say(self, seconds: float, rate: int = 16_000) -> None:
        tone = np.where(np.arange(round(seconds * rate)) % 100 < 50, 6000, -6000).astype("<i2")
        for start in range(0, tone.size, rate // 50):
            await self.socket.send(tone[start : start + rate // 50].tobytes())

    async def hear(self, kind: str) -> dict[str, Any]:
        """The next event of this kind; others before it are passed over."""
        async with asyncio.timeout(10):
            while True:
                event: dict[str, Any] = json.loads(await self.socket.recv())
                if event["type"] == kind:
                    return event


@pytest.fixture
async def agent(address: str, opened: Session) -> AsyncIterator[Agent]:
    where = f"{address}/v1/sessions/{opened.id}/audio"
    async with connect(where, ping_interval=None, close_timeout=0.5) as socket:
        agent = Agent(socket)
        await agent.tell(**START)
        assert await agent.hear("ready") == {
            "type": "ready",
            "session": opened.id,
            "sample_rate": 16_000,
            "buffer_ms": 3000.0,
        }
        yield agent


def loud_ms(spectator: Spectator) -> float:
    """How long the tone was heard."""
    samples = sum(int(np.count_nonzero(tick.sound)) for tick in spectator.ticks)
    return 1000 * samples / 16_000


async def test_an_utterance_is_spoken_and_told_to_its_last_millisecond(agent: Agent, opened: Session) -> None:
    spectator = watch(opened)
    await agent.tell(type="begin", utterance="greeting")
    await agent.say(0.9)
    await agent.tell(type="finish", utterance="greeting")
    started = await agent.hear("speak_started")
    assert started["utterance"] == "greeting"
    ended = await agent.hear("speak_ended")
    assert ended == {
        "type": "speak_ended",
        "utterance": "greeting",
        "played_ms": 900.0,
        "interrupted": False,
    }
    assert loud_ms(spectator) == 900.0
    first = next(
        slot for slot, tick in zip(spectator.slots, spectator.ticks, strict=True) if tick.sound.any()
    )
    assert started["at"] == first / 25


async def test_an_interrupt_tells_what_was_really_played(agent: Agent, opened: Session) -> None:
    spectator = watch(opened)
    await agent.say(2.5)
    await agent.hear("speak_started")
    await asyncio.sleep(0.3)
    await agent.tell(type="interrupt")
    ended = await agent.hear("speak_ended")
    interrupted = await agent.hear("interrupted")
    assert ended["interrupted"]
    assert 200 <= ended["played_ms"] <= 1000
    assert ended["played_ms"] + interrupted["dropped_ms"] == pytest.approx(2500)
    heard = loud_ms(spectator)
    assert heard == ended["played_ms"]
    await asyncio.sleep(0.2)
    assert loud_ms(spectator) == heard
    # What comes next is new.
    await agent.say(0.2)
    await agent.tell(type="finish")
    assert (await agent.hear("speak_ended"))["played_ms"] == 200.0


async def test_clear_buffer_takes_back_what_was_not_heard(agent: Agent, opened: Session) -> None:
    await agent.say(2.0)
    await agent.tell(type="finish")
    await agent.hear("speak_started")
    await agent.tell(type="clear_buffer")
    ended = await agent.hear("speak_ended")
    cleared = await agent.hear("buffer_cleared")
    assert ended["interrupted"]
    assert cleared["dropped_ms"] + ended["played_ms"] == pytest.approx(2000)
    await agent.tell(type="clear_buffer")
    assert (await agent.hear("buffer_cleared"))["dropped_ms"] == 0


async def test_an_agent_shows_clips_and_hears_what_became_of_them(
    agent: Agent, avatars: Path, opened: Session, http: httpx.AsyncClient
) -> None:
    await agent.tell(type="clip", name="wave")
    assert "no clip 'wave'; it has idle" in (await agent.hear("error"))["sentence"]
    make_presenter(avatars, "lively", clips={"wave": "gesture"})
    await http.patch(f"/v1/sessions/{opened.id}", json={"avatar": "lively"})
    assert (await agent.hear("avatar_changed"))["avatar"] == "lively"
    await agent.tell(type="clip", name="wave")
    await agent.tell(type="clip", name="wave")
    assert "already" in (await agent.hear("error"))["sentence"]
    assert (await agent.hear("clip_ended"))["clip"] == "wave"


async def test_clear_buffer_leaves_a_text_alone(
    agent: Agent, opened: Session, http: httpx.AsyncClient
) -> None:
    await http.post(f"/v1/sessions/{opened.id}/speak", json={"text": "One, two, three, four, five, six."})
    assert (await agent.hear("speak_started"))["utterance"] == "text-1"
    await agent.say(0.5)
    await agent.tell(type="clear_buffer")
    assert (await agent.hear("speak_ended"))["utterance"] == "1"
    assert (await agent.hear("buffer_cleared"))["dropped_ms"] == 500
    assert not (await agent.hear("speak_ended"))["interrupted"]


async def test_an_interrupt_by_http_cuts_the_agent_and_the_rest_of_its_sentence(
    agent: Agent, opened: Session, http: httpx.AsyncClient
) -> None:
    spectator = watch(opened)
    await agent.tell(type="begin", utterance="long")
    await agent.say(1.0)
    await agent.hear("speak_started")
    response = await http.post(f"/v1/sessions/{opened.id}/interrupt")
    assert response.json()["dropped_ms"] > 0
    await agent.say(1.0)
    await agent.tell(type="finish", utterance="long")
    assert (await agent.hear("speak_ended"))["interrupted"]
    await agent.hear("interrupted")
    await agent.tell(type="begin", utterance="next")
    await agent.tell(type="finish")
    assert await agent.hear("speak_ended") == {
        "type": "speak_ended",
        "utterance": "next",
        "played_ms": 0.0,
        "interrupted": False,
    }
    assert loud_ms(spectator) < 1000


async def test_texts_wait_their_turn(agent: Agent, opened: Session, http: httpx.AsyncClient) -> None:
    address = f"/v1/sessions/{opened.id}/speak"
    await agent.say(0.5)
    await agent.hear("speak_started")
    refused = await http.post(address, json={"text": "Hello."})
    assert refused.status_code == 409
    assert "agent" in refused.json()["detail"]
    await agent.tell(type="finish")
    await agent.hear("speak_ended")
    assert (await http.post(address, json={"text": "Hello."})).status_code == 202
    await agent.say(0.2)
    await agent.tell(type="finish")
    assert (await agent.hear("speak_ended"))["utterance"] == "text-1"
    assert (await agent.hear("speak_started"))["utterance"] == "2"


@pytest.mark.parametrize("rate", [8000, 24_000, 44_100, 48_000])
async def test_other_rates_are_told_in_their_own_milliseconds(
    address: str, opened: Session, rate: int
) -> None:
    async with connect(f"{address}/v1/sessions/{opened.id}/audio") as socket:
        agent = Agent(socket)
        await agent.tell(**START | {"sample_rate": rate})
        await agent.say(0.48, rate)
        await agent.tell(type="finish")
        assert (await agent.hear("speak_ended"))["played_ms"] == 480.0


async def test_over_the_limit_the_socket_is_not_read(agent: Agent, opened: Session) -> None:
    """Minutes of sound are sent at once; no more than the limit and one message waits in the session."""
    chunk = np.random.default_rng(1).bytes(64_000)  # 2 s
    sending = asyncio.create_task(_send_all(agent, [chunk] * 200))
    await eventually(lambda: opened.feed.held_s + opened.backlog_s >= 3)
    for _ in range(20):
        await asyncio.sleep(0.02)
        assert opened.feed.held_s + opened.backlog_s <= 5
    assert not sending.done()
    # Interrupting goes round the socket that is not read.
    await opened.interrupt()
    await eventually(lambda: opened.feed.held_s + opened.backlog_s < 3)
    await stop(agent, sending)


async def stop(agent: Agent, sending: asyncio.Task[None]) -> None:
    """Hang up in the middle of sending: closing politely would wait behind all that sound."""
    sending.cancel()
    await asyncio.wait([sending])
    agent.socket.transport.abort()


async def _send_all(agent: Agent, chunks: list[bytes]) -> None:
    for chunk in chunks:
        await agent.socket.send(chunk)


@pytest.mark.parametrize(
    "message",
    [
        "",
        "{",
        "null",
        "[]",
        '"finish"',
        "[" * 2000,
        '{"type": "dance"}',
        '{"type": "begin"}',
        '{"type": "begin", "utterance": ""}',
        '{"type": "begin", "utterance": 7}',
        '{"type": "finish", "utterance": "unknown"}',
        '{"type": "finish"}',
        '{"type": "start", "sample_rate": 16000}',
        "x" * (MAX_CONTROL_CHARS + 1),
    ],
)
async def test_a_malformed_message_is_answered_and_the_socket_goes_on(agent: Agent, message: str) -> None:
    await agent.socket.send(message)
    sentence = (await agent.hear("error"))["sentence"]
    assert sentence.endswith(".")
    assert "\n" not in sentence
    await agent.say(0.1)
    await agent.tell(type="finish")
    assert (await agent.hear("speak_ended"))["played_ms"] == 100.0


async def test_odd_pieces_of_sound_are_joined(agent: Agent) -> None:
    for size in (1, 2, 3, 0, 5, 1589):
        await agent.socket.send(b"\x10" * size)
    await agent.tell(type="finish")
    assert (await agent.hear("speak_ended"))["played_ms"] == 50.0


@pytest.mark.parametrize(
    "first",
    ["", "hello", "[]", b"\x00\x00", '{"type": "begin", "utterance": "a"}']
    + [
        json.dumps(START | wrong)
        for wrong in ({"sample_rate": 7999}, {"sample_rate": 48_001}, {"format": "f32"})
    ],
)
async def test_another_first_message_is_4400(address: str, opened: Session, first: str | bytes) -> None:
    async with connect(f"{address}/v1/sessions/{opened.id}/audio") as socket:
        await socket.send(first)
        assert json.loads(await socket.recv())["sentence"].startswith("The first message must be")
        assert await code_of(socket) == 4400
    assert not opened.feed.taken


async def code_of(socket: ClientConnection) -> int | None:
    async with asyncio.timeout(10):
        with suppress(ConnectionClosed):
            while True:
                await socket.recv()
    return socket.close_code


async def test_an_unknown_session_is_4404(address: str) -> None:
    async with connect(f"{address}/v1/sessions/unknown/audio") as socket:
        assert "no such session" in json.loads(await socket.recv())["sentence"]
        assert await code_of(socket) == 4404


async def test_a_second_producer_is_4409_until_the_first_has_gone(
    address: str, opened: Session, agent: Agent
) -> None:
    where = f"{address}/v1/sessions/{opened.id}/audio"
    async with connect(where) as second:
        await second.send(json.dumps(START))
        assert "Another producer" in json.loads(await second.recv())["sentence"]
        assert await code_of(second) == 4409
    assert opened.feed.taken
    await agent.socket.close()
    await eventually(lambda: not opened.feed.taken)
    async with connect(where) as third:
        await third.send(json.dumps(START))
        assert json.loads(await third.recv())["type"] == "ready"


async def test_a_message_that_is_too_large_ends_the_socket_and_nothing_else(
    agent: Agent, opened: Session
) -> None:
    with suppress(ConnectionClosed):
        await agent.socket.send(bytes(20 << 20))
    assert await code_of(agent.socket) == 1009
    await eventually(lambda: not opened.feed.taken)


async def test_the_socket_ends_with_its_session(
    agent: Agent, opened: Session, http: httpx.AsyncClient
) -> None:
    await agent.say(1.0)
    assert (await http.delete(f"/v1/sessions/{opened.id}")).status_code == 204
    assert await code_of(agent.socket) == 1001


async def test_an_agent_that_vanishes_is_heard_to_its_last_word(agent: Agent, opened: Session) -> None:
    spectator = watch(opened)
    await agent.say(0.5)
    agent.socket.transport.abort()
    await eventually(lambda: not opened.feed.taken)
    await eventually(lambda: loud_ms(spectator) == 500.0)
    assert opened.state == "waiting"


async def test_a_flood_of_small_messages_does_not_hold_the_ticks_up(agent: Agent, opened: Session) -> None:
    # Debugging costs more than the messages do.
    asyncio.get_running_loop().set_debug(False)
    spectator = watch(opened)
    sending = asyncio.create_task(_send_all(agent, [bytes(320)] * 100_000))
    await asyncio.sleep(2)
    await stop(agent, sending)
    # The client floods from the very same thread; even so, most ticks came, and no long stall between them.
    assert len(spectator.slots) >= 30
    assert np.diff(spectator.slots).max() <= 10
