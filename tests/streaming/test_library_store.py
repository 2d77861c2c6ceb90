"""Presenters whose pictures and features lie on disk; and those for whom there is too little memory."""

import asyncio
import errno
import gc
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path

import av
import av.error
import cv2
import numpy as np
import pytest

from engine.anchor.card import ANCHOR
from engine.anchor.package import Avatar
from engine.array_store import ArrayStore
from engine.mouth.region import Region
from streaming.cast import EngineCast
from streaming.errors import Busy
from streaming.library import Library, Loaded
from tests.fakes import FRAMES, FakeMouth, make_avatar
from tests.streaming.presenters import make_presenter

MIB = 1 << 20


class LastingMouth(FakeMouth):
    """A mouth whose features may be kept."""

    maps_key = "fake 1"


class Mouths:
    """Opens mouths and remembers them."""

    def __init__(self, kind: Callable[[], FakeMouth] = LastingMouth) -> None:
        self.kind = kind
        self.opened: list[FakeMouth] = []

    def __call__(self, folder: Path) -> FakeMouth:
        self.opened.append(self.kind())
        return self.opened[-1]

    @property
    def encoded(self) -> int:
        """Faces whose features were computed."""
        return sum(mouth.encoded for mouth in self.opened)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache") / "avatars"


def new_store(folder: Path, mb: float = 100) -> ArrayStore:
    return ArrayStore(folder, mb, min_free_mb=0)


async def loaded(folder: Path, mouths: Mouths, name: str = "fake") -> Loaded:
    """A presenter, made ready by a new server with that cache folder."""
    found = await Library(mouths, store=new_store(folder)).get(name)
    found.rehearse()
    found.features.fill()
    return found


def kinds(folder: Path) -> list[str]:
    return sorted(path.name.partition("-")[0] for path in folder.glob("*.arrays"))


def damage(folder: Path, kind: str, size: int | None) -> None:
    """A wrong byte in the last row, or the file cut off."""
    (path,) = folder.glob(f"{kind}-*.arrays")
    content = bytearray(path.read_bytes())
    content[-4096] ^= 1
    path.write_bytes(content if size is None else content[:size])


async def test_a_second_server_computes_nothing(avatars: Path, folder: Path) -> None:
    mouths = Mouths()
    first = await loaded(folder, mouths)
    assert mouths.encoded == FRAMES
    assert kinds(folder) == ["features", "pictures"]
    second = await loaded(folder, mouths)
    assert mouths.encoded == FRAMES
    plain = Avatar.load(avatars / "fake")
    for index in range(FRAMES):
        np.testing.assert_array_equal(second.avatar.frame(index), plain.frame(index))
        np.testing.assert_array_equal(second.avatar.face(index), plain.face(index))
        np.testing.assert_array_equal(second.features[index][0], first.features[index][0])


async def test_decoding_is_done_once(avatars: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await loaded(folder, Mouths())

    def refuse(path: Path) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr("engine.anchor.pictures.read_i420", refuse)
    assert (await loaded(folder, Mouths())).avatar.frames == FRAMES


async def test_what_lies_on_disk_weighs_nothing(avatars: Path, folder: Path) -> None:
    assert (await loaded(folder, Mouths())).nbytes == 0
    library = Library(Mouths(FakeMouth))
    found = await library.get("fake")
    found.rehearse()
    assert found.nbytes > FRAMES * found.avatar.frame(0).nbytes


async def test_frames_are_read_only(avatars: Path, folder: Path) -> None:
    for _ in range(2):
        found = await loaded(folder, Mouths())
        assert not found.avatar.frame(0).flags.writeable
        assert not found.avatar.face(0).flags.writeable


async def test_features_on_a_device_are_not_kept(avatars: Path, folder: Path) -> None:
    mouths = Mouths(FakeMouth)
    for number in (1, 2):
        await loaded(folder, mouths)
        assert mouths.encoded == number * FRAMES
    assert kinds(folder) == ["pictures"]


async def test_another_mouth_layout_or_anchor_is_another_file(avatars: Path, folder: Path) -> None:
    class OtherMouth(FakeMouth):
        maps_key = "fake 2"

    mouths = Mouths()
    await loaded(folder, mouths)
    other = Mouths(OtherMouth)
    await loaded(folder, other)
    assert other.encoded == FRAMES, "another layout"
    sheet = avatars / "fake" / "mouth" / "model.json"
    sheet.write_text(sheet.read_text() + "\n")
    await loaded(folder, mouths)
    assert mouths.encoded == 2 * FRAMES, "another mouth"
    (avatars / "fake" / ANCHOR).unlink()
    make_presenter(avatars / "elsewhere", "fake", shade=0.5)
    (avatars / "elsewhere" / "fake" / ANCHOR).rename(avatars / "fake" / ANCHOR)
    found = await loaded(folder, mouths)
    assert mouths.encoded == 3 * FRAMES, "another anchor"
    assert found.avatar.frame(0)[:100].mean() < 90


async def test_presenters_with_the_same_pixels_share(avatars: Path, folder: Path) -> None:
    """Two copies of a package, or a package that was renamed."""
    shutil.rmtree(avatars / "other")
    shutil.copytree(avatars / "fake", avatars / "other")
    mouths = Mouths()
    await loaded(folder, mouths)
    await loaded(folder, mouths, "other")
    assert mouths.encoded == FRAMES
    assert kinds(folder) == ["features", "pictures"]


@pytest.mark.parametrize("kind", ["features", "pictures"])
@pytest.mark.parametrize("size", [0, 5000, None])
async def test_damage_is_made_good(avatars: Path, folder: Path, kind: str, size: int | None) -> None:
    """A file that is empty, cut off, or has a wrong byte in a row."""
    mouths = Mouths()
    before = await loaded(folder, mouths)
    faces = [np.copy(before.features[index][0]) for index in range(FRAMES)]
    del before
    gc.collect()
    damage(folder, kind, size)
    for _ in range(2):
        found = await loaded(folder, mouths)
        for index in range(FRAMES):
            np.testing.assert_array_equal(found.features[index][0], faces[index])
        del found
    assert kinds(folder) == ["features", "pictures"], "and is whole again"


async def test_a_damaged_row_costs_one_frame(avatars: Path, folder: Path) -> None:
    mouths = Mouths()
    await loaded(folder, mouths)
    damage(folder, "features", None)
    await loaded(folder, mouths)
    assert mouths.encoded == FRAMES + 1


async def test_a_store_without_room_changes_nothing(avatars: Path, folder: Path) -> None:
    mouths = Mouths()
    found = await Library(mouths, store=new_store(folder, 0)).get("fake")
    found.rehearse()
    assert mouths.encoded == FRAMES
    assert found.nbytes > 0
    assert kinds(folder) == []


async def test_the_mouth_draws_what_is_pasted(avatars: Path) -> None:
    asked: list[Region] = []

    class Restricting(FakeMouth):
        def restricted(self, region: Region) -> FakeMouth:
            asked.append(region)
            return self

    found = await Library(Mouths(Restricting)).get("fake")
    assert asked == [found.avatar.paste_region]


def leave_half(folder: Path) -> Path:
    folder.mkdir(parents=True)
    left = folder / "pictures-0123-4567.part"
    left.write_bytes(b"half")
    return left


async def test_a_server_clears_what_a_killed_one_left(avatars: Path, folder: Path) -> None:
    left = leave_half(folder)
    cast = EngineCast(Mouths(), "fake", store=new_store(folder))
    await cast.warm_up()
    assert not left.exists()


async def test_what_is_not_needed_at_once_is_filled_later(
    avatars: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streaming.library._FIRST", 3)
    mouths = Mouths()
    cast = EngineCast(mouths, "fake")
    await cast.fill()
    assert mouths.opened == []
    await cast.warm_up()
    assert mouths.encoded == 3
    await cast.fill()
    assert mouths.encoded == FRAMES


async def test_a_presenter_that_does_not_fit_is_refused_before_it_is_read(avatars: Path) -> None:
    mouths = Mouths()
    library = Library(mouths, free_memory=lambda: 10 * MIB)
    with pytest.raises(Busy, match=r"needs 6\d MB of memory, and 10 MB are free") as refused:
        await library.get("fake")
    assert refused.value.status == 503
    assert int(refused.value.headers["Retry-After"]) > 0
    assert mouths.opened == []


async def test_who_is_kept_for_later_makes_way(avatars: Path) -> None:
    make_presenter(avatars, "third", shade=0.7)
    library = Library(Mouths(), free_memory=lambda: 1 << 40 if plenty or ref() is None else 0)
    plenty = True
    ref = weakref.ref(await library.get("fake"))
    pinned = library.pinned = await library.get("other")
    assert ref() is not None
    plenty = False
    assert (await library.get("third")).avatar.name == "third"
    assert ref() is None
    assert await library.get("other") is pinned, "who is held stays"


async def test_what_lies_on_disk_needs_no_memory(avatars: Path, folder: Path) -> None:
    with pytest.raises(Busy):
        await Library(Mouths(), store=new_store(folder, 0.001), free_memory=lambda: 64 * MIB).get("fake")
    await Library(Mouths(), store=new_store(folder), free_memory=lambda: 64 * MIB).get("fake")
    # It is there: no room is needed any more.
    await Library(Mouths(), store=new_store(folder, 0.001), free_memory=lambda: 64 * MIB).get("fake")


async def test_where_nobody_tells_what_is_free_it_is_tried(avatars: Path) -> None:
    assert await Library(Mouths(), free_memory=lambda: None).get("fake")


@pytest.mark.parametrize("error", [MemoryError(), cv2.error("Insufficient memory")])
async def test_memory_that_runs_out_is_a_refusal(
    avatars: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Sessions that run are not disturbed, and it works once there is more."""
    library = Library(Mouths())
    running = await library.get("other")
    if isinstance(error, cv2.error):
        error.code = cv2.Error.StsNoMem

    def fail(path: Path) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("engine.anchor.pictures.read_i420", fail)
        with pytest.raises(Busy, match="The presenter fake needs more memory than there is"):
            await library.get("fake")
    assert await library.get("other") is running
    assert (await library.get("fake")).avatar.frames == FRAMES


async def test_a_decoder_without_memory_is_no_damage(avatars: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: str) -> None:
        raise av.error.MemoryError(errno.ENOMEM, "Cannot allocate memory", path)

    monkeypatch.setattr("engine.picture.decode.av.open", fail)
    with pytest.raises(Busy, match="more memory than there is"):
        await Library(Mouths()).get("fake")


async def test_other_faults_of_opencv_are_no_lack_of_memory(
    avatars: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> None:
        cv2.resize(np.zeros((0, 0), np.uint8), (1, 1))

    monkeypatch.setattr("engine.anchor.pictures.read_i420", fail)
    with pytest.raises(cv2.error, match="empty"):
        await Library(Mouths()).get("fake")


async def test_nothing_grows_with_presenters_that_come_and_go(avatars: Path) -> None:
    cast = EngineCast(lambda folder: FakeMouth(), "fake", keep_mb=0)
    library = cast._library
    for number in range(5):
        name = f"guest-{number}"
        make_avatar(avatars, name)
        await cast.enter(name)
        cast.preview(name)
        (avatars / name / "avatar.json").unlink()
    cast.preview("fake")
    assert set(cast._previews) == {"fake"}
    assert len(library._loading) == 0
    assert len(library._shelf) == 0
    await asyncio.sleep(0)  # the last future is let go
    gc.collect()
    assert len(library._mouths) == 0, "nobody holds one"


async def test_there_is_one_timer_however_many_ask(avatars: Path) -> None:
    loop = asyncio.get_running_loop()
    library = Library(Mouths())
    before = [handle for handle in loop._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
    for _ in range(20):
        await library.get("fake")
    after = [handle for handle in loop._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
    assert len(after) - len(before) == 1
