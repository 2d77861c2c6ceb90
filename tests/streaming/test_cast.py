"""The avatars of a server, on fake presenters."""

from pathlib import Path

import numpy as np
import pytest

from engine.speech.mel import SILENT_WINDOW
from streaming.cast import EngineCast
from streaming.errors import NotFound
from tests.fakes import FRAMES, FakeMouth


@pytest.fixture
def mouths() -> list[FakeMouth]:
    return []


@pytest.fixture
def cast(avatars: Path, mouths: list[FakeMouth]) -> EngineCast:
    def open_mouth(folder: Path) -> FakeMouth:
        mouths.append(FakeMouth())
        return mouths[-1]

    return EngineCast(open_mouth, "fake")


async def test_the_default_avatar_is_ready_before_anybody_asks(
    cast: EngineCast, mouths: list[FakeMouth]
) -> None:
    await cast.warm_up()
    (mouth,) = mouths
    assert mouth.encoded == FRAMES
    assert len(mouth.mels) == 1
    np.testing.assert_array_equal(mouth.mels[0], SILENT_WINDOW)
    await cast.enter("fake")
    assert mouth.encoded == FRAMES


async def test_avatars_are_loaded_once_and_only_when_asked_for(
    cast: EngineCast, mouths: list[FakeMouth]
) -> None:
    assert [info.name for info in cast.list() if info.name in ("fake", "other")] == ["fake", "other"]
    assert mouths == []
    await cast.enter("fake")
    await cast.enter("fake")
    assert len(mouths) == 1


async def test_a_default_that_is_missing_is_one_sentence(avatars: Path) -> None:
    with pytest.raises(NotFound, match=r"no avatar 'nobody'; known avatars: .*fake"):
        await EngineCast(lambda folder: FakeMouth(), "nobody").warm_up()


async def test_the_time_of_each_picture_is_told(avatars: Path) -> None:
    seconds: list[float] = []
    part = await EngineCast(lambda folder: FakeMouth(), "fake", seconds.append).enter(None)
    part.presenter.push(np.full(16_000, 0.3, np.float32))
    for _ in range(10):
        part.presenter.tick()
    assert 1 <= len(seconds) <= 10
    assert all(0 < value < 1 for value in seconds)
