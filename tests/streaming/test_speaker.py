"""Queued texts, spoken in order and never far ahead."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import numpy as np
import pytest

from engine.speech.audio import SAMPLE_RATE, Samples
from engine.speech.espeak import VoiceError
from streaming.errors import TooMany
from streaming.speaker import AHEAD_S, Speaker
from streaming.voices.base import VoiceInfo
from streaming.voices.narration import Witness
from tests.streaming.conftest import eventually


class CountingVoice:
    """Says one second of the number n for the text "n", n times; fails on "fail"."""

    def voices(self) -> list[VoiceInfo]:
        return [VoiceInfo("count", "Count", "en")]

    def choose(self, text: str, voice_id: str | None) -> str:
        return voice_id or "count"

    def __init__(self) -> None:
        self.open = 0

    async def synthesise(self, text: str, voice_id: str) -> AsyncGenerator[Samples, None]:
        if text == "fail" and voice_id != "spare":
            raise VoiceError("It cannot speak; try another voice.")
        self.open += 1
        try:
            if text == "stall":
                await asyncio.sleep(30)
            async for samples in self._count(1 if text == "fail" else int(text)):
                yield samples
        finally:
            self.open -= 1

    async def _count(self, number: int) -> AsyncIterator[Samples]:
        for _ in range(number):
            await asyncio.sleep(0)
            yield np.full(SAMPLE_RATE, float(number), np.float32)


class Mouth:
    """Takes speech and gives it out when told."""

    def __init__(self) -> None:
        self.said: list[float | None] = []
        self.backlog_s = 0.0

    def say(self, samples: Samples | None) -> None:
        self.said.append(None if samples is None else float(samples[0]))
        self.backlog_s += 0 if samples is None else samples.size / SAMPLE_RATE


@pytest.fixture
def mouth() -> Mouth:
    return Mouth()


@pytest.fixture
def voice() -> CountingVoice:
    return CountingVoice()


@pytest.fixture
async def speaker(mouth: Mouth, voice: CountingVoice) -> AsyncIterator[Speaker]:
    speaker = Speaker(voice, 3, mouth.say, lambda: mouth.backlog_s, patience_s=0.2)
    task = asyncio.create_task(speaker.run())
    yield speaker
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_texts_are_spoken_in_order_each_with_its_end(mouth: Mouth, speaker: Speaker) -> None:
    assert speaker.add("2", None) == "count"
    speaker.add("1", "other")
    await eventually(lambda: not speaker.busy)
    assert mouth.said == [2, 2, None, 1, None]


async def test_a_voice_that_fails_does_not_stop_the_next_text(
    mouth: Mouth, speaker: Speaker, caplog: pytest.LogCaptureFixture
) -> None:
    speaker.add("fail", None)
    speaker.add("1", None)
    await eventually(lambda: not speaker.busy)
    assert mouth.said == [None, 1, None]
    assert "It cannot speak" in caplog.text


async def test_speech_waits_for_the_mouth(mouth: Mouth, speaker: Speaker) -> None:
    speaker.add("50", None)
    await eventually(lambda: mouth.backlog_s >= AHEAD_S)
    for _ in range(5):
        await asyncio.sleep(0.01)
        speaker.drained()
    assert mouth.backlog_s == AHEAD_S
    mouth.backlog_s -= 2.5
    speaker.drained()
    await eventually(lambda: mouth.backlog_s >= AHEAD_S)
    assert mouth.backlog_s < AHEAD_S + 1
    assert speaker.busy


async def test_clear_forgets_everything_and_goes_on(mouth: Mouth, speaker: Speaker) -> None:
    speaker.add("50", None)
    await eventually(lambda: mouth.backlog_s >= AHEAD_S)
    speaker.add("3", None)
    speaker.clear()
    mouth.said.clear()
    mouth.backlog_s = 0
    await eventually(lambda: not speaker.busy)
    assert mouth.said == []
    speaker.add("1", None)
    await eventually(lambda: not speaker.busy)
    assert mouth.said == [1, None]


async def test_the_queue_is_bounded(mouth: Mouth, speaker: Speaker) -> None:
    for _ in range(3):
        speaker.add("1", None)
    with pytest.raises(TooMany):
        speaker.add("1", None)


async def test_clear_ends_the_synthesis_at_once(mouth: Mouth, speaker: Speaker, voice: CountingVoice) -> None:
    speaker.add("stall", None)
    await eventually(lambda: voice.open == 1)
    speaker.clear()
    for _ in range(10):
        await asyncio.sleep(0)
    assert voice.open == 0
    assert not speaker.busy
    assert mouth.said == []


async def test_clear_ends_the_synthesis_while_speech_waits_for_the_mouth(
    mouth: Mouth, speaker: Speaker, voice: CountingVoice
) -> None:
    speaker.add("50", None)
    await eventually(lambda: mouth.backlog_s >= AHEAD_S)
    speaker.clear()
    for _ in range(10):
        await asyncio.sleep(0)
    assert voice.open == 0
    assert not speaker.busy


async def test_a_voice_that_stalls_holds_the_next_text_up_for_a_moment_only(
    mouth: Mouth, speaker: Speaker, voice: CountingVoice, caplog: pytest.LogCaptureFixture
) -> None:
    speaker.add("stall", None)
    speaker.add("1", None)
    await eventually(lambda: not speaker.busy, 2)
    assert mouth.said == [None, 1, None]
    assert "gave nothing for 0.2 s" in caplog.text
    assert voice.open == 0


async def test_another_voice_stands_in_and_the_witness_hears_of_it(mouth: Mouth) -> None:
    told: list[tuple[str, str]] = []
    witness = Witness(failed=lambda voice_id, sentence: told.append((voice_id, sentence)))
    speaker = Speaker(
        CountingVoice(), 3, mouth.say, lambda: mouth.backlog_s, fallback="spare", witness=witness
    )
    task = asyncio.create_task(speaker.run())
    speaker.add("fail", None)
    await eventually(lambda: not speaker.busy)
    task.cancel()
    await asyncio.wait([task])
    assert mouth.said == [1, None]
    assert told == [("count", "It cannot speak; try another voice. The voice spare goes on.")]
