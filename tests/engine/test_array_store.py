"""Arrays kept on disk: found again, shared, bounded, whole or not at all, and never trusted blindly."""

import errno
import logging
import os
import shutil
import subprocess
import sys
import textwrap
import threading
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from engine import array_store
from engine.array_store import Arrays, ArrayStore, Rows

COUNT = 6
MIB = 1 << 20


def arrays(index: int) -> Arrays:
    """Rows that differ, of odd sizes."""
    rng = np.random.default_rng(index)
    return (
        rng.integers(0, 256, (5, 7, 3), dtype=np.uint8),
        rng.normal(size=(3, 11)).astype(np.float16),
        rng.normal(size=(1,)).astype(np.float32),
    )


@pytest.fixture
def store(tmp_path: Path) -> ArrayStore:
    return ArrayStore(tmp_path / "store", 10, min_free_mb=0)


def fill(rows: Rows, count: int = COUNT) -> list[Arrays]:
    return [rows.put(index, arrays(index)) for index in range(count)]


def same(found: Arrays | None, wanted: Arrays) -> bool:
    return found is not None and all(
        one.dtype == other.dtype and np.array_equal(one, other)
        for one, other in zip(found, wanted, strict=True)
    )


def files(store: ArrayStore, pattern: str = "*") -> list[Path]:
    return sorted(store._folder.glob(pattern))


def test_what_was_put_is_found_again(store: ArrayStore) -> None:
    rows = store.rows(COUNT, "faces", "ada")
    assert not rows.whole
    assert rows.get(0) is None
    fill(rows)
    assert rows.whole
    again = store.rows(COUNT, "faces", "ada")
    assert again.whole
    assert all(same(again.get(index), arrays(index)) for index in range(COUNT))


def test_rows_come_in_any_order_and_are_there_at_once(store: ArrayStore) -> None:
    rows = store.rows(COUNT, "faces")
    for done, index in enumerate((3, 0, 5, 1, 4, 2), start=1):
        held = rows.put(index, arrays(index))
        assert same(held, arrays(index))
        assert same(rows.get(index), arrays(index))
        assert rows.whole == (done == COUNT)


def test_what_was_put_lies_in_the_file_and_not_in_memory(store: ArrayStore) -> None:
    rows = store.rows(COUNT, "faces")
    for held in (*fill(rows), store.rows(COUNT, "faces").get(2)):
        assert held is not None
        for array in held:
            assert not array.flags.owndata
            assert array.ctypes.data % 64 == 0
            assert array.flags.c_contiguous


def test_writing_to_an_array_changes_no_file(store: ArrayStore) -> None:
    fill(store.rows(COUNT, "faces"))
    one, other = (store.rows(COUNT, "faces").get(1) for _ in range(2))
    assert one is not None
    assert one[0].flags.writeable, "OpenVINO shares nothing else"
    one[0][:] = 0
    assert same(other, arrays(1))
    assert same(store.rows(COUNT, "faces").get(1), arrays(1))


def test_keys_are_told_apart(store: ArrayStore) -> None:
    fill(store.rows(COUNT, "faces", "a", "bc"))
    for key in (("faces", "ab", "c"), ("faces", "a"), ("mouths", "a", "bc")):
        assert not store.rows(COUNT, *key).whole
    names = [path.name for path in files(store)]
    assert len(names) == 1
    assert names[0].startswith("faces-")


def test_a_file_is_hidden_until_it_is_whole(store: ArrayStore) -> None:
    rows = store.rows(COUNT, "faces")
    fill(rows, COUNT - 1)
    assert not files(store, "*.arrays")
    assert not store.rows(COUNT, "faces").whole
    rows.put(COUNT - 1, arrays(COUNT - 1))
    assert len(files(store, "*.arrays")) == 1
    assert not files(store, "*.part")


def test_who_gives_up_leaves_nothing(store: ArrayStore) -> None:
    rows = store.rows(COUNT, "faces")
    held = fill(rows, 2)
    del rows
    assert files(store) == []
    assert same(held[1], arrays(1)), "what somebody holds stays"


def test_rows_of_another_shape_are_a_mistake(store: ArrayStore) -> None:
    rows = store.rows(COUNT, "faces")
    rows.put(0, arrays(0))
    with pytest.raises(ValueError, match="differ"):
        rows.put(1, arrays(1)[:2])


def test_another_number_of_rows_is_another_file(store: ArrayStore, caplog: pytest.LogCaptureFixture) -> None:
    fill(store.rows(COUNT, "faces"))
    assert not store.rows(COUNT + 1, "faces").whole
    assert "made anew" in caplog.text


@pytest.mark.parametrize("cut", [0, 10, 100, 4096, 5000, -1])
def test_a_file_that_is_cut_off_is_made_anew(
    store: ArrayStore, cut: int, caplog: pytest.LogCaptureFixture
) -> None:
    fill(store.rows(COUNT, "faces"))
    (path,) = files(store)
    with path.open("r+b") as file:
        file.truncate(cut if cut >= 0 else path.stat().st_size + cut)
    rows = store.rows(COUNT, "faces")
    assert not rows.whole
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    fill(rows)
    assert all(same(store.rows(COUNT, "faces").get(index), arrays(index)) for index in range(COUNT))


@pytest.mark.parametrize("at", [0, 17, 21, 30, 60, 4096, 4096 + 4 * COUNT - 1])
def test_a_damaged_head_is_found_out(store: ArrayStore, at: int) -> None:
    fill(store.rows(COUNT, "faces"))
    (path,) = files(store)
    damage(path, at)
    assert not store.rows(COUNT, "faces").whole
    assert files(store) == []


def test_a_head_of_nonsense_is_found_out(store: ArrayStore) -> None:
    fill(store.rows(COUNT, "faces"))
    (path,) = files(store)
    rng = np.random.default_rng(0)
    for size in (1, 100, 9000):
        path.write_bytes(b"koubo arrays 1\n\0" + rng.bytes(size))
        assert not store.rows(COUNT, "faces").whole
        assert files(store) == []


def damage(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0x55
    path.write_bytes(content)


def test_a_damaged_row_is_missing_and_the_others_are_not(
    store: ArrayStore, caplog: pytest.LogCaptureFixture
) -> None:
    fill(store.rows(COUNT, "faces"))
    (path,) = files(store)
    damage(path, path.stat().st_size - array_store._PAGE)  # the first byte of the last row
    rows = store.rows(COUNT, "faces")
    assert rows.get(COUNT - 1) is None
    assert rows.get(COUNT - 1) is None
    assert same(rows.get(0), arrays(0))
    own = arrays(COUNT - 1)
    assert rows.put(COUNT - 1, own) is own, "it stays in memory"
    assert len(caplog.records) == 1
    assert files(store) == [], "the next one makes it anew"
    fill(store.rows(COUNT, "faces"))
    assert same(store.rows(COUNT, "faces").get(COUNT - 1), arrays(COUNT - 1))


def big(store: ArrayStore, name: str, mib: int = 3) -> Rows:
    """A file of so many megabytes, that nobody has open but who holds the rows."""
    rows = store.rows(1, name)
    rows.put(0, (np.zeros(mib * MIB - 3 * array_store._PAGE, np.uint8),))
    return rows


def names(store: ArrayStore) -> set[str]:
    return {path.name.partition("-")[0] for path in files(store)}


def test_the_least_recently_used_make_room(store: ArrayStore) -> None:
    for age, name in enumerate(("c", "b", "a")):
        big(store, name)
        (path,) = files(store, f"{name}-*")
        os.utime(path, (1e9 - age, 1e9 - age))
    assert names(store) == {"a", "b", "c"}
    store.rows(1, "a")  # used: now the newest
    big(store, "d")
    assert names(store) == {"a", "c", "d"}
    big(store, "e", 6)
    assert names(store) == {"d", "e"} or names(store) == {"a", "e"}


def test_what_is_in_use_stays_and_that_is_said_once(
    store: ArrayStore, caplog: pytest.LogCaptureFixture
) -> None:
    held = [big(store, name) for name in "abc"]
    for name in "de":
        rows = big(store, name)
        assert not rows.whole
        assert rows.get(0) is None
    assert names(store) == set("abc")
    (record,) = caplog.records
    assert "not kept" in record.message
    assert "in use" in record.message
    assert all(rows.whole for rows in held)


def test_use_is_seen_by_other_processes(store: ArrayStore) -> None:
    held = big(store, "a", 6)
    program = f"""
        import numpy as np
        from pathlib import Path
        from engine.array_store import ArrayStore
        store = ArrayStore(Path({str(store._folder)!r}), 10, 0)
        rows = store.rows(1, "b")
        rows.put(0, (np.zeros({6 * MIB}, np.uint8),))
        print(rows.whole)
    """
    root = Path(__file__).parents[2]

    def other() -> str:
        command = [sys.executable, "-c", textwrap.dedent(program)]
        return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.strip()

    assert other() == "False"
    assert held.whole
    del held
    assert other() == "True"
    assert names(store) == {"b"}


def test_what_is_larger_than_all_that_may_be_taken_is_not_kept(
    store: ArrayStore, caplog: pytest.LogCaptureFixture
) -> None:
    big(store, "a")
    assert not big(store, "b", 12).whole
    assert names(store) == {"a"}, "nobody makes way for nothing"
    assert "11 MB are more than the 10 MB" in caplog.text


def test_a_store_of_nothing_keeps_nothing(tmp_path: Path) -> None:
    store = ArrayStore(tmp_path / "store", 0)
    rows = store.rows(COUNT, "faces")
    own = arrays(0)
    assert rows.put(0, own) is own
    assert not (tmp_path / "store").exists()
    assert not store.has_room(1)


Usage = namedtuple("Usage", "total used free")


def test_a_disk_that_is_nearly_full_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = ArrayStore(tmp_path, 100, min_free_mb=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(2000 * MIB, 1000 * MIB, 1002 * MIB))
    assert store.has_room(MIB)
    assert not store.has_room(3 * MIB)
    assert not big(store, "a", 3).whole
    assert "nearly full" in caplog.text
    assert names(store) == set()
    assert big(store, "b", 1).whole


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit for the size of files")
def test_a_disk_that_fills_up_meanwhile_costs_nothing(
    store: ArrayStore, caplog: pytest.LogCaptureFixture
) -> None:
    import resource

    rows = store.rows(COUNT, "faces")
    before = fill(rows, 2)
    own = arrays(2)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 * array_store._PAGE, limits[1]))
    try:
        assert rows.put(2, own) is own
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "cannot be written (File too large)" in caplog.text
    assert rows.put(3, own) is own, "it does not try again"
    assert same(before[1], arrays(1))
    assert same(rows.get(1), arrays(1)), "what was written is still read"
    assert rows.get(2) is None
    assert len(caplog.records) == 1
    assert files(store) == []


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = ArrayStore(tmp_path / "file" / "store", 10, 0)
    own = arrays(0)
    assert store.rows(COUNT, "faces").put(0, own) is own
    assert "Not a directory" in caplog.text


def test_a_file_that_cannot_be_mapped_stays(
    store: ArrayStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Too little memory for the moment is no damage."""
    fill(store.rows(COUNT, "faces"))

    def refuse(*args: object, **options: object) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr("engine.array_store.mmap.mmap", refuse)
    rows = store.rows(COUNT, "faces")
    own = arrays(0)
    assert rows.put(0, own) is own
    monkeypatch.undo()
    assert "cannot be read" in caplog.text
    assert store.rows(COUNT, "faces").whole


def test_a_killed_process_leaves_nothing_that_is_taken_for_whole(store: ArrayStore) -> None:
    program = f"""
        import os, signal
        import numpy as np
        from pathlib import Path
        from engine.array_store import ArrayStore
        rows = ArrayStore(Path({str(store._folder)!r}), 10, 0).rows(2, "faces")
        rows.put(0, (np.zeros(100, np.uint8),))
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=Path(__file__).parents[2], check=False
    )
    assert done.returncode == -9
    assert len(files(store, "*.part")) == 1
    living = store.rows(COUNT, "others")
    living.put(0, arrays(0))
    assert not store.rows(2, "faces").whole
    store.clear_leftovers()
    assert names(store) == {"others"}, "who lives goes on"
    assert fill(living)
    assert living.whole


def test_leftovers_of_a_folder_that_is_not_there_are_none(store: ArrayStore) -> None:
    store.clear_leftovers()
    assert not store._folder.exists()


def test_many_threads_read_while_one_writes(store: ArrayStore) -> None:
    rows = store.rows(40, "faces")
    wrong: list[int] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            for index in range(40):
                found = rows.get(index)
                if found is not None and not same(found, arrays(index)):
                    wrong.append(index)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    fill(rows, 40)
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert rows.whole


def test_two_who_make_the_same_do_not_disturb_each_other(store: ArrayStore) -> None:
    one, other = (store.rows(COUNT, "faces") for _ in range(2))
    for index in range(COUNT):
        one.put(index, arrays(index))
        other.put(index, arrays(index))
    assert one.whole
    assert other.whole
    assert len(files(store)) == 1
    assert all(same(rows.get(3), arrays(3)) for rows in (one, other, store.rows(COUNT, "faces")))


def test_nothing_is_said_when_all_is_well(store: ArrayStore, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        fill(store.rows(COUNT, "faces"))
        store.rows(COUNT, "faces").get(0)
    assert caplog.records == []
