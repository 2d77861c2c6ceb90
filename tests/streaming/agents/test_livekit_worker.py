"""The presenter under LiveKit's own runner. Only the room is made up: no server can be reached from here."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import numpy as np
import pytest

from engine.errors import MissingToolError
from streaming.sessions import Session
from tests.streaming.conftest import eventually

try:
    from streaming.agents.livekit_worker import KouboVideoGenerator, make_runner
except MissingToolError as missing:
    pytest.skip(str(missing), allow_module_level=True)

from livekit import rtc
from livekit.agents.voice.avatar import AudioSegmentEnd, AvatarRunner, QueueAudioOutput, VideoGenerator

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture
async def generator(session: Session) -> AsyncIterator[KouboVideoGenerator]:
    generator = KouboVideoGenerator(session)
    yield generator
    generator.close()


def frames(seconds: float, rate: int = 24_000, channels: int = 1) -> list[rtc.AudioFrame]:
    """A tone in frames of 20 ms, as a text-to-speech gives it."""
    size, found = rate // 50, []
    for number in range(round(seconds * 50)):
        at = np.arange(number * size, (number + 1) * size)
        pcm = np.where(at // (rate // 320) % 2, 6000, -6000).astype(np.int16)
        found.append(rtc.AudioFrame(np.repeat(pcm, channels).tobytes(), rate, channels, size))
    return found


async def until_end(generator: KouboVideoGenerator) -> list[Any]:
    outputs: list[Any] = []
    async with asyncio.timeout(10):
        async for output in generator:
            outputs.append(output)
            if isinstance(output, AudioSegmentEnd):
                break
    return outputs


def sound(outputs: list[Any]) -> float:
    return float(sum(output.duration for output in outputs if isinstance(output, rtc.AudioFrame)))


def test_it_is_a_video_generator_to_livekit() -> None:
    assert issubclass(KouboVideoGenerator, VideoGenerator)
    assert not VideoGenerator.__abstractmethods__ - set(dir(KouboVideoGenerator))


@pytest.mark.parametrize(("rate", "channels"), [(24_000, 1), (16_000, 1), (48_000, 2)])
async def test_a_segment_comes_out_as_pictures_and_its_own_sound(
    generator: KouboVideoGenerator, session: Session, rate: int, channels: int
) -> None:
    for frame in frames(0.6, rate, channels):
        await generator.push_audio(frame)
    await generator.push_audio(AudioSegmentEnd())
    outputs = await until_end(generator)
    assert sound(outputs) == pytest.approx(0.6)
    pictures = [output for output in outputs if isinstance(output, rtc.VideoFrame)]
    assert len(pictures) >= 15
    assert {(picture.width, picture.height) for picture in pictures} == {session.part.size}
    assert {picture.type for picture in pictures} == {rtc.VideoBufferType.I420}
    assert len(pictures[0].data) == session.part.size[0] * session.part.size[1] * 3 // 2
    # The mouth moves: pictures differ while it speaks.
    assert len({bytes(picture.data) for picture in pictures}) > 5


class Publication:
    async def wait_for_subscription(self) -> None:
        return


class Participant:
    """Takes what a runner publishes."""

    def __init__(self) -> None:
        self.published: list[Any] = []

    async def publish_track(self, track: Any, options: Any) -> Publication:
        self.published.append(track)
        return Publication()


class Room:
    """A room that is connected, stays so, and leads nowhere."""

    def __init__(self) -> None:
        self.local_participant = Participant()

    def on(self, event: str, listener: object) -> None:
        return

    off = on

    def isconnected(self) -> bool:
        return True


@pytest.fixture
async def agent(
    session: Session, generator: KouboVideoGenerator, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[QueueAudioOutput, Room]]:
    """The agent's audio output, LiveKit's queue in place of its data stream, with a runner behind it."""
    room, output = Room(), QueueAudioOutput(sample_rate=24_000)
    monkeypatch.setattr("streaming.agents.livekit_worker.DataStreamAudioReceiver", lambda room: output)
    runner: AvatarRunner = make_runner(cast(rtc.Room, room), session, generator)
    await runner.start()
    yield output, room
    await runner.aclose()


async def test_livekits_runner_publishes_both_tracks_and_tells_the_whole_segment_played(
    agent: tuple[QueueAudioOutput, Room],
) -> None:
    output, room = agent
    for frame in frames(0.8):
        await output.capture_frame(frame)
    output.flush()
    event = await asyncio.wait_for(output.wait_for_playout(), 10)
    assert not event.interrupted
    assert event.playback_position == pytest.approx(0.8)
    assert [type(track) for track in room.local_participant.published] == [
        rtc.LocalAudioTrack,
        rtc.LocalVideoTrack,
    ]


async def test_livekits_clear_buffer_interrupts_and_tells_what_was_played(
    agent: tuple[QueueAudioOutput, Room], session: Session
) -> None:
    output, _ = agent
    for frame in frames(5):
        await output.capture_frame(frame)
    output.flush()
    await eventually(lambda: session.playback.played > 16_000)
    output.clear_buffer()
    event = await asyncio.wait_for(output.wait_for_playout(), 10)
    assert event.interrupted
    played = session.playback.played / 16_000
    assert 0.5 < event.playback_position <= played + 1e-6
    assert played <= event.playback_position + 0.5
    assert session.backlog_s == 0
    # The next segment is its own.
    for frame in frames(0.4):
        await output.capture_frame(frame)
    output.flush()
    event = await asyncio.wait_for(output.wait_for_playout(), 10)
    assert (event.interrupted, event.playback_position) == (False, pytest.approx(0.4))
