"""Ray Data gives what one process gives."""

from pathlib import Path

import pytest

from engine.errors import KouboError, MissingToolError
from tests.training.preprocess.footage import SETTINGS, faces, fake_tools, syllables, talking, write_video
from training.preprocess.cluster import _RayWorker, run_on_ray
from training.preprocess.gather import MANIFEST, gather
from training.preprocess.pipeline import run
from training.preprocess.results import work_folder
from training.preprocess.sources import find_sources


@pytest.fixture
def footage(tmp_path: Path) -> Path:
    folder = tmp_path / "素材"
    folder.mkdir()
    talking(folder / "甲.mp4", 2.4, seed=1, tint=(200, 0, 0))
    talking(folder / "乙.mp4", 2.4, seed=2, tint=(0, 0, 200))
    write_video(folder / "丙.mp4", faces(syllables(30)), None)
    return folder


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_ray_and_one_process_give_the_same(footage: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="needs Ray; run `pip install 'koubo[cluster]'`")
    sources = find_sources([footage])
    assert run_on_ray(sources, tmp_path / "ray", SETTINGS, fake_tools, workers=2) == 3
    gather(tmp_path / "ray")
    run(sources, tmp_path / "one", SETTINGS, fake_tools)
    gather(tmp_path / "one")
    assert (tmp_path / "ray" / MANIFEST).read_bytes() == (tmp_path / "one" / MANIFEST).read_bytes()
    assert run_on_ray(sources, tmp_path / "ray", SETTINGS, fake_tools) == 0


def row(source: object) -> dict[str, object]:
    path = source.path  # type: ignore[attr-defined]
    return {"id": source.id, "path": bytes(path), "duplicate_of": b""}  # type: ignore[attr-defined]


def test_a_worker_takes_rows_and_gives_rows(footage: Path, tmp_path: Path) -> None:
    source = find_sources([footage])[0]
    worker = _RayWorker(tmp_path / "out", SETTINGS, fake_tools)
    assert worker(row(source)) == {"id": source.id, "error": ""}
    assert (work_folder(tmp_path / "out", source.id) / "source.json").is_file()


def test_errors_of_a_worker_travel_as_sentences(footage: Path, tmp_path: Path) -> None:
    source = next(source for source in find_sources([footage]) if source.path.name == "甲.mp4")
    folder = work_folder(tmp_path / "out", source.id)
    folder.mkdir(parents=True)
    (folder / "sound.s16").symlink_to("/dev/full")
    answer = _RayWorker(tmp_path / "out", SETTINGS, fake_tools)(row(source))
    assert "is full" in answer["error"]


def test_without_ray_the_extra_is_named(
    footage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(MissingToolError, match="koubo\\[cluster\\]"):
        run_on_ray(find_sources([footage]), tmp_path / "out", SETTINGS, fake_tools)


def test_a_place_that_cannot_be_written_is_named(footage: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="needs Ray; run `pip install 'koubo[cluster]'`")
    (tmp_path / "file").touch()
    with pytest.raises(KouboError, match="cannot be written"):
        run_on_ray(find_sources([footage]), tmp_path / "file", SETTINGS, fake_tools)
