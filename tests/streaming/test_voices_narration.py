"""Whole texts through voices that are slow, silent or broken."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

import numpy as np
import pytest

from engine.speech.audio import Samples
from engine.speech.espeak import VoiceError
from streaming.voices.base import VoiceInfo
from streaming.voices.narration import Narrator, Witness

PART = 100
"""Samples of a part of speech."""


@dataclass
class Play:
    """How one request goes: a step a part, a number of seconds to wait before it, or a fault."""

    steps: list[float | Exception] = field(default_factory=lambda: [0.0])


class ScriptedVoice:
    """Plays what it is told for each request, in order; says what was asked of it and when."""

    def __init__(self, plays: Callable[[str, str], Play] = lambda text, voice_id: Play()) -> None:
        self.plays = plays
        self.asked: list[tuple[str, str]] = []
        self.times: list[float] = []
        self.open = 0
        self.most = 0

    def voices(self) -> list[VoiceInfo]:
        return [VoiceInfo("good", "Good", "en"), VoiceInfo("bad", "Bad", "en")]

    def choose(self, text: str, voice_id: str | None) -> str:
        return voice_id or "good"

    async def synthesise(self, text: str, voice_id: str) -> AsyncGenerator[Samples, None]:
        self.asked.append((text, voice_id))
        self.times.append(asyncio.get_running_loop().time())
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            for number, step in enumerate(self.plays(text, voice_id).steps):
                if isinstance(step, Exception):
                    raise step
                await asyncio.sleep(step)
                yield np.full(PART, number + 1, np.float32)
        finally:
            self.open -= 1


class Told:
    """What a witness was told."""

    def __init__(self) -> None:
        self.failures: list[tuple[str, str]] = []
        self.first: list[tuple[str, float]] = []
        self.witness = Witness(
            lambda voice_id, sentence: self.failures.append((voice_id, sentence)),
            lambda kind, seconds: self.first.append((kind, seconds)),
        )


@pytest.fixture
def told() -> Told:
    return Told()


def narrator(
    voice: ScriptedVoice, told: Told, fallback: str | None = None, patience_s: float = 0.1
) -> Narrator:
    return Narrator(voice, fallback=fallback, patience_s=patience_s, witness=told.witness)


async def heard(narrator: Narrator, text: str, voice_id: str = "bad") -> list[int]:
    """The numbers of the parts that were heard, one for each PART samples."""
    async with aclosing(narrator.narrate(text, voice_id)) as speech:
        parts = [part async for part in speech]
    return [int(number) for number in np.concatenate([np.zeros(0), *parts])[::PART]]


def broken(text: str, voice_id: str) -> Play:
    return Play([VoiceError("It is broken; mend it.")]) if voice_id == "bad" else Play()


async def test_a_text_is_spoken_piece_by_piece_in_order(told: Told) -> None:
    voice = ScriptedVoice(lambda text, _: Play([0.0] * int(text[-2])))
    assert await heard(narrator(voice, told), "one 1. two 2. three 3.") == [1, 1, 2, 1, 2, 3]
    assert [text for text, _ in voice.asked] == ["one 1.", "two 2.", "three 3."]
    assert told.failures == []
    assert len(told.first) == 3
    assert voice.open == 0


async def test_a_voice_gets_speakable_text_only(told: Told) -> None:
    voice = ScriptedVoice()
    await heard(narrator(voice, told), "**Hi** 😀 there! 😀😀")
    assert [text for text, _ in voice.asked] == ["Hi there!"]


async def test_nothing_to_say_is_no_fault(told: Told) -> None:
    voice = ScriptedVoice()
    assert await heard(narrator(voice, told), "😀 ... !") == []
    assert voice.asked == []
    assert told.failures == []


async def test_the_next_piece_is_made_while_this_one_comes(told: Told) -> None:
    voice = ScriptedVoice(lambda *_: Play([0.02, 0.02, 0.02]))
    await heard(narrator(voice, told), "One. Two. Three. Four.")
    assert voice.most == 2


async def test_the_second_piece_waits_for_the_first_sound_and_no_third_is_begun(told: Told) -> None:
    voice = ScriptedVoice(lambda *_: Play([0.05, 0.0]))
    async with aclosing(narrator(voice, told).narrate("One. Two. Three.", "good")) as speech:
        first = asyncio.ensure_future(anext(speech))
        await asyncio.sleep(0.02)
        assert len(voice.asked) == 1
        await first
        await asyncio.sleep(0.15)
        # Nobody takes more, so no more is made than the piece that comes next.
        assert len(voice.asked) == 2
    assert voice.open == 0


async def test_closing_ends_all_work_at_once(told: Told) -> None:
    voice = ScriptedVoice(lambda *_: Play([0.0, 30.0]))
    async with aclosing(narrator(voice, told, patience_s=60).narrate("One. Two.", "good")) as speech:
        await anext(speech)
        await asyncio.sleep(0.01)
        assert voice.open == 2
        began = asyncio.get_running_loop().time()
    assert voice.open == 0
    assert asyncio.get_running_loop().time() - began < 0.05
    assert told.failures == []


async def test_a_cancelled_listener_ends_all_work_too(told: Told) -> None:
    voice = ScriptedVoice(lambda *_: Play([30.0]))
    listener = asyncio.create_task(heard(narrator(voice, told, patience_s=60), "One."))
    await asyncio.sleep(0.02)
    assert voice.open == 1
    listener.cancel()
    await asyncio.wait([listener])
    assert voice.open == 0
    assert listener.cancelled()


async def test_a_piece_that_fails_once_is_tried_again(told: Told) -> None:
    plays = iter([Play([VoiceError("Once; wait.")]), Play([0.0, 0.0])])
    voice = ScriptedVoice(lambda *_: next(plays))
    assert await heard(narrator(voice, told), "One.") == [1, 2]
    assert told.failures == []
    assert voice.asked == [("One.", "bad")] * 2


async def test_what_was_heard_before_a_voice_broke_off_is_not_said_again(told: Told) -> None:
    plays = iter([Play([0.0, 0.0, VoiceError("Gone; wait.")]), Play([0.0] * 4)])
    voice = ScriptedVoice(lambda *_: next(plays))
    assert await heard(narrator(voice, told), "One.") == [1, 2, 3, 4]


async def test_without_another_voice_the_text_ends_with_a_sentence(told: Told) -> None:
    voice = ScriptedVoice(broken)
    with pytest.raises(VoiceError, match="It is broken; mend it"):
        await heard(narrator(voice, told), "One. Two.")
    assert told.failures == [("bad", "It is broken; mend it.")]
    assert voice.asked == [("One.", "bad")] * 2


async def test_another_voice_goes_on_for_the_rest_of_the_text(told: Told) -> None:
    voice = ScriptedVoice(broken)
    assert await heard(narrator(voice, told, "good"), "One. Two.") == [1, 1]
    assert voice.asked == [("One.", "bad"), ("One.", "bad"), ("One.", "good"), ("Two.", "good")]
    assert told.failures == [("bad", "It is broken; mend it. The voice good goes on.")]


async def test_another_voice_says_a_broken_piece_from_its_beginning(told: Told) -> None:
    voice = ScriptedVoice(
        lambda _, voice_id: (
            Play([0.0, VoiceError("Gone; wait.")]) if voice_id == "bad" else Play([0.0, 0.0, 0.0])
        )
    )
    assert await heard(narrator(voice, told, "good"), "One.") == [1, 1, 2, 3]


async def test_a_voice_that_fails_after_its_first_piece_is_told_once(told: Told) -> None:
    """The next piece is under way already when this one breaks off; both find out."""
    voice = ScriptedVoice(
        lambda text, voice_id: Play([0.0, 0.02, VoiceError("Gone; wait.")]) if voice_id == "bad" else Play()
    )
    assert await heard(narrator(voice, told, "good"), "One. Two.") == [1, 2, 1, 1, 2, 1]
    assert len(told.failures) == 1


async def test_a_voice_that_failed_rests_where_another_stands_in(told: Told) -> None:
    voice = ScriptedVoice(broken)
    speaking = narrator(voice, told, "good")
    await heard(speaking, "One.")
    voice.asked.clear()
    assert await heard(speaking, "Two.") == [1]
    assert voice.asked == [("Two.", "good")]
    assert len(told.failures) == 1


async def test_a_voice_that_failed_is_asked_again_after_its_rest(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streaming.voices.narration._REST_S", 0.05)
    voice = ScriptedVoice(broken)
    speaking = narrator(voice, told, "good")
    await heard(speaking, "One.")
    voice.asked.clear()
    voice.plays = lambda *_: Play()
    await asyncio.sleep(0.06)
    await heard(speaking, "Two.")
    assert voice.asked == [("Two.", "bad")]


async def test_without_another_voice_it_is_asked_for_every_text(told: Told) -> None:
    voice = ScriptedVoice(broken)
    speaking = narrator(voice, told)
    for _ in range(2):
        with pytest.raises(VoiceError):
            await heard(speaking, "One.")
    assert len(voice.asked) == 4


async def test_when_the_other_voice_fails_too_the_text_ends(told: Told) -> None:
    voice = ScriptedVoice(lambda *_: Play([VoiceError("It is broken; mend it.")]))
    with pytest.raises(VoiceError):
        await heard(narrator(voice, told, "good"), "One.")
    assert [voice_id for voice_id, _ in told.failures] == ["bad", "good"]
    assert len(voice.asked) == 4


@pytest.mark.parametrize("steps", [[30.0], [0.0, 30.0]])
async def test_a_voice_that_falls_silent_is_given_up(told: Told, steps: list[float | Exception]) -> None:
    voice = ScriptedVoice(lambda _, voice_id: Play(steps) if voice_id == "bad" else Play([0.0, 0.0]))
    began = asyncio.get_running_loop().time()
    found = await heard(narrator(voice, told, "good", patience_s=0.1), "One.")
    assert found[-2:] == [1, 2]
    # Where another voice can go on, the one that hangs does not cost its patience twice.
    assert 0.1 <= asyncio.get_running_loop().time() - began < 5
    assert [voice_id for _, voice_id in voice.asked] == ["bad", "good"]
    ((voice_id, sentence),) = told.failures
    assert voice_id == "bad"
    assert sentence.startswith("The voice bad gave nothing for 0.1 s; check its service")
    assert sentence.endswith(". The voice good goes on.")
    assert voice.open == 0


async def test_without_another_voice_one_that_hangs_is_asked_once_more(told: Told) -> None:
    plays = iter([Play([30.0]), Play([0.0, 0.0])])
    voice = ScriptedVoice(lambda *_: next(plays))
    assert await heard(narrator(voice, told, patience_s=0.1), "One.") == [1, 2]
    assert told.failures == []


async def test_slow_is_not_silent(told: Told) -> None:
    voice = ScriptedVoice(lambda *_: Play([0.1, 0.1, 0.1]))
    assert await heard(narrator(voice, told, patience_s=5), "One.") == [1, 2, 3]
    assert told.failures == []


async def test_a_voice_slower_than_its_own_speech_is_given_up_when_it_is_far_behind(told: Told) -> None:
    # Each part is 6 ms of speech and takes 60: never silent for long, and yet nobody could listen to it.
    voice = ScriptedVoice(lambda _, voice_id: Play([0.06] * 200) if voice_id == "bad" else Play([0.0]))
    found = await heard(narrator(voice, told, "good", patience_s=0.3), "One.")
    assert found[0] == 1
    assert 2 < len(found) < 10
    ((_, sentence),) = told.failures
    assert sentence.startswith("The voice bad fell behind its own speech by 0.3 s; check its service")
    assert voice.open == 0


async def test_a_slow_listener_does_not_make_a_voice_look_silent(told: Told) -> None:
    voice = ScriptedVoice(lambda *_: Play([0.0, 0.0]))
    async with aclosing(narrator(voice, told, patience_s=0.05).narrate("One. Two.", "good")) as speech:
        count = 0
        async for _ in speech:
            count += 1
            await asyncio.sleep(0.1)
    assert count == 4
    assert told.failures == []


async def test_an_empty_answer_is_a_fault(told: Told) -> None:
    voice = ScriptedVoice(lambda *_: Play([]))
    with pytest.raises(VoiceError, match="said nothing"):
        await heard(narrator(voice, told), "One.")


async def test_the_first_sound_is_timed_by_kind(told: Told) -> None:
    voice = ScriptedVoice(lambda *_: Play([0.03]))
    await heard(narrator(voice, told), "One.", "kind:name")
    ((kind, seconds),) = told.first
    assert kind == "kind"
    assert 0.03 <= seconds < 0.2


async def test_a_witness_need_not_listen() -> None:
    voice = ScriptedVoice(broken)
    async with aclosing(Narrator(voice, fallback="good").narrate("One.", "bad")) as speech:
        assert len([part async for part in speech]) == 1
