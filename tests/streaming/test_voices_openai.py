"""OpenAI's speech endpoint, over real HTTP to a server on loopback that streams, stalls and breaks."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

import numpy as np
import pytest

from engine.speech.audio import SAMPLE_RATE, Samples, from_pcm16
from engine.speech.espeak import VoiceError
from streaming.errors import Unprocessable
from streaming.settings import Settings
from streaming.voices.narration import Narrator, Witness
from streaming.voices.openai import OpenAIVoice, open_openai
from tests.streaming.conftest import eventually
from tests.streaming.fake_speech import RATE, Answer, SpeechServer, speech_server, tone

SOUND = tone(0.5)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


async def whole(answer: Answer) -> None:
    await answer.pcm(SOUND)


@pytest.fixture
async def server() -> AsyncIterator[SpeechServer]:
    async with speech_server(whole) as server:
        yield server


@pytest.fixture
async def voice(server: SpeechServer) -> AsyncIterator[OpenAIVoice]:
    voice = OpenAIVoice(server.url, "secret", "model-1", ("alloy", "nova"))
    yield voice
    await voice.close()


async def spoken(voice: OpenAIVoice, text: str = "Hello.") -> Samples:
    return np.concatenate([part async for part in voice.synthesise(text, "nova")])


async def test_a_piece_is_asked_for_as_openai_says_and_comes_back_at_16_khz(
    voice: OpenAIVoice, server: SpeechServer
) -> None:
    samples = await spoken(voice)
    (request,) = server.requests
    assert request["path"] == "/v1/audio/speech"
    assert request["headers"]["authorization"] == "Bearer secret"
    assert request["headers"]["content-type"] == "application/json"
    wanted = {"model": "model-1", "input": "Hello.", "voice": "nova", "response_format": "pcm"}
    assert {name: request[name] for name in wanted} == wanted
    assert samples.dtype == np.float32
    assert samples.size == SOUND.size * SAMPLE_RATE // RATE
    assert 0.45 < np.abs(samples).max() < 0.55
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(samples.size)))
    assert abs(np.argmax(spectrum) * SAMPLE_RATE / samples.size - 220) < 3


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
async def test_servers_of_other_rates(server: SpeechServer, rate: int) -> None:
    async def answer(to: Answer) -> None:
        await to.pcm(tone(0.3, rate=rate))

    server.answer = answer
    voice = OpenAIVoice(server.url, None, "m", ("nova",), rate)
    samples = await spoken(voice)
    await voice.close()
    assert abs(samples.size - 0.3 * SAMPLE_RATE) <= 1
    assert "authorization" not in server.requests[0]["headers"]


async def test_the_first_sound_is_spoken_while_the_rest_still_comes(
    voice: OpenAIVoice, server: SpeechServer
) -> None:
    go_on = asyncio.Event()

    async def answer(to: Answer) -> None:
        await to.head()
        await to.send(SOUND[:6000].tobytes())
        await go_on.wait()
        await to.send(SOUND[6000:].tobytes())
        await to.end()

    server.answer = answer
    async with aclosing(voice.synthesise("Hello.", "nova")) as stream:
        async with asyncio.timeout(5):
            early = await anext(stream)
        assert early.size > 0
        go_on.set()
        rest = [part async for part in stream]
    assert early.size + sum(part.size for part in rest) == SOUND.size * 2 // 3


async def test_samples_cut_in_halves_come_out_whole(voice: OpenAIVoice, server: SpeechServer) -> None:
    """Bytes in the oddest portions are the same sound."""

    async def answer(to: Answer) -> None:
        await to.head()
        data = SOUND.tobytes()
        for start in range(0, len(data), 997):
            await to.send(data[start : start + 997])
        await to.end()

    at_once = await spoken(voice)
    server.answer = answer
    assert np.array_equal(await spoken(voice), at_once)


async def test_a_voice_that_speaks_at_16_khz_is_not_resampled(server: SpeechServer) -> None:
    voice = OpenAIVoice(server.url, None, "m", ("nova",), SAMPLE_RATE)
    assert np.array_equal(await spoken(voice), from_pcm16(SOUND))
    await voice.close()


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (401, b'{"error":{"message":"Bad key."}}', "status 401 (Bad key); check KOUBO_OPENAI_VOICE_KEY."),
        (404, b'{"error":"No such model"}', "status 404 (No such model); check voice, model and server."),
        (500, b"<html>oops</html>", "status 500; check voice, model and server."),
        (429, b"[]", "status 429; check voice, model and server."),
    ],
)
async def test_a_refusal_is_one_sentence(
    voice: OpenAIVoice, server: SpeechServer, status: int, body: bytes, sentence: str
) -> None:
    async def answer(to: Answer) -> None:
        await to.head(status, "application/json")
        await to.send(body)
        await to.end()

    server.answer = answer
    with pytest.raises(VoiceError) as caught:
        await spoken(voice)
    assert str(caught.value) == f"The voice server refused with {sentence}"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "start", [b"RIFF\x24\x00\x00\x00WAVE", b"ID3\x04", b"\xff\xfb\x90\x64", b'{"audio": 1}']
)
async def test_a_server_that_sends_another_format_is_told_apart_from_noise(
    voice: OpenAIVoice, server: SpeechServer, start: bytes
) -> None:
    async def answer(to: Answer) -> None:
        await to.head()
        await to.send(start + bytes(4000))
        await to.end()

    server.answer = answer
    with pytest.raises(VoiceError, match="does not send bare samples"):
        await spoken(voice)


async def test_a_connection_that_breaks_off_is_a_fault(voice: OpenAIVoice, server: SpeechServer) -> None:
    async def answer(to: Answer) -> None:
        await to.head()
        await to.send(SOUND.tobytes())
        to.hang_up()

    server.answer = answer
    with pytest.raises(VoiceError, match="cannot be reached"):
        await spoken(voice)


async def test_nobody_at_the_address_is_a_fault() -> None:
    voice = OpenAIVoice("http://127.0.0.1:1/v1/", None, "m", ("nova",))
    with pytest.raises(VoiceError, match=r"cannot be reached .*; check KOUBO_OPENAI_VOICE_URL"):
        await spoken(voice)
    await voice.close()


async def test_an_empty_answer_yields_nothing(voice: OpenAIVoice, server: SpeechServer) -> None:
    async def answer(to: Answer) -> None:
        await to.head()
        await to.end()

    server.answer = answer
    assert [part async for part in voice.synthesise("Hello.", "nova")] == []


async def test_leaving_early_hangs_up(voice: OpenAIVoice, server: SpeechServer) -> None:
    """An interrupt must not leave the server speaking to nobody, for that costs money."""

    async def answer(to: Answer) -> None:
        await to.head()
        await to.send(SOUND.tobytes())
        await asyncio.sleep(30)

    server.answer = answer
    async with aclosing(voice.synthesise("Hello.", "nova")) as stream:
        await anext(stream)
    await eventually(lambda: server.broken_off == 1, 2)


async def test_chinese_numbers_are_put_into_words_and_others_left_to_the_server(
    voice: OpenAIVoice, server: SpeechServer
) -> None:
    await spoken(voice, "增长25%。")
    await spoken(voice, "Up 25%.")
    assert [request["input"] for request in server.requests] == ["增长百分之二十五。", "Up 25%."]


def stall_first(stalls: int) -> Callable[[Answer], Awaitable[None]]:
    """Answers that never come, before those that do."""
    left = stalls

    async def answer(to: Answer) -> None:
        nonlocal left
        left -= 1
        if left >= 0:
            await to.head()
            await asyncio.sleep(30)
        await to.pcm(SOUND)

    return answer


async def narrated(voice: OpenAIVoice, told: list[str]) -> int:
    """Samples of a narration that is not patient; `told` takes what its witness hears."""
    witness = Witness(failed=lambda voice_id, sentence: told.append(sentence))
    async with aclosing(
        Narrator(voice, patience_s=0.15, witness=witness).narrate("Hello.", "nova")
    ) as speech:
        return sum([part.size async for part in speech])


async def test_a_server_that_stalls_once_is_asked_again(voice: OpenAIVoice, server: SpeechServer) -> None:
    server.answer = stall_first(1)
    told: list[str] = []
    assert await narrated(voice, told) == SOUND.size * 2 // 3
    assert told == []
    assert len(server.requests) == 2
    await eventually(lambda: server.broken_off == 1, 2)


async def test_a_server_that_stalls_twice_has_failed(voice: OpenAIVoice, server: SpeechServer) -> None:
    server.answer = stall_first(2)
    told: list[str] = []
    with pytest.raises(VoiceError, match=r"gave nothing for 0\.15 s"):
        await narrated(voice, told)
    assert len(told) == 1
    assert len(server.requests) == 2
    await eventually(lambda: server.broken_off == 2, 2)


async def test_only_voices_that_the_settings_name_can_be_chosen(voice: OpenAIVoice) -> None:
    assert voice.choose("Hello", None) == "alloy"
    assert voice.choose("你好", "nova") == "nova"
    assert [(info.id, info.language) for info in voice.voices()] == [("alloy", "mul"), ("nova", "mul")]
    with pytest.raises(Unprocessable, match=r"openai:klingon.*KOUBO_OPENAI_VOICES"):
        voice.choose("Hello", "klingon")


async def test_settings_open_it(server: SpeechServer) -> None:
    assert open_openai(Settings()) is None
    settings = Settings(
        openai_voice_url=server.url,  # type: ignore[arg-type]
        openai_voice_key="k",  # type: ignore[arg-type]
        openai_voices=("x_y",),
        openai_voice_model="kokoro",
    )
    assert "k" not in repr(settings.openai_voice_key)
    voice = open_openai(settings)
    assert voice is not None
    assert voice.voices()[0].name == "X Y"
    assert [part.dtype async for part in voice.synthesise("Hi.", "x_y")]
    await voice.close()
    assert server.requests[0]["model"] == "kokoro"
    assert server.requests[0]["headers"]["authorization"] == "Bearer k"
