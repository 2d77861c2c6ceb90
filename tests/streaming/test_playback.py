"""The ledger tells exactly what was heard: by hand, at random, and against the real presenter."""

import random

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.anchor.package import Avatar
from engine.live import LiveAvatar
from engine.mouth.features import AnchorFeatures
from engine.speech.audio import SAMPLES_PER_TICK, Samples
from engine.speech.mel import LOOKAHEAD_SAMPLES
from streaming.events import Event, Events, SpeakEnded, SpeakStarted
from streaming.playback import Playback, PlaybackLedger
from tests.fakes import FakeMouth, room_noise, speech_like

TICK = SAMPLES_PER_TICK


def ended(told: list[Event]) -> list[SpeakEnded]:
    return [event for event in told if isinstance(event, SpeakEnded)]


def test_an_utterance_starts_with_its_first_sound_and_ends_with_its_last() -> None:
    ledger = PlaybackLedger()
    ledger.open("a")
    ledger.add("a", 1000, 1000)
    assert ledger.close("a") == []
    assert ledger.advance(640, 7) == [SpeakStarted("a", 0.28)]
    assert "a" in ledger
    assert ledger.advance(1280, 8) == [SpeakEnded("a", 62.5, False)]
    assert "a" not in ledger


def test_what_lies_before_an_utterance_is_not_its_own() -> None:
    ledger = PlaybackLedger()
    ledger.open("a")
    ledger.add("a", 5000, 1000)
    assert ledger.advance(3840, 5) == []
    assert ledger.advance(4480, 6) == [SpeakStarted("a", 0.24)]
    assert ledger.cut() == [SpeakEnded("a", 30.0, True)]


def test_an_open_utterance_waits_for_more_and_may_end_after_its_last_sound() -> None:
    ledger = PlaybackLedger()
    ledger.open("a")
    ledger.add("a", 640, 640)
    ledger.advance(640, 0)
    assert ledger.advance(640, 1) == []
    ledger.add("a", 1280, 640)
    ledger.advance(1280, 2)
    assert ledger.close("a") == [SpeakEnded("a", 80.0, False)]


def test_an_utterance_without_sound_ends_at_once_with_nothing_played() -> None:
    ledger = PlaybackLedger()
    ledger.open("a")
    assert ledger.close("a") == [SpeakEnded("a", 0.0, False)]


def test_one_tick_can_end_one_utterance_and_start_the_next() -> None:
    ledger = PlaybackLedger()
    for name, end in (("a", 700), ("b", 2000)):
        ledger.open(name)
        ledger.add(name, end, end if name == "a" else 1300)
        ledger.close(name)
    ledger.advance(640, 0)
    assert ledger.advance(1280, 1) == [SpeakStarted("b", 0.04), SpeakEnded("a", 43.75, False)]


def test_cutting_some_leaves_the_others() -> None:
    ledger = PlaybackLedger()
    for name in ("a", "b", "c"):
        ledger.open(name)
    assert ledger.cut(["b", "unknown"]) == [SpeakEnded("b", 0.0, True)]
    assert [event.utterance for event in ended(ledger.cut())] == ["a", "c"]
    assert ledger.cut() == []


def test_at_random_every_sample_is_counted_once() -> None:
    rng = random.Random(3)
    for _ in range(200):
        ledger, line, told, sizes = PlaybackLedger(), 0, [], {}
        for number in range(rng.randrange(1, 6)):
            name = str(number)
            ledger.open(name)
            sizes[name] = 0
            for _ in range(rng.randrange(4)):
                size = rng.randrange(1, 3000)
                line += size + rng.choice((0, 0, 700))
                ledger.add(name, line, size)
                sizes[name] += size
            told += ledger.close(name)
        stop = rng.randrange(line + 1000)
        for slot in range(stop // TICK + 1):
            told += ledger.advance(min(stop, (slot + 1) * TICK), slot)
        complete = {event.utterance for event in ended(told)}
        assert all(event.played_ms * 16 == sizes[event.utterance] for event in ended(told))
        told += ledger.cut()
        assert sorted(event.utterance for event in ended(told)) == sorted(sizes)
        assert all(event.interrupted == (event.utterance not in complete) for event in ended(told))
        started = [event.utterance for event in told if isinstance(event, SpeakStarted)]
        assert len(set(started)) == len(started)
        assert set(started) == {event.utterance for event in ended(told) if event.played_ms}


class Stage:
    """The real presenter's core and what is told of it, without a clock."""

    def __init__(self, avatar: Avatar) -> None:
        mouth = FakeMouth()
        self.presenter = LiveAvatar(avatar, AnchorFeatures(avatar, mouth), mouth)
        self.events = Events()
        self.told: list[Event] = []
        self.events.listen(self.told.append)
        self.playback = Playback(self.presenter, self.events)
        self.slot = 0
        self.heard: list[NDArray[np.int16]] = []

    def run(self, ticks: int) -> None:
        for _ in range(ticks):
            tick = self.presenter.tick()
            self.heard.append(tick.sound)
            self.playback.left(tick.position, self.slot)
            self.slot += 1

    def interrupt(self) -> None:
        self.presenter.interrupt()
        self.playback.cut()

    def loud_samples(self) -> int:
        return int(np.count_nonzero(np.concatenate(self.heard)))


@pytest.fixture
def stage(avatar: Avatar) -> Stage:
    return Stage(avatar)


def tone(samples: int) -> Samples:
    """Nothing in it is zero, so that what was heard can be counted."""
    return np.where(np.arange(samples) % 100 < 50, 0.2, -0.2).astype(np.float32)


@pytest.mark.parametrize("size", [1, 639, 640, 641, 10_000, 33_333])
def test_the_presenter_has_said_all_of_it(stage: Stage, size: int) -> None:
    stage.run(5)
    stage.playback.open("a")
    stage.playback.push("a", tone(size))
    stage.playback.finish("a")
    stage.run(size // TICK + 8)
    (start, end) = stage.told
    assert isinstance(start, SpeakStarted)
    assert end == SpeakEnded("a", size / 16, False)
    assert stage.loud_samples() == size
    first = next(n for n, sound in enumerate(stage.heard) if sound.any())
    assert start.at == first / 25


@pytest.mark.parametrize("ticks", [0, 1, 2, 17, 30])
def test_an_interrupted_one_was_heard_as_long_as_the_ledger_says(stage: Stage, ticks: int) -> None:
    stage.playback.open("a")
    stage.playback.push("a", tone(40 * TICK))
    stage.run(ticks)
    stage.interrupt()
    stage.run(10)
    assert ended(stage.told) == [SpeakEnded("a", 40.0 * ticks, True)]
    assert stage.loud_samples() == ticks * TICK


def test_a_producer_slower_than_speech_is_counted_right(stage: Stage) -> None:
    """Silence while the mouth waits is nobody's."""
    stage.playback.open("a")
    pushed = 0
    rng = random.Random(5)
    while pushed < 30_000:
        size = rng.randrange(1, 900)
        stage.playback.push("a", tone(size))
        pushed += size
        stage.run(rng.randrange(4))
    stage.playback.finish("a")
    stage.run(60)
    assert ended(stage.told) == [SpeakEnded("a", pushed / 16, False)]
    assert stage.loud_samples() == pushed


def test_utterances_behind_each_other_with_the_silence_that_completed_the_first(stage: Stage) -> None:
    for name, size in (("a", 3000), ("b", 5000)):
        stage.playback.open(name)
        stage.playback.push(name, tone(size))
        stage.playback.finish(name)
    stage.run(30)
    assert [(event.utterance, event.played_ms) for event in ended(stage.told)] == [
        ("a", 187.5),
        ("b", 312.5),
    ]
    assert stage.loud_samples() == 8000


def test_a_microphone_on_the_line_is_not_counted_as_the_text_that_follows(stage: Stage) -> None:
    speech = speech_like(3.0)
    for start in range(0, 24_000, 320):
        stage.presenter.push(np.concatenate([speech[start : start + 320]]), live=True)
        if start % TICK:
            stage.run(1)
    stage.presenter.push(room_noise(0.02), live=True)
    left_over = stage.presenter.backlog_s
    assert left_over > 0
    stage.heard.clear()
    stage.playback.say(tone(TICK * 20))
    stage.playback.say(None)
    stage.run(40)
    assert ended(stage.told) == [SpeakEnded("text-1", 800.0, False)]


def test_texts_are_numbered_and_known_while_they_are_heard(stage: Stage) -> None:
    assert not stage.playback.text_is_heard
    for _ in range(2):
        stage.playback.say(tone(1000))
        stage.playback.say(tone(1000))
        stage.playback.say(None)
    stage.playback.say(None)
    assert stage.playback.text_is_heard
    stage.run(2000 * 2 // TICK + 2 * (LOOKAHEAD_SAMPLES // TICK + 2))
    assert not stage.playback.text_is_heard
    assert [(e.utterance, e.played_ms) for e in ended(stage.told)] == [("text-1", 125.0), ("text-2", 125.0)]


def test_a_text_that_is_cut_leaves_the_next_its_own_name(stage: Stage) -> None:
    stage.playback.say(tone(9000))
    stage.run(3)
    stage.interrupt()
    stage.playback.say(tone(640))
    stage.playback.say(None)
    stage.run(12)
    assert ended(stage.told) == [SpeakEnded("text-1", 120.0, True), SpeakEnded("text-2", 40.0, False)]
