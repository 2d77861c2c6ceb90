"""The whole job: resumed, shared, interrupted; the same result each way."""

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import KouboError
from tests.training.preprocess.footage import SETTINGS, faces, fake_tools, syllables, talking, write_video
from training.clips import clip_folders, read_clip
from training.preprocess import pipeline
from training.preprocess.gather import MANIFEST, Summary, gather
from training.preprocess.pipeline import run
from training.preprocess.results import WORK, work_folder
from training.preprocess.source import Tools, prepare_source
from training.preprocess.sources import Source, find_sources, shard

RED, BLUE = (200, 0, 0), (0, 0, 200)


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two persons in three files, one file without sound, one that is no video."""
    folder = tmp_path_factory.mktemp("素材")
    talking(folder / "1-红.mp4", 2.4, seed=1, tint=RED)
    talking(folder / "2-蓝.mp4", 2.4, seed=2, tint=BLUE)
    talking(folder / "3-又是红.mp4", 2.4, seed=3, tint=RED)
    write_video(folder / "4-无声.mp4", faces(syllables(30)), None)
    (folder / "5-坏.mp4").write_text("坏")
    return folder


@pytest.fixture(scope="module")
def reference(footage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The footage prepared by one process; not to be changed."""
    output = tmp_path_factory.mktemp("reference")
    assert run(find_sources([footage]), output, SETTINGS, fake_tools) == 5
    gather(output)
    return output


def manifest(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / MANIFEST).read_text(encoding="utf-8").splitlines()]


class Tell:
    """A progress display that remembers."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int]] = []
        self.names: list[str] = []

    def __call__(self, done: int, total: int) -> None:
        self.steps.append((done, total))

    def describe(self, what: str) -> None:
        self.names.append(what)


def test_good_clips_are_kept_persons_grouped_and_reasons_given(reference: Path) -> None:
    rows = manifest(reference)
    assert [row["status"] for row in rows] == ["kept"] * 3 + ["dropped"] * 2
    assert [row["person"] for row in rows[:3]] == ["person-001", "person-002", "person-001"]
    assert [row["reason"] for row in rows[3:]] == ["no_sound", "unreadable"]
    assert "无声" in (reference / MANIFEST).read_text(encoding="utf-8")
    for row in rows[:3]:
        clip = read_clip(reference / row["clip"])
        assert clip.card.person == row["person"]
        assert clip.card.source == row["source"]
        assert {"face", "speech", "offset", "confidence", "snr_db"} <= set(row["scores"])
    assert len(clip_folders([reference])) == 3
    assert sorted(path.name for path in reference.iterdir()) == [
        "manifest.jsonl", "person-001", "person-002", "report", "report.html", "work",
    ]  # fmt: skip


def test_a_finished_job_does_nothing_and_may_be_gathered_again(reference: Path, footage: Path) -> None:
    before = (reference / MANIFEST).read_bytes()

    def no_tools() -> Tools:
        raise AssertionError("nothing is left to do")

    assert run(find_sources([footage]), reference, SETTINGS, no_tools) == 0
    again = gather(reference)
    assert again == Summary(sources=5, clips=3, persons=2, kept_s=again.kept_s, dropped_s=again.dropped_s)
    assert (reference / MANIFEST).read_bytes() == before


@pytest.mark.parametrize("count", [2, 3])
def test_shards_in_any_order_give_the_same_manifest(
    reference: Path, footage: Path, tmp_path: Path, count: int
) -> None:
    sources = find_sources([footage])
    for number in range(count, 0, -1):
        run(shard(sources, number, count), tmp_path, SETTINGS, fake_tools)
    gather(tmp_path)
    assert (tmp_path / MANIFEST).read_bytes() == (reference / MANIFEST).read_bytes()
    for row in manifest(reference):
        if row["clip"]:
            one, other = read_clip(tmp_path / row["clip"]), read_clip(reference / row["clip"])
            assert (one.card, one.pictures) == (other.card, other.pictures)
            np.testing.assert_array_equal(one.samples, other.samples)


def test_several_processes_give_the_same_manifest(reference: Path, footage: Path, tmp_path: Path) -> None:
    tell = Tell()
    assert run(find_sources([footage]), tmp_path, SETTINGS, fake_tools, jobs=2, tell=tell) == 5
    gather(tmp_path)
    assert (tmp_path / MANIFEST).read_bytes() == (reference / MANIFEST).read_bytes()
    assert tell.steps[-1] == (5000, 5000)


def test_an_interrupted_job_goes_on_where_it_was(
    reference: Path, footage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = find_sources([footage])
    done: list[Path] = []

    def interrupted(source: Source, *rest: Any) -> Any:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(source.path)
        return prepare_source(source, *rest)

    monkeypatch.setattr(pipeline, "prepare_source", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(sources, tmp_path, SETTINGS, fake_tools)
    assert gather(tmp_path).sources == 2  # a look in between does no harm
    monkeypatch.setattr(pipeline, "prepare_source", prepare_source)
    assert run(sources, tmp_path, SETTINGS, fake_tools) == 3
    gather(tmp_path)
    assert (tmp_path / MANIFEST).read_bytes() == (reference / MANIFEST).read_bytes()


def test_a_source_more_renumbers_persons_and_moves_their_clips(footage: Path, tmp_path: Path) -> None:
    sources = find_sources([footage])
    run(sources[1:3], tmp_path, SETTINGS, fake_tools)
    gather(tmp_path)
    assert [row["person"] for row in manifest(tmp_path)] == ["person-001", "person-002"]
    run(sources[:3], tmp_path, SETTINGS, fake_tools)
    gather(tmp_path)
    rows = manifest(tmp_path)
    assert [row["person"] for row in rows] == ["person-001", "person-002", "person-001"]
    assert len(clip_folders([tmp_path])) == 3
    assert all(read_clip(tmp_path / row["clip"]).card.person == row["person"] for row in rows)


def test_a_full_disk_keeps_what_is_finished(footage: Path, tmp_path: Path) -> None:
    sources = find_sources([footage])[:3]
    second = work_folder(tmp_path, sources[1].id)
    second.mkdir(parents=True)
    (second / "sound.s16").symlink_to("/dev/full")  # every write to it finds the disk full
    with pytest.raises(KouboError, match="is full; what is finished is kept") as told:
        run(sources, tmp_path, SETTINGS, fake_tools)
    assert "run the same command again" in str(told.value)
    assert gather(tmp_path).clips == 1
    assert run(sources, tmp_path, SETTINGS, fake_tools) == 2
    assert gather(tmp_path).clips == 3


def test_a_full_disk_ends_other_processes_too(footage: Path, tmp_path: Path) -> None:
    sources = find_sources([footage])[:2]
    for source in sources:
        folder = work_folder(tmp_path, source.id)
        folder.mkdir(parents=True)
        (folder / "sound.s16").symlink_to("/dev/full")
    with pytest.raises(KouboError, match="is full"):
        run(sources, tmp_path, SETTINGS, fake_tools, jobs=2)


def die() -> Tools:
    """A worker that the system kills."""
    os._exit(9)


def test_a_worker_that_dies_is_named(footage: Path, tmp_path: Path) -> None:
    with pytest.raises(KouboError, match="fewer --jobs"):
        run(find_sources([footage]), tmp_path, SETTINGS, die, jobs=2)


def test_an_output_that_cannot_be_is_named(footage: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(KouboError, match="cannot be written"):
        run(find_sources([footage]), tmp_path / "file", SETTINGS, fake_tools)


def test_a_lost_clip_is_named(footage: Path, tmp_path: Path) -> None:
    run(find_sources([footage])[:1], tmp_path, SETTINGS, fake_tools)
    (card,) = tmp_path.glob(f"{WORK}/*/clips/*/clip.json")
    card.unlink()
    with pytest.raises(KouboError, match="is gone"):
        gather(tmp_path)


def test_progress_names_files_and_grows(footage: Path, tmp_path: Path) -> None:
    tell = Tell()
    make: Callable[[], Tools] = partial(fake_tools)
    run(find_sources([footage])[:2], tmp_path, SETTINGS, make, tell=tell)
    assert ["红" in tell.names[0], "蓝" in tell.names[1]] == [True, True]
    assert tell.steps == sorted(tell.steps)
    assert tell.steps[-1] == (2000, 2000)
    assert len(tell.steps) > 10
