"""The presenter in Pipecat's own pipeline."""

import asyncio
import warnings
from collections.abc import AsyncIterator

import numpy as np
import pytest

from engine.errors import MissingToolError
from streaming.sessions import Session
from tests.streaming.conftest import eventually

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pipecat's own
        from streaming.agents.pipecat_service import KouboVideoService
except MissingToolError as missing:
    pytest.skip(str(missing), allow_module_level=True)

from pipecat.frames.frames import (
    EndFrame,
    Frame,
    InterruptionFrame,
    OutputImageRawFrame,
    TextFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.workers.runner import WorkerRunner

pytestmark = pytest.mark.filterwarnings("default")


class Output(FrameProcessor):
    """Stands where the transport stands; keeps everything that reaches it."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[Frame] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        self.frames.append(frame)
        await self.push_frame(frame, direction)

    def of(self, kind: type[Frame]) -> list[Frame]:
        return [frame for frame in self.frames if isinstance(frame, kind)]

    def heard(self) -> bytes:
        return b"".join(frame.audio for frame in self.frames if isinstance(frame, TTSAudioRawFrame))


@pytest.fixture
async def pipeline(session: Session) -> AsyncIterator[tuple[PipelineWorker, Output]]:
    output = Output()
    task = PipelineWorker(Pipeline([KouboVideoService(session), output]), enable_rtvi=False)
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(task)
    running = asyncio.create_task(runner.run())
    await eventually(lambda: len(output.of(OutputImageRawFrame)) > 2)
    yield task, output
    await task.cancel()
    await asyncio.wait([running], timeout=10)
    assert running.done()
    assert not session.feed.taken


def speech(seconds: float, rate: int = 24_000, channels: int = 1) -> list[TTSAudioRawFrame]:
    size, found = rate // 50, []
    for number in range(round(seconds * 50)):
        at = np.arange(number * size, (number + 1) * size)
        pcm = np.where(at // (rate // 320) % 2, 6000, -6000).astype("<i2")
        found.append(TTSAudioRawFrame(np.repeat(pcm, channels).tobytes(), rate, channels))
    return found


@pytest.mark.parametrize(("rate", "channels"), [(24_000, 1), (48_000, 2)])
async def test_speech_goes_in_and_comes_out_with_pictures_and_its_end_behind_it(
    pipeline: tuple[PipelineWorker, Output], session: Session, rate: int, channels: int
) -> None:
    task, output = pipeline
    await task.queue_frames(
        [TTSStartedFrame(), *speech(0.6, rate, channels), TTSStoppedFrame(), TextFrame("x")]
    )
    await eventually(lambda: bool(output.of(TTSStoppedFrame)))
    assert len(output.heard()) == 2 * 0.6 * 16_000
    kinds = [type(frame) for frame in output.frames]
    last_sound = max(n for n, kind in enumerate(kinds) if kind is TTSAudioRawFrame)
    assert kinds.index(TTSStoppedFrame) > last_sound
    # What is not for the presenter does not wait for it.
    assert kinds.index(TextFrame) < last_sound
    pictures = [frame for frame in output.frames if isinstance(frame, OutputImageRawFrame)]
    assert {picture.size for picture in pictures} == {session.part.size}
    assert {len(picture.image) for picture in pictures} == {session.part.size[0] * session.part.size[1] * 3}
    assert len({picture.image for picture in pictures}) > 5


async def test_an_interruption_empties_everything_and_the_next_utterance_is_whole(
    pipeline: tuple[PipelineWorker, Output], session: Session
) -> None:
    task, output = pipeline
    await task.queue_frames([TTSStartedFrame(), *speech(4), TTSStoppedFrame()])
    await eventually(lambda: len(output.heard()) > 16_000)
    await task.queue_frame(InterruptionFrame())
    await eventually(lambda: bool(output.of(InterruptionFrame)))
    heard = len(output.heard())
    assert session.backlog_s == 0
    await asyncio.sleep(0.2)
    assert len(output.heard()) == heard < 2 * 4 * 16_000
    assert not output.of(TTSStoppedFrame)
    await task.queue_frames([TTSStartedFrame(), *speech(0.4), TTSStoppedFrame()])
    await eventually(lambda: bool(output.of(TTSStoppedFrame)))
    assert len(output.heard()) - heard == 2 * 0.4 * 16_000


async def test_the_end_waits_for_the_last_word(pipeline: tuple[PipelineWorker, Output]) -> None:
    task, output = pipeline
    await task.queue_frames([*speech(0.8), EndFrame()])
    await eventually(lambda: bool(output.of(EndFrame)))
    assert len(output.heard()) == 2 * 0.8 * 16_000
