"""The avatars of a server, on fake presenters: loaded once, noticed when they change, let go."""

import asyncio
import gc
import shutil
import weakref
from pathlib import Path

import numpy as np
import pytest

from engine.anchor.card import ANCHOR
from engine.errors import AvatarError
from engine.speech.mel import SILENT_WINDOW
from streaming.cast import EngineCast, MouthFigures
from streaming.errors import NotFound
from streaming.library import Library, Loaded
from tests.fakes import FRAME_SIZE, FRAMES, FakeMouth, make_avatar
from tests.streaming.conftest import eventually
from tests.streaming.presenters import brightness, make_presenter, next_tick


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
    cast = EngineCast(lambda folder: FakeMouth(), "fake", seconds.append)
    one, other = (await cast.enter(None)).role.mouth, (await cast.enter(None)).role.mouth
    assert one.figures() == other.figures() == MouthFigures("fake", "u8", 0.0)
    for value in (0.004, 0.005, 0.02):
        one.add(value)
    other.add(0.001)
    assert seconds == [0.004, 0.005, 0.02, 0.001]
    assert one.figures().ms_per_frame == 5
    assert other.figures().ms_per_frame == 1


def open_mouth(folder: Path) -> FakeMouth:
    return FakeMouth()


def names(cast: EngineCast) -> set[str]:
    """The presenters of the tests that it lists."""
    return {info.name for info in cast.list()} & {"fake", "other", "new"}


async def test_avatars_come_and_go_while_the_server_runs(cast: EngineCast, avatars: Path) -> None:
    assert names(cast) == {"fake", "other"}
    make_avatar(avatars, "new")
    assert names(cast) == {"fake", "other", "new"}
    assert (await cast.enter("new")).role.name == "new"
    shutil.rmtree(avatars / "new")
    assert names(cast) == {"fake", "other"}
    with pytest.raises(NotFound, match="no avatar 'new'"):
        await cast.enter("new")


async def test_who_is_on_stage_stays_though_deleted(cast: EngineCast, avatars: Path) -> None:
    part = await cast.enter("other")
    shutil.rmtree(avatars / "other")
    part.presenter.push(np.full(16_000, 0.3, np.float32))
    ticks = [next_tick(part.presenter) for _ in range(2 * FRAMES)]
    assert {tick.avatar for tick in ticks} == {"other"}
    assert any(tick.speaking for tick in ticks)


async def test_a_changed_avatar_is_read_anew_for_new_sessions(cast: EngineCast, avatars: Path) -> None:
    before = await cast.enter("other")
    bright, picture = brightness(next_tick(before.presenter)), cast.preview("other")
    assert cast.preview("other") is picture
    shutil.rmtree(avatars / "other")
    make_presenter(avatars, "other", shade=0.5)
    after = await cast.enter("other")
    assert brightness(next_tick(after.presenter)) < 0.75 * bright
    assert brightness(next_tick(before.presenter)) == pytest.approx(bright, abs=3)
    assert cast.preview("other") != picture
    assert (await cast.enter("other")).role.loaded is after.role.loaded


async def test_a_changed_mouth_is_opened_anew(
    cast: EngineCast, mouths: list[FakeMouth], avatars: Path
) -> None:
    await cast.enter("other")
    sheet = avatars / "other" / "mouth" / "model.json"
    sheet.write_text(sheet.read_text() + "\n")
    await cast.enter("other")
    assert len(mouths) == 2


async def test_a_mouth_is_shared_by_avatars_that_hold_the_same(
    cast: EngineCast, mouths: list[FakeMouth], avatars: Path
) -> None:
    """A package of its own holds a copy of the mouth; the same weights are not loaded twice."""
    first, second = await cast.enter("fake"), await cast.enter("other")
    assert len(mouths) == 1
    assert first.role.loaded.mouth is second.role.loaded.mouth
    assert first.role.loaded.features is not second.role.loaded.features


async def test_who_asks_at_once_shares_one_load(cast: EngineCast, mouths: list[FakeMouth]) -> None:
    parts = await asyncio.gather(*(cast.enter(name) for name in ("fake", "other") * 3))
    assert len({id(part.role.loaded) for part in parts}) == 2
    assert len(mouths) == 1


async def test_a_role_is_fitted_once_and_ready(cast: EngineCast, avatars: Path) -> None:
    make_presenter(avatars, "wide", size=(256, 144))
    role = await cast.role("wide", FRAME_SIZE)
    assert role.loaded.avatar.size == FRAME_SIZE
    assert len(role.loaded.features) == FRAMES, "its first frames are computed"
    assert (await cast.role("wide", FRAME_SIZE)).loaded is role.loaded
    own = await cast.role("wide", (256, 144))
    assert own.loaded.avatar.size == (256, 144)
    assert own.loaded.features is role.loaded.features
    assert (await cast.role("fake", FRAME_SIZE)).loaded is (await cast.enter("fake")).role.loaded


async def test_a_damaged_avatar_is_told_until_it_is_mended(cast: EngineCast, avatars: Path) -> None:
    film = (avatars / "other" / ANCHOR).read_bytes()
    (avatars / "other" / ANCHOR).write_bytes(film[: len(film) // 2])
    for _ in range(2):
        with pytest.raises(AvatarError, match="damaged"):
            await cast.role("other", FRAME_SIZE)
    (avatars / "other" / ANCHOR).write_bytes(film)
    assert (await cast.role("other", FRAME_SIZE)).name == "other"


def test_frames_are_made_ready_in_the_order_of_need(avatars: Path) -> None:
    package = make_presenter(avatars, "rich", clips={"wave": "gesture", "talk": "talking"})
    library = Library(open_mouth)
    loaded = library._load(package)
    at_once, later = loaded.frames()
    assert loaded.avatar.frames == 3 * FRAMES
    # Idle, then talking; the gesture between them can wait.
    assert at_once == [*range(FRAMES), *range(2 * FRAMES, 3 * FRAMES)]
    assert later == list(range(FRAMES, 2 * FRAMES))
    loaded.rehearse()
    assert len(loaded.features) == 2 * FRAMES


def test_long_clips_are_begun_before_any_is_finished(avatars: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = make_presenter(avatars, "rich", clips={"wave": "gesture", "talk": "talking"})
    monkeypatch.setattr("streaming.library._FIRST", 4)
    at_once, later = Library(open_mouth)._load(package).frames()
    assert at_once == [0, 1, 2, 3, 20, 21, 22, 23]
    assert later[:4] == [10, 11, 12, 13]
    assert sorted(at_once + later) == list(range(3 * FRAMES))


async def kept(library: Library, *names: str) -> list[weakref.ref[Loaded]]:
    """What became of these, asked for one after the other and held by nobody."""
    return [weakref.ref(await library.get(name)) for name in names]


def alive(ref: weakref.ref[Loaded]) -> bool:
    gc.collect()
    return ref() is not None


async def test_memory_for_who_comes_next_is_bounded(avatars: Path) -> None:
    make_avatar(avatars, "third")
    library = Library(open_mouth)
    one = (await library.get("fake")).nbytes / 2**20
    library = Library(open_mouth, keep_mb=2.5 * one)
    first, second, third = await kept(library, "fake", "other", "third")
    assert [alive(ref) for ref in (first, second, third)] == [False, True, True]


async def test_the_pinned_one_takes_no_room_from_others(avatars: Path) -> None:
    one = (await Library(open_mouth).get("fake")).nbytes / 2**20
    library = Library(open_mouth, keep_mb=1.5 * one)
    library.pinned = await library.get("fake")
    (other,) = await kept(library, "other")
    assert alive(other)
    assert await library.get("fake") is library.pinned


async def test_who_is_held_is_found_although_not_kept(avatars: Path) -> None:
    library = Library(open_mouth, keep_mb=0)
    held = await library.get("fake")
    assert await library.get("fake") is held
    ref = weakref.ref(held)
    del held
    assert not alive(ref)


async def test_avatars_are_let_go_after_a_while(avatars: Path) -> None:
    library = Library(open_mouth, keep_s=0.3)
    library.pinned = await library.get("fake")
    (ref,) = await kept(library, "other")
    pinned = weakref.ref(library.pinned)
    assert alive(ref)
    await eventually(lambda: not alive(ref))
    assert alive(pinned)


async def test_features_weigh_too(avatars: Path) -> None:
    loaded = await Library(open_mouth).get("fake")
    before = loaded.nbytes
    loaded.rehearse()
    assert loaded.nbytes > before
    assert loaded.features.nbytes == sum(map_.nbytes for map_ in loaded.features[0]) * FRAMES
