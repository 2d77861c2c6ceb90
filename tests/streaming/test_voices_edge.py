"""Edge's voices: the real package edge-tts against its service's WebSocket protocol, served on loopback."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import av
import numpy as np
import pytest

from engine.errors import MissingToolError
from engine.speech.audio import SAMPLE_RATE, Samples
from engine.speech.espeak import VoiceError
from streaming.errors import Unprocessable
from streaming.settings import Settings
from streaming.voices.edge import USUAL, EdgeVoice, open_edge
from tests.streaming.conftest import eventually
from tests.streaming.fake_speech import RATE, tone

VOICE = "zh-CN-XiaoxiaoNeural"


def mp3(seconds: float) -> bytes:
    """A tone as the service sends it: MP3, 24 kHz, 48 kbit/s, mono, without a header."""
    codec: Any = av.CodecContext.create("libmp3lame", "w")
    codec.sample_rate, codec.layout, codec.format, codec.bit_rate = RATE, "mono", "s16p", 48_000
    frame = av.AudioFrame.from_ndarray(tone(seconds).reshape(1, -1), format="s16p", layout="mono")
    frame.sample_rate, frame.pts = RATE, 0
    codec.open()
    fifo = av.AudioFifo()
    fifo.write(frame)
    packets = [packet for part in fifo.read_many(codec.frame_size) for packet in codec.encode(part)]
    return b"".join(bytes(packet) for packet in [*packets, *codec.encode(None)])


class Service:
    """The service as far as edge-tts knows it. `play` sends what answers a text."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.gone = 0
        self.play: Callable[[Service, Any], Awaitable[None]] = lambda service, socket: service.whole(socket)

    async def handle(self, request: Any) -> Any:
        from aiohttp import WSMsgType, web

        socket = web.WebSocketResponse()
        await socket.prepare(request)
        config = (await socket.receive()).data
        assert "Path:speech.config" in config
        assert "audio-24khz-48kbitrate-mono-mp3" in config
        self.heard.append((await socket.receive()).data)
        playing = asyncio.ensure_future(self.play(self, socket))
        closing = asyncio.ensure_future(socket.receive())
        await asyncio.wait([playing, closing], return_when=asyncio.FIRST_COMPLETED)
        if not playing.done():
            assert closing.result().type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED)
            self.gone += 1
        for task in (playing, closing):
            task.cancel()
        await asyncio.gather(playing, closing, return_exceptions=True)
        await socket.close()
        return socket

    async def audio(self, socket: Any, data: bytes) -> None:
        head = b"X-RequestId:1\r\nContent-Type:audio/mpeg\r\nPath:audio\r\n"
        await socket.send_bytes(len(head).to_bytes(2, "big") + head + data)

    async def text(self, socket: Any, path: str, body: str = "{}") -> None:
        await socket.send_str(f"X-RequestId:1\r\nPath:{path}\r\n\r\n{body}")

    async def whole(self, socket: Any) -> None:
        await self.text(socket, "turn.start")
        sound = mp3(0.6)
        for start in range(0, len(sound), 500):
            await self.audio(socket, sound[start : start + 500])
        boundary = '{"Type":"SentenceBoundary","Data":{"Offset":0,"Duration":1,"text":{"Text":"a"}}}'
        await self.text(socket, "audio.metadata", f'{{"Metadata":[{boundary}]}}')
        await self.text(socket, "turn.end")
        await asyncio.sleep(5)


@pytest.fixture
async def service(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Service]:
    pytest.importorskip("edge_tts", reason="needs the package edge-tts")
    from aiohttp import web

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    service = Service()
    app = web.Application()
    app.router.add_get("/edge", service.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    monkeypatch.setattr("edge_tts.communicate.WSS_URL", f"ws://127.0.0.1:{port}/edge?key=1")
    yield service
    await runner.cleanup()


async def spoken(text: str = "大家好。", voice_id: str = VOICE) -> Samples:
    return np.concatenate([part async for part in EdgeVoice().synthesise(text, voice_id)])


async def test_the_services_mp3_becomes_speech_at_16_khz(service: Service) -> None:
    samples = await spoken()
    assert samples.dtype == np.float32
    # An MP3 encoder pads both ends by a frame or two.
    assert 0.6 <= samples.size / SAMPLE_RATE < 0.75
    assert 0.4 < np.abs(samples).max() <= 1
    middle = samples[2000:8000]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(middle.size)))
    assert abs(np.argmax(spectrum) * SAMPLE_RATE / middle.size - 220) < 4


async def test_the_service_is_asked_for_the_voice_and_hears_words(service: Service) -> None:
    await spoken("增长25%，<b>&。")
    (asked,) = service.heard
    assert "XiaoxiaoNeural" in asked
    assert "增长百分之二十五" in asked
    # What comes from outside is text, not SSML.
    assert "<b>" not in asked
    assert "&lt;b&gt;" in asked


async def test_the_first_sound_comes_while_the_rest_is_made(service: Service) -> None:
    async def play(service: Service, socket: Any) -> None:
        await service.text(socket, "turn.start")
        await service.audio(socket, mp3(0.6)[:1500])
        await asyncio.sleep(30)

    service.play = play
    async with aclosing(EdgeVoice().synthesise("Hello.", VOICE)) as stream:
        async with asyncio.timeout(5):
            assert (await anext(stream)).size > 0
    await eventually(lambda: service.gone == 1, 3)


async def test_cancelled_while_it_waits_it_hangs_up(service: Service) -> None:
    async def play(service: Service, socket: Any) -> None:
        await asyncio.sleep(30)

    service.play = play
    task = asyncio.create_task(spoken())
    await eventually(lambda: len(service.heard) == 1, 3)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    await eventually(lambda: service.gone == 1, 3)


async def no_sound(service: Service, socket: Any) -> None:
    await service.text(socket, "turn.start")
    await service.text(socket, "turn.end")
    await asyncio.sleep(5)


async def nonsense(service: Service, socket: Any) -> None:
    await service.text(socket, "something.else")
    await asyncio.sleep(5)


async def hang_up(service: Service, socket: Any) -> None:
    await socket.close()


@pytest.mark.parametrize("play", [no_sound, nonsense, hang_up])
async def test_whatever_the_service_does_wrong_is_one_sentence(
    service: Service, play: Callable[[Service, Any], Awaitable[None]]
) -> None:
    service.play = play
    with pytest.raises(VoiceError) as caught:
        await spoken()
    assert re.fullmatch(
        rf"The voice edge:{VOICE} failed \(.+\); check the network or choose another voice\.",
        str(caught.value),
    )


async def test_sound_that_is_no_mp3_is_a_fault(service: Service) -> None:
    async def play(service: Service, socket: Any) -> None:
        await service.audio(socket, b"this is no sound at all " * 200)
        await service.text(socket, "turn.end")
        await asyncio.sleep(5)

    service.play = play
    with pytest.raises(VoiceError):
        await spoken()


async def test_an_unreachable_service_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("edge_tts", reason="needs the package edge-tts")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("edge_tts.communicate.WSS_URL", "ws://127.0.0.1:1/edge?key=1")
    with pytest.raises(VoiceError, match="check the network"):
        await spoken()


async def test_without_the_package_the_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "edge_tts", None)
    with pytest.raises(MissingToolError, match="pip install edge-tts"):
        await spoken()


def test_without_the_package_there_are_no_such_voices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streaming.voices.edge.find_spec", lambda name: None)
    assert open_edge(Settings()) is None


def test_every_usual_voice_can_be_chosen_and_others_of_the_form() -> None:
    voice = EdgeVoice()
    for info in USUAL:
        assert voice.choose("x", info.id) == info.id
    assert voice.choose("x", "zh-CN-liaoning-XiaobeiNeural") == "zh-CN-liaoning-XiaobeiNeural"
    for wrong in ("alloy", "en-US", "../x", "en-US-AvaNeural'/><x", "en-US-AvaNeural "):
        with pytest.raises(Unprocessable, match="is no name of a voice"):
            voice.choose("x", wrong)


@pytest.mark.parametrize(
    ("text", "language"),
    [("Hello", "en"), ("你好", "zh"), ("こんにちは", "ja"), ("안녕", "ko"),
     ("Привет", "ru"), ("Γεια", "el"), ("مرحبا", "ar"), ("नमस्ते", "hi")],
)  # fmt: skip
def test_the_script_chooses(text: str, language: str) -> None:
    chosen = EdgeVoice().choose(text, None)
    assert chosen.startswith(f"{language}-")
    assert chosen in {info.id for info in USUAL}
