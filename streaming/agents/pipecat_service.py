"""Koubo as a video service in a Pipecat pipeline: between the text-to-speech and the transport's output."""

import asyncio
from typing import Any

import numpy as np

from engine.errors import MissingToolError
from engine.picture.yuv import to_rgb
from engine.speech.audio import SAMPLE_RATE
from streaming.agents.reel import Reel, Shot
from streaming.events import Event, SpeakEnded
from streaming.sessions import Session

try:
    from pipecat.frames.frames import (
        CancelFrame,
        EndFrame,
        Frame,
        InterruptionFrame,
        OutputImageRawFrame,
        StartFrame,
        TTSAudioRawFrame,
        TTSStoppedFrame,
    )
    from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
except ImportError as error:
    raise MissingToolError("Pipecat is not installed; run `pip install pipecat-ai`.") from error


class KouboVideoService(FrameProcessor):
    """Takes the agent's `TTSAudioRawFrame`s; gives out pictures, and the same sound when it is spoken.

    A `TTSStoppedFrame` goes on when its utterance has been spoken, an `EndFrame` when everything has. An
    `InterruptionFrame` empties everything at once. Every other frame passes. Raises Conflict while the
    session has another producer.
    """

    def __init__(self, session: Session, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._reel = Reel(session)
        self._playing: asyncio.Task[None] | None = None
        self._stopped: list[TTSStoppedFrame] = []

    async def process_frame(self, frame: "Frame", direction: "FrameDirection") -> None:
        """Pipecat's own entry."""
        await super().process_frame(frame, direction)
        match frame:
            case TTSAudioRawFrame():
                await self._reel.say(_mono(frame), frame.sample_rate)
                return
            case TTSStoppedFrame() if self._reel.finish():
                self._stopped.append(frame)
                return
            case StartFrame():
                await self.push_frame(frame, direction)
                self._playing = self.create_task(self._play())
                return
            case InterruptionFrame():
                self._stopped.clear()
                await self._reel.clear()
            case EndFrame():
                self._reel.finish()
                await self._reel.spoken()
                await self._stop()
            case CancelFrame():
                await self._stop()
        await self.push_frame(frame, direction)

    async def cleanup(self) -> None:
        """Leave the session."""
        await super().cleanup()
        await self._stop()

    async def _play(self) -> None:
        async for item in self._reel:
            for frame in self._frames(item):
                await self.push_frame(frame)

    def _frames(self, item: Shot | Event) -> "list[Frame]":
        if isinstance(item, Shot):
            height, width = item.picture.shape[0] * 2 // 3, item.picture.shape[1]
            picture = OutputImageRawFrame(to_rgb(item.picture).tobytes(), (width, height), "RGB")
            if not item.sound.size:
                return [picture]
            return [picture, TTSAudioRawFrame(item.sound.tobytes(), SAMPLE_RATE, 1)]
        if isinstance(item, SpeakEnded) and not item.interrupted and self._stopped:
            return [self._stopped.pop(0)]
        return []

    async def _stop(self) -> None:
        if self._playing is not None:
            self._reel.close()
            await self.cancel_task(self._playing)
            self._playing = None


def _mono(frame: "TTSAudioRawFrame") -> bytes:
    pcm = np.frombuffer(frame.audio, "<i2")
    if frame.num_channels > 1:
        pcm = pcm.reshape(-1, frame.num_channels).mean(axis=1).astype("<i2")
    return pcm.tobytes()
