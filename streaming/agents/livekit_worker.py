"""Koubo as a LiveKit avatar worker: the agent's voice comes over a data stream, the presenter joins its room.

`serve_room` is the whole worker. `KouboVideoGenerator` is what LiveKit's own `AvatarRunner` drives.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import TypeAlias

import numpy as np

from engine.errors import MissingToolError
from engine.speech.audio import FRAME_RATE, SAMPLE_RATE
from streaming.agents.in_process import open_session
from streaming.agents.reel import Reel, Shot
from streaming.events import Event, SpeakEnded
from streaming.sessions import Session
from streaming.settings import Settings

try:
    from livekit import rtc
    from livekit.agents.voice.avatar import (
        AudioSegmentEnd,
        AvatarOptions,
        AvatarRunner,
        DataStreamAudioReceiver,
        VideoGenerator,
    )
except ImportError as error:
    raise MissingToolError("LiveKit is not installed; run `pip install livekit-agents`.") from error

Output: TypeAlias = "rtc.VideoFrame | rtc.AudioFrame | AudioSegmentEnd"


class KouboVideoGenerator:
    """LiveKit's `VideoGenerator`: audio frames in; pictures, sound and ends of segments out.

    Pictures never pause. Sound is given out only while the agent's is spoken, so the position that LiveKit
    counts from it is what was really played. Raises Conflict while the session has another producer.
    """

    def __init__(self, session: Session) -> None:
        self._reel = Reel(session)

    async def push_audio(self, frame: "rtc.AudioFrame | AudioSegmentEnd") -> None:
        """The agent's sound, of any rate from 8 to 48 kHz; several channels are mixed to one."""
        if isinstance(frame, AudioSegmentEnd):
            self._reel.finish()
            return
        pcm = np.frombuffer(frame.data, np.int16)
        if frame.num_channels > 1:
            pcm = pcm.reshape(-1, frame.num_channels).mean(axis=1).astype(np.int16)
        await self._reel.say(pcm.astype("<i2").tobytes(), frame.sample_rate)

    async def clear_buffer(self) -> None:
        """Be silent at once."""
        await self._reel.clear()

    async def __aiter__(self) -> AsyncIterator[Output]:
        async for item in self._reel:
            for output in _outputs(item):
                yield output

    def close(self) -> None:
        """Leave the session; the iteration ends."""
        self._reel.close()


VideoGenerator.register(KouboVideoGenerator)


def _outputs(item: Shot | Event) -> list[Output]:
    if isinstance(item, Shot):
        height, width = item.picture.shape[0] * 2 // 3, item.picture.shape[1]
        picture = rtc.VideoFrame(width, height, rtc.VideoBufferType.I420, item.picture.tobytes())
        if not item.sound.size:
            return [picture]
        return [picture, rtc.AudioFrame(item.sound.tobytes(), SAMPLE_RATE, 1, item.sound.size)]
    # LiveKit itself tells the end of a segment that it cleared.
    return [AudioSegmentEnd()] if isinstance(item, SpeakEnded) and not item.interrupted else []


def make_runner(room: "rtc.Room", session: Session, generator: KouboVideoGenerator) -> "AvatarRunner":
    """LiveKit's runner for a presenter: it reads the agent's data stream and publishes both tracks."""
    width, height = session.part.size
    options = AvatarOptions(
        video_width=width,
        video_height=height,
        video_fps=FRAME_RATE,
        audio_sample_rate=SAMPLE_RATE,
        audio_channels=1,
    )
    return AvatarRunner(room, audio_recv=DataStreamAudioReceiver(room), video_gen=generator, options=options)


async def serve_room(
    url: str,
    token: str,
    avatar: str | None = None,
    settings: Settings | None = None,
    make_room: Callable[[], "rtc.Room"] = rtc.Room,
) -> None:
    """Join a room and be the face of its agent until the room is left.

    `token` is the avatar participant's, with the attribute `lk.publish_on_behalf` naming the agent.
    """
    async with AsyncExitStack() as leaving:
        session = await leaving.enter_async_context(open_session(avatar, settings))
        room = make_room()
        await room.connect(url, token)
        leaving.push_async_callback(room.disconnect)
        generator = KouboVideoGenerator(session)
        leaving.callback(generator.close)
        runner = make_runner(room, session, generator)
        await runner.start()
        leaving.push_async_callback(runner.aclose)
        left = asyncio.Event()
        room.on("disconnected", lambda *_: left.set())
        await left.wait()
