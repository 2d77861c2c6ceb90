"""A producer's sound: held, given to the line a little ahead of the mouth, and taken back."""

import asyncio

import numpy as np
import pytest

from engine.speech.audio import SAMPLE_RATE, SAMPLES_PER_TICK, Samples
from streaming.audio_feed import AHEAD_S, AudioFeed
from streaming.cast import Presenter
from streaming.errors import Conflict
from streaming.events import Event, Events, SpeakEnded, SpeakStarted
from streaming.playback import Playback


class Line:
    """A presenter that is nothing but its line; stands where LiveAvatar stands."""

    def __init__(self) -> None:
        self.position = 0
        self.end = 0
        self.finished = 0

    @property
    def backlog_s(self) -> float:
        return (self.end - self.position) / SAMPLE_RATE

    def push(self, speech: Samples, *, live: bool = False) -> int:
        self.end += speech.size
        return self.end

    def finish(self) -> None:
        self.finished += 1

    def interrupt(self) -> int:
        dropped, self.position = self.end - self.position, self.end
        return dropped

    begin, complete, show, recast = Presenter.begin, Presenter.complete, Presenter.show, Presenter.recast


class Room:
    """A feed on such a line, whose mouth speaks when told."""

    def __init__(self, limit_s: float = 10.0) -> None:
        self.line = Line()
        self.free = True
        self.told: list[Event] = []
        self.slot = 0
        events = Events()
        events.listen(self.told.append)
        self.playback = Playback(self.line, events)
        self.feed = AudioFeed(self.playback, lambda: self.line.backlog_s, lambda: self.free, limit_s)

    def run(self, ticks: int) -> None:
        for _ in range(ticks):
            self.line.position = min(self.line.end, self.line.position + SAMPLES_PER_TICK)
            self.playback.left(self.line.position, self.slot)
            self.slot += 1
            self.feed.pump()

    def interrupt(self) -> None:
        self.line.interrupt()
        self.feed.cut()
        self.playback.cut()


@pytest.fixture
def room() -> Room:
    return Room()


def sound(seconds: float = 0.2) -> Samples:
    return np.full(round(seconds * SAMPLE_RATE), 0.1, np.float32)


def test_sound_goes_to_the_line_at_once_but_not_far_ahead(room: Room) -> None:
    room.feed.write(sound())
    assert room.line.backlog_s == pytest.approx(0.2)
    for _ in range(20):
        room.feed.write(sound())
    assert room.line.backlog_s == pytest.approx(AHEAD_S)
    assert room.feed.held_s == pytest.approx(21 * 0.2 - AHEAD_S)
    room.run(10)
    assert AHEAD_S <= room.line.backlog_s <= AHEAD_S + 0.2
    room.feed.finish()
    room.run(120)
    assert room.feed.held_s == 0
    assert room.told[-1] == SpeakEnded("1", 4200.0, False)
    assert room.line.finished == 1


def test_utterances_keep_their_names_and_order(room: Room) -> None:
    room.feed.begin("hello")
    room.feed.write(sound(0.4))
    room.feed.finish("hello")
    room.feed.write(sound(0.8))
    room.feed.finish()
    room.feed.begin("bye")
    room.feed.finish()
    assert room.feed.unheard == {"hello", "1", "bye"}
    room.run(40)
    assert [(e.utterance, e.played_ms) for e in room.told if isinstance(e, SpeakEnded)] == [
        ("hello", 400.0),
        ("1", 800.0),
        ("bye", 0.0),
    ]
    assert room.feed.unheard == set()


def test_wrong_order_is_refused_and_changes_nothing(room: Room) -> None:
    with pytest.raises(Conflict, match="No utterance"):
        room.feed.finish()
    room.feed.begin("a")
    with pytest.raises(Conflict, match="still open"):
        room.feed.begin("b")
    with pytest.raises(Conflict, match="'b' is not open"):
        room.feed.finish("b")
    room.feed.write(sound(2))
    room.feed.finish("a")
    with pytest.raises(Conflict, match="another name"):
        room.feed.begin("a")
    room.run(60)
    room.feed.begin("a")


def test_a_number_of_the_server_avoids_the_clients_names(room: Room) -> None:
    room.feed.begin("1")
    room.feed.write(sound())
    room.feed.finish()
    room.feed.write(sound())
    room.feed.finish()
    assert room.feed.unheard == {"1", "2"}


def test_while_a_text_is_spoken_the_sound_waits(room: Room) -> None:
    room.free = False
    room.feed.write(sound())
    room.run(10)
    assert room.line.end == 0
    room.free = True
    room.run(1)
    assert room.line.end == sound().size


def test_after_an_interrupt_the_rest_of_the_open_utterance_is_not_wanted(room: Room) -> None:
    room.feed.begin("a")
    room.feed.write(sound(3))
    room.run(5)
    room.interrupt()
    assert room.told == [SpeakStarted("a", 0.0), SpeakEnded("a", 200.0, True)]
    room.feed.write(sound())
    room.feed.check_open("a")
    assert (room.feed.held_s, room.line.backlog_s) == (0, 0)
    room.feed.finish("a")
    room.feed.write(sound())
    assert room.line.backlog_s == pytest.approx(0.2)
    assert room.feed.unheard == {"1"}


@pytest.mark.parametrize("how", ["begin", "listen", "leave"])
def test_what_ends_the_deafness(room: Room, how: str) -> None:
    room.feed.enter()
    room.feed.write(sound(3))
    room.interrupt()
    if how == "begin":
        room.feed.begin("b")
    elif how == "listen":
        room.feed.listen()
    else:
        room.feed.leave()
    room.feed.write(sound())
    assert room.line.backlog_s == pytest.approx(0.2)


def test_an_interrupt_between_utterances_costs_the_next_one_nothing(room: Room) -> None:
    room.feed.write(sound(3))
    room.feed.finish()
    room.interrupt()
    room.feed.write(sound())
    assert room.line.backlog_s == pytest.approx(0.2)


def test_cut_tells_what_was_held_and_ends_everything(room: Room) -> None:
    for _ in range(3):
        for _ in range(10):
            room.feed.write(sound())
        room.feed.finish()
    assert room.feed.cut() == pytest.approx(6.0 - AHEAD_S)
    room.playback.cut(room.feed.unheard)
    assert [e.played_ms for e in room.told if isinstance(e, SpeakEnded)] == [0.0, 0.0, 0.0]
    assert room.feed.unheard == set()


def test_one_producer_at_a_time_and_the_next_goes_on_behind(room: Room) -> None:
    room.feed.enter()
    with pytest.raises(Conflict, match="Another producer"):
        room.feed.enter()
    room.feed.write(sound(0.5))
    room.feed.leave()
    room.feed.enter()
    room.feed.write(sound(0.5))
    room.feed.leave()
    room.run(40)
    assert [e.played_ms for e in room.told if isinstance(e, SpeakEnded)] == [500.0, 500.0]


async def test_over_the_limit_the_producer_waits_until_the_mouth_has_spoken() -> None:
    room = Room(limit_s=3.0)
    waited = 0

    async def produce() -> None:
        nonlocal waited
        for _ in range(30):
            room.feed.write(sound())
            await room.feed.room()
            waited += 1

    task = asyncio.create_task(produce())
    for _ in range(5):
        await asyncio.sleep(0)
    assert 2.8 <= 0.2 * waited <= 3.0
    for _ in range(200):
        assert room.feed.held_s + room.line.backlog_s <= 3.2 + 1e-6
        room.run(1)
        await asyncio.sleep(0)
    await task
    assert waited == 30


async def test_an_interrupt_lets_a_waiting_producer_go_on() -> None:
    room = Room(limit_s=1.0)
    room.feed.write(sound(5))
    task = asyncio.create_task(room.feed.room())
    await asyncio.sleep(0)
    assert not task.done()
    room.interrupt()
    await asyncio.wait_for(task, 1)
