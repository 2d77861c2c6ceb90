"""Which files a job has, and how it is divided."""

import os
from pathlib import Path

import pytest

from engine.errors import BadMediaError
from training.preprocess.sources import find_sources, shard, shown


def make(folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(path.name.encode() * 20)
    return paths


def test_folders_are_searched_and_files_taken_as_they_are(tmp_path: Path) -> None:
    make(tmp_path / "库", "甲.mp4", "深/乙.MKV", "notes.txt", "c.jpg")
    (single,) = make(tmp_path, "unusual.bin")
    found = find_sources([tmp_path / "库", single])
    assert [source.path.name for source in found] == ["unusual.bin", "乙.MKV", "甲.mp4"]
    assert len({source.id for source in found}) == 3
    assert all(len(source.id) == 12 and source.id.isalnum() for source in found)


def test_the_number_follows_the_content_not_the_name(tmp_path: Path) -> None:
    (path,) = make(tmp_path, "a.mp4")
    before = find_sources([path])[0].id
    moved = path.rename(tmp_path / "另一个.mp4")
    assert find_sources([moved])[0].id == before
    moved.write_bytes(b"other content")
    assert find_sources([moved])[0].id != before


def test_twins_are_marked_in_the_order_of_paths(tmp_path: Path) -> None:
    first, second = make(tmp_path, "a.mp4", "b.mp4")
    second.write_bytes(first.read_bytes())
    one, two = find_sources([second, first, tmp_path])
    assert (one.path, one.duplicate_of) == (first, None)
    assert (two.path, two.duplicate_of) == (second, first)
    assert one.id != two.id


def test_places_without_video_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadMediaError, match="没有"):
        find_sources([tmp_path / "没有"])
    with pytest.raises(BadMediaError, match="no videos"):
        find_sources([tmp_path])


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20])
def test_shards_are_a_partition(tmp_path: Path, count: int) -> None:
    make(tmp_path, *(f"{number:02d}.mp4" for number in range(11)))
    sources = find_sources([tmp_path])
    parts = [shard(sources, number + 1, count) for number in range(count)]
    assert sorted(s.path for part in parts for s in part) == [s.path for s in sources]
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    with pytest.raises(ValueError, match="no part"):
        shard(sources, count + 1, count)


def test_names_of_old_chinese_systems_are_shown_as_they_were_meant() -> None:
    assert shown(Path("素材/张三.mp4")) == "素材/张三.mp4"
    assert shown(Path(os.fsdecode("张三.mp4".encode("gb18030")))) == "张三.mp4"
    shown(Path(os.fsdecode(b"\xff\xff.mp4"))).encode()
