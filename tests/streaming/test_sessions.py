"""A session's own doing, seen by a viewer without a network."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from streaming.cast import EngineCast, Part
from streaming.errors import NotFound
from streaming.metrics import Metrics
from streaming.sessions import Session, SessionTable, Stage
from streaming.settings import Settings
from streaming.voices.espeak import EspeakVoice
from streaming.webrtc.tracks import Beat
from streaming.webrtc.viewer import Viewer
from tests.fakes import FakeMouth
from tests.streaming.conftest import eventually


class Spectator:
    """Stands where a viewer stands; keeps every tick, and what it was told to drop."""

    id = "spectator"
    connected = True

    def __init__(self) -> None:
        self.beats: list[Beat] = []
        self.cleared = 0

    def show(self, beat: Beat, now: float) -> None:
        self.beats.append(beat)

    def clear(self) -> None:
        self.cleared += 1

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
def workers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture
def stage(avatars: Path, settings: Settings, workers: ThreadPoolExecutor) -> Stage:
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
    session.viewers["spectator"] = cast(Viewer, spectator)
    return session, spectator


def loud(beat: Beat) -> bool:
    return bool(np.abs(beat.tick.sound).max() > 500)


async def test_every_tick_has_its_picture_and_two_packets_of_its_own_sound(
    watched: tuple[Session, Spectator],
) -> None:
    session, spectator = watched
    await eventually(lambda: len(spectator.beats) > 10)
    assert session.figures.ticks >= 10
    slots = [beat.slot for beat in spectator.beats]
    assert all(np.diff(slots) >= 1)
    for beat in spectator.beats:
        assert [packet.pts for packet in beat.sound] == [1920 * beat.slot, 1920 * beat.slot + 960]


async def test_after_an_interrupt_not_one_tick_speaks(watched: tuple[Session, Spectator]) -> None:
    session, spectator = watched
    assert (
        session.speak("This is a long story, told slowly, that nobody wants to hear to its end.", None)
        == "en-us"
    )
    await eventually(lambda: sum(map(loud, spectator.beats)) > 5)
    dropped = await session.interrupt()
    after = len(spectator.beats)
    assert dropped > 1
    assert spectator.cleared == 1
    assert session.backlog_s == 0
    await eventually(lambda: len(spectator.beats) > after + 10)
    late = spectator.beats[after:]
    assert not any(loud(beat) or beat.tick.speaking for beat in late)
    # The mouth is closed after two ticks: the pictures are the anchor's own again.
    assert len({beat.tick.picture.flags.writeable for beat in late[2:]}) == 1
    assert not late[2].tick.picture.flags.writeable


async def test_an_interrupt_stops_a_text_that_is_still_being_made(watched: tuple[Session, Spectator]) -> None:
    session, spectator = watched
    for _ in range(2):
        session.speak("One sentence. And another one. And a third one, somewhat longer. " * 3, None)
    await asyncio.sleep(0)
    await session.interrupt()
    after = len(spectator.beats)
    await eventually(lambda: len(spectator.beats) > after + 15)
    assert not any(map(loud, spectator.beats[after:]))
    session.speak("And now this.", None)
    await eventually(lambda: loud(spectator.beats[-1]))


async def test_a_session_that_fails_is_gone_and_the_fault_is_logged(
    stage: Stage, table: SessionTable, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    session = await table.create("fake")

    def fail() -> None:
        raise RuntimeError("no mouth today")

    part = Part(session.part.presenter, session.part.figures)
    monkeypatch.setattr(part.presenter, "tick", fail)
    await eventually(lambda: len(table) == 0)
    assert "no mouth today" in caplog.text
    with pytest.raises(NotFound):
        table.get(session.id)
    # Its place is free again.
    await table.create("fake")
