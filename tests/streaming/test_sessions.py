"""A session's own doing, seen by a viewer without a network."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from engine.live import Tick
from streaming.cast import EngineCast
from streaming.drawing import Workers
from streaming.encoding.base import EncodedPicture, EncodedSound
from streaming.errors import NotFound
from streaming.metrics import Metrics
from streaming.session_table import SessionTable
from streaming.sessions import Session, Stage
from streaming.settings import Settings
from streaming.voices.espeak import EspeakVoice
from tests.fakes import FakeMouth
from tests.streaming.conftest import eventually


class Spectator:
    """A receiver of encoded pictures and sound that also keeps every tick, and counts what it was told to
    drop.
    """

    def __init__(self) -> None:
        self.ticks: list[tuple[int, Tick]] = []
        self.pictures: list[EncodedPicture] = []
        self.sounds: list[EncodedSound] = []
        self.cleared = 0

    def tick(self, slot: int, tick: Tick) -> None:
        self.ticks.append((slot, tick))

    def picture(self, picture: EncodedPicture) -> None:
        self.pictures.append(picture)

    def sound(self, sound: EncodedSound) -> None:
        self.sounds.append(sound)

    def clear(self) -> None:
        self.cleared += 1


@pytest.fixture
def stage(avatars: Path, settings: Settings, workers: Workers) -> Stage:
    # Without a label, an idle picture is the anchor's own, which can be told.
    settings = settings.model_copy(update={"label": "off", "label_off_reason": "pictures are compared"})
    return Stage(settings, EngineCast(lambda folder: FakeMouth(), "fake"), EspeakVoice(), workers, Metrics())


@pytest.fixture
async def table(stage: Stage) -> AsyncIterator[SessionTable]:
    table = SessionTable(stage)
    yield table
    await table.close()
    assert len(table) == 0


@pytest.fixture
async def watched(table: SessionTable) -> tuple[Session, Spectator]:
    session, spectator = await table.create(None), Spectator()
    session.encoders.attach(spectator, video="h264", audio="opus")
    session.on_tick.append(spectator.tick)
    return session, spectator


def loud(tick: Tick) -> bool:
    return bool(np.abs(tick.sound).max() > 500)


async def test_every_tick_has_its_picture_and_two_packets_of_its_own_sound(
    watched: tuple[Session, Spectator],
) -> None:
    session, spectator = watched
    await eventually(lambda: len(spectator.pictures) > 10)
    assert session.figures.ticks >= 10
    slots = [slot for slot, _ in spectator.ticks]
    assert all(np.diff(slots) >= 1)
    first = spectator.sounds[0].pts // 1920
    heard = [slot for slot in slots if slot >= first]
    expected = [1920 * slot + half for slot in heard for half in (0, 960)]
    assert [sound.pts for sound in spectator.sounds] == expected
    assert spectator.pictures[0].keyframe
    assert {picture.slot for picture in spectator.pictures} <= set(slots)


async def test_a_session_that_nobody_watches_encodes_nothing(table: SessionTable) -> None:
    session, ticks = await table.create(None), list[Tick]()
    session.on_tick.append(lambda slot, tick: ticks.append(tick))
    await eventually(lambda: len(ticks) > 3)
    assert session.encoders.codecs == ()
    assert session.encoders.encode_sound(ticks[0].sound, 0) == []
    assert table.encoders == {}


async def test_sessions_spread_over_the_phases_of_a_tick(table: SessionTable) -> None:
    sessions = [await table.create(None) for _ in range(3)]
    assert [session.phase for session in sessions] == [0, 4, 2]
    await table.end(sessions[1].id)
    assert (await table.create(None)).phase == 4


async def test_open_encoders_are_counted_over_all_sessions(
    watched: tuple[Session, Spectator], table: SessionTable
) -> None:
    session, _ = watched
    other = await table.create("other")
    attachment = other.encoders.attach(Spectator(), video="h264", audio=None)
    other.encoders.attach(Spectator(), video="vp8", audio=None)
    assert table.encoders == {"h264": 2, "vp8": 1}
    attachment.detach()
    assert table.encoders == {"h264": 1, "vp8": 1}
    await table.end(session.id)
    assert table.encoders == {"vp8": 1}


async def test_encoding_is_told_to_the_metrics(watched: tuple[Session, Spectator], stage: Stage) -> None:
    _, spectator = watched
    await eventually(lambda: len(spectator.pictures) > 3)
    text = stage.metrics.text().decode()
    count = next(
        line for line in text.splitlines() if line.startswith('koubo_encode_seconds_count{codec="h264"')
    )
    assert float(count.split()[1]) >= 3


async def test_after_an_interrupt_not_one_tick_speaks(watched: tuple[Session, Spectator]) -> None:
    session, spectator = watched
    assert (
        session.speak("This is a long story, told slowly, that nobody wants to hear to its end.", None)
        == "en-us"
    )
    await eventually(lambda: sum(loud(tick) for _, tick in spectator.ticks) > 5)
    dropped = await session.interrupt()
    after = len(spectator.ticks)
    assert dropped > 1
    assert spectator.cleared == 1
    assert session.backlog_s == 0
    await eventually(lambda: len(spectator.ticks) > after + 10)
    late = [tick for _, tick in spectator.ticks[after:]]
    assert not any(loud(tick) or tick.speaking for tick in late)
    # The mouth is closed after two ticks: the pictures are the anchor's own again.
    assert len({tick.picture.flags.writeable for tick in late[2:]}) == 1
    assert not late[2].picture.flags.writeable


async def test_an_interrupt_stops_a_text_that_is_still_being_made(watched: tuple[Session, Spectator]) -> None:
    session, spectator = watched
    for _ in range(2):
        session.speak("One sentence. And another one. And a third one, somewhat longer. " * 3, None)
    await asyncio.sleep(0)
    await session.interrupt()
    after = len(spectator.ticks)
    await eventually(lambda: len(spectator.ticks) > after + 15)
    assert not any(loud(tick) for _, tick in spectator.ticks[after:])
    session.speak("And now this.", None)
    await eventually(lambda: loud(spectator.ticks[-1][1]))


async def test_a_session_that_fails_is_gone_and_the_fault_is_logged(
    stage: Stage, table: SessionTable, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    session = await table.create("fake")

    def fail() -> None:
        raise RuntimeError("no mouth today")

    monkeypatch.setattr(session.part.presenter, "begin", fail)
    await eventually(lambda: len(table) == 0)
    assert "no mouth today" in caplog.text
    with pytest.raises(NotFound):
        table.get(session.id)
    # Its place is free again.
    await table.create("fake")
