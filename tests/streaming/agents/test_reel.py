"""The reel: what a framework would play, against what was said."""

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest

from streaming.agents.in_process import open_session
from streaming.agents.reel import SHOTS_WAITING, Reel, Shot
from streaming.cast import EngineCast
from streaming.errors import Conflict, NotFound
from streaming.events import Event, SpeakEnded, SpeakStarted
from streaming.sessions import Session
from streaming.settings import Settings
from tests.fakes import FakeMouth


@pytest.fixture
async def reel(session: Session) -> AsyncIterator[Reel]:
    reel = Reel(session)
    yield reel
    reel.close()


def tone(seconds: float, rate: int = 16_000) -> bytes:
    count = np.arange(round(seconds * rate))
    return np.where(count // (rate // 320) % 2, 6000, -6000).astype("<i2").tobytes()


async def until(reel: Reel, kind: type[Event]) -> list[Shot | Event]:
    """Everything up to the next event of this kind."""
    items: list[Shot | Event] = []
    async with asyncio.timeout(10):
        async for item in reel:
            items.append(item)
            if isinstance(item, kind):
                break
    return items


def heard(items: list[Shot | Event]) -> int:
    return sum(item.sound.size for item in items if isinstance(item, Shot))


@pytest.mark.parametrize("rate", [16_000, 24_000, 44_100])
async def test_the_sound_of_an_utterance_is_given_out_whole_and_nothing_else(reel: Reel, rate: int) -> None:
    await reel.say(tone(0.73, rate), rate)
    assert reel.finish()
    items = await until(reel, SpeakEnded)
    assert items[-1] == SpeakEnded("1", 730.0, False)
    assert heard(items) == round(0.73 * 16_000)
    start = next(n for n, item in enumerate(items) if isinstance(item, SpeakStarted))
    assert heard(items[:start]) == 0
    sound = np.concatenate([item.sound for item in items if isinstance(item, Shot)])
    assert np.count_nonzero(np.abs(sound) > 1000) > 0.98 * sound.size
    later = [await anext(reel) for _ in range(5)]
    assert heard(later) == 0


async def test_pictures_come_whether_or_not_anybody_speaks(reel: Reel, session: Session) -> None:
    shots = [await anext(reel) for _ in range(10)]
    assert all(isinstance(shot, Shot) and not shot.sound.size for shot in shots)
    width, height = session.part.size
    assert all(isinstance(s, Shot) and s.picture.shape == (height * 3 // 2, width) for s in shots)


async def test_two_utterances_end_one_after_the_other(reel: Reel) -> None:
    for seconds in (0.5, 0.31):
        await reel.say(tone(seconds), 16_000)
        reel.finish()
    first, second = await until(reel, SpeakEnded), await until(reel, SpeakEnded)
    assert (first[-1], second[-1]) == (SpeakEnded("1", 500.0, False), SpeakEnded("2", 310.0, False))
    assert heard(first) + heard(second) == 0.81 * 16_000


async def test_clear_ends_it_at_once_and_counts_what_was_given_out(reel: Reel) -> None:
    await reel.say(tone(3), 16_000)
    items = await until(reel, SpeakStarted)
    for _ in range(5):
        items.append(await anext(reel))
    await reel.clear()
    after = await until(reel, SpeakEnded)
    ended = after[-1]
    assert isinstance(ended, SpeakEnded)
    assert ended.interrupted
    assert heard(after) == 0
    # What had been made and not been taken from the reel is dropped, too: 400 ms at the most.
    assert 0 <= ended.played_ms - heard(items) / 16 <= 40 * SHOTS_WAITING
    await reel.say(tone(0.2), 16_000)
    reel.finish()
    assert heard(await until(reel, SpeakEnded)) == 3200


async def test_finish_without_an_utterance_is_no_matter(reel: Reel) -> None:
    assert not reel.finish()
    await reel.say(b"", 16_000)
    assert not reel.finish()


async def test_an_utterance_that_was_cut_is_not_continued_by_its_rest(reel: Reel, session: Session) -> None:
    await reel.say(tone(1), 16_000)
    await session.interrupt()
    await reel.say(tone(1), 16_000)
    assert not reel.finish()
    await reel.say(tone(0.1), 16_000)
    assert reel.finish()
    items = await until(reel, SpeakEnded) + await until(reel, SpeakEnded)
    assert items[-1] == SpeakEnded("2", 100.0, False)


async def test_a_pipeline_that_stalls_loses_pictures_and_no_event(reel: Reel) -> None:
    await reel.say(tone(0.4), 16_000)
    reel.finish()
    await asyncio.sleep(1.2)
    items = [await anext(reel) for _ in range(SHOTS_WAITING + 2)]
    assert [type(item) for item in items if not isinstance(item, Shot)] == [SpeakStarted, SpeakEnded]


async def test_spoken_waits_until_the_pipeline_has_taken_the_last_word(reel: Reel) -> None:
    await asyncio.wait_for(reel.spoken(), 1)
    await reel.say(tone(0.3), 16_000)
    reel.finish()
    spoken = asyncio.create_task(reel.spoken())
    await asyncio.sleep(0.8)
    assert not spoken.done()
    await until(reel, SpeakEnded)
    await asyncio.sleep(0)
    assert not spoken.done()
    await anext(reel)
    await asyncio.wait_for(spoken, 1)


async def test_a_session_has_one_reel_at_a_time(reel: Reel, session: Session) -> None:
    with pytest.raises(Conflict):
        Reel(session)
    listeners = len(session.on_tick)
    reel.close()
    Reel(session).close()
    assert len(session.on_tick) == listeners - 1


async def test_an_unknown_avatar_is_told() -> None:
    with pytest.raises(NotFound):
        async with open_session("nobody", Settings(), EngineCast(lambda folder: FakeMouth())):
            pass
