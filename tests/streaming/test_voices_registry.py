"""Ids of voices, the settings that choose them, and failing voices as a session shows them."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from engine.errors import KouboError
from streaming.cast import EngineCast
from streaming.errors import Unprocessable
from streaming.events import VoiceFailed
from streaming.server import create_app
from streaming.settings import Settings
from streaming.voices.registry import Voices, open_voices
from tests.fakes import FakeMouth
from tests.streaming.conftest import eventually
from tests.streaming.fake_speech import Answer, SpeechServer, speech_server, tone

OPENAI = {"openai_voice_url": "http://127.0.0.1:1/v1", "openai_voices": ("alloy", "nova")}


def voices_of(**fields: object) -> Voices:
    return open_voices(Settings.model_validate(fields))


@pytest.fixture(autouse=True)
def no_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the package is there or not, these tests see the same."""
    monkeypatch.setattr("streaming.voices.edge.find_spec", lambda name: None)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.mark.parametrize(
    ("text", "asked", "chosen"),
    [
        ("Hello", None, "espeak:en-us"),
        ("你好", None, "espeak:cmn"),
        ("Hello", "en-gb", "espeak:en-gb"),
        ("Hello", "espeak:en-gb", "espeak:en-gb"),
        ("你好", "espeak", "espeak:cmn"),
        ("Hello", "openai", "openai:alloy"),
        ("Hello", "openai:", "openai:alloy"),
        ("你好", "openai:nova", "openai:nova"),
    ],
)
def test_ids(text: str, asked: str | None, chosen: str) -> None:
    assert voices_of(**OPENAI).choose(text, asked) == chosen


@pytest.mark.parametrize(
    ("default", "text", "chosen"),
    [
        ("en-gb", "Hello", "espeak:en-gb"),
        ("espeak:de", "Hallo", "espeak:de"),
        ("espeak:de", "你好", "espeak:cmn"),
        ("openai:nova", "Hello", "openai:nova"),
        # A voice of many languages that was made the default speaks all of them.
        ("openai:nova", "你好", "openai:nova"),
        ("openai", "你好", "openai:alloy"),
    ],
)
def test_the_default_voice(default: str, text: str, chosen: str) -> None:
    assert voices_of(default_voice=default, **OPENAI).choose(text, None) == chosen


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ("klingon", "GET /v1/voices"),
        ("espeak:klingon", "GET /v1/voices"),
        ("azure:x", "There are no voices of 'azure'"),
        ("openai:alloy", "set KOUBO_OPENAI_VOICE_URL"),
        ("openai", "set KOUBO_OPENAI_VOICE_URL"),
        ("edge:zh-CN-XiaoxiaoNeural", "pip install edge-tts"),
    ],
)
def test_a_voice_that_cannot_be_used_is_refused_with_what_to_do(asked: str, sentence: str) -> None:
    with pytest.raises(Unprocessable, match=sentence):
        voices_of().choose("Hello", asked)


def test_all_voices_are_listed_by_whole_ids_those_of_the_default_kind_first() -> None:
    found = [info.id for info in voices_of(**OPENAI).voices()]
    assert found[0] == "espeak:en-us"
    assert found[-2:] == ["openai:alloy", "openai:nova"]
    assert len(set(found)) == len(found)
    assert voices_of(default_voice="openai:nova", **OPENAI).voices()[0].id == "openai:alloy"
    for voice_id in found:
        assert voices_of(**OPENAI).choose("Hello", voice_id) == voice_id


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"default_voice": "klingon"}, "KOUBO_DEFAULT_VOICE cannot be used: There is no voice 'klingon'"),
        ({"default_voice": "openai:alloy"}, "KOUBO_DEFAULT_VOICE cannot be used: .*KOUBO_OPENAI_VOICE_URL"),
        ({"fallback_voice": "edge"}, "KOUBO_FALLBACK_VOICE cannot be used: .*edge-tts"),
    ],
)
def test_settings_that_name_no_voice_are_told_when_the_server_is_made(
    fields: dict[str, str], sentence: str
) -> None:
    with pytest.raises(KouboError, match=sentence):
        create_app(Settings.model_validate(fields))


async def test_pieces_go_to_the_voice_of_their_id() -> None:
    async with speech_server(lambda to: to.pcm(tone(0.1))) as server:
        voices = voices_of(openai_voice_url=server.url, openai_voices=("alloy",))
        assert sum([part.size async for part in voices.synthesise("Hi.", "espeak:en-us")]) > 4000
        assert server.requests == []
        assert sum([part.size async for part in voices.synthesise("Hi.", "openai:alloy")]) == 1600
        assert server.requests[0]["voice"] == "alloy"
        await voices.close()


class Stage:
    """A served session with a speech server at its side."""

    def __init__(self, app: FastAPI, server: SpeechServer) -> None:
        self.app = app
        self.server = server
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://koubo.test")
        self.path = ""

    async def open(self) -> None:
        self.path = f"/v1/sessions/{(await self.http.post('/v1/sessions')).json()['id']}"

    async def say(self, text: str, voice: str = "openai:alloy") -> None:
        response = await self.http.post(f"{self.path}/speak", json={"text": text, "voice": voice})
        assert response.status_code == 202, response.text

    async def shown(self) -> dict[str, object]:
        found: dict[str, object] = (await self.http.get(self.path)).json()
        return found

    async def speaks(self) -> bool:
        return bool((await self.shown())["speaking"])


async def hear(to: Answer) -> None:
    await to.pcm(tone(2.0, 150.0))


async def refuse(to: Answer) -> None:
    await to.head(500, "text/plain")
    await to.end()


async def stall(to: Answer) -> None:
    await to.head()
    await asyncio.sleep(30)


@pytest.fixture(params=["espeak"])
def fallback(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def stage(avatars: Path, fallback: str) -> AsyncIterator[Stage]:
    async with speech_server(hear) as server:
        settings = Settings.model_validate(
            {
                "default_avatar": "fake",
                "openai_voice_url": server.url,
                "openai_voices": ["alloy"],
                "voice_patience_s": 0.3,
                "fallback_voice": fallback,
            }
        )
        app = create_app(settings, EngineCast(lambda folder: FakeMouth(), "fake"))
        async with app.router.lifespan_context(app):
            stage = Stage(app, server)
            async with stage.http:
                await stage.open()
                yield stage


async def test_a_voice_of_the_network_speaks_in_a_session(stage: Stage) -> None:
    await stage.say("Hello.")
    backlog = [0.0]

    async def pushed() -> bool:
        backlog[0] = float(str((await stage.shown())["backlog_ms"]))
        return backlog[0] > 500

    await eventually(pushed)
    assert backlog[0] <= 2000
    assert (await stage.shown())["voice_error"] is None
    metrics = (await stage.http.get("/metrics")).text
    assert 'koubo_voice_first_sound_seconds_count{voice="openai"} 1.0' in metrics


@pytest.mark.parametrize(("answer", "asked"), [(refuse, 2), (stall, 1)])
async def test_a_failing_voice_is_told_and_espeak_speaks_instead(
    stage: Stage, answer: object, asked: int
) -> None:
    stage.server.answer = answer  # type: ignore[assignment]
    session = stage.app.state.table.get(stage.path.rpartition("/")[2])
    with session.events.subscribe() as events:
        await stage.say("Good evening, everybody.")
        await eventually(stage.speaks)
        async with asyncio.timeout(5):
            failed = await anext(event async for event in events if isinstance(event, VoiceFailed))
    assert failed.voice == "openai:alloy"
    assert failed.sentence.endswith("The voice espeak:en-us goes on.")
    assert json.dumps(failed.as_json())
    assert (await stage.shown())["voice_error"] == failed.sentence
    # One that hangs has cost enough time at the first try.
    assert len(stage.server.requests) == asked
    assert 'koubo_voice_failures_total{voice="openai"} 1.0' in (await stage.http.get("/metrics")).text


@pytest.mark.parametrize("fallback", [""], indirect=True)
async def test_without_a_voice_to_stand_in_the_presenter_stays_and_speaks_the_next_text(stage: Stage) -> None:
    stage.server.answer = refuse
    await stage.say("Lost.")

    async def told() -> bool:
        return (await stage.shown())["voice_error"] is not None

    await eventually(told)
    assert "status 500" in str((await stage.shown())["voice_error"])
    await stage.say("Heard.", "espeak:en-us")
    await eventually(stage.speaks)


async def test_an_interrupt_ends_the_synthesis_at_once(stage: Stage) -> None:
    async def endless(to: Answer) -> None:
        await to.head()
        while True:
            await to.send(tone(0.2, 150.0).tobytes())
            await asyncio.sleep(0.05)

    stage.server.answer = endless
    await stage.say("A very long story.")
    await eventually(stage.speaks)
    clock = asyncio.get_running_loop().time
    began = clock()
    assert (await stage.http.post(f"{stage.path}/interrupt")).json()["dropped_ms"] > 0
    await eventually(lambda: stage.server.broken_off == 1, 2)
    assert clock() - began < 1
    assert float(str((await stage.shown())["backlog_ms"])) == 0
    assert (await stage.shown())["voice_error"] is None
