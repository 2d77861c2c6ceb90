"""`koubo dataset prepare` as its users meet it."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from engine.errors import KouboError
from koubo import app
from tests.training.preprocess.footage import fake_tools, talking
from training.preprocess import toolbox
from training.preprocess.source import Tools


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    def tools(self: toolbox.Toolbox) -> Tools:
        return fake_tools()

    monkeypatch.setattr(toolbox.Toolbox, "__call__", tools)


def prepare(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, ["dataset", "prepare", *map(str, arguments)])


def test_clips_manifest_and_report(tmp_path: Path) -> None:
    (tmp_path / "素材").mkdir()
    talking(tmp_path / "素材" / "一.mp4", 2.4)
    result = prepare(tmp_path / "素材", "--output", tmp_path / "出", "--size", "64", "--json")
    assert result.exit_code == 0, result.output
    figures = json.loads(next(line for line in result.output.splitlines() if line.startswith("{")))
    assert (figures["sources"], figures["clips"], figures["persons"]) == (1, 1, 1)
    assert (tmp_path / "出" / "report.html").is_file()
    assert len(list((tmp_path / "出" / "person-001").iterdir())) == 1


def test_nothing_kept_is_an_error_after_the_report(tmp_path: Path) -> None:
    talking(tmp_path / "a.mp4", 2.4)
    result = prepare(tmp_path / "a.mp4", "--output", tmp_path / "out", "--min-face", "200")
    assert isinstance(result.exception, KouboError)
    assert "Nothing was kept" in str(result.exception)
    assert (tmp_path / "out" / "report.html").is_file()
    again = prepare(tmp_path / "a.mp4", "--output", tmp_path / "out")
    assert again.exit_code == 0


def test_shards_wait_for_one_run_without(tmp_path: Path) -> None:
    for number in (1, 2):
        talking(tmp_path / f"{number}.mp4", 2.2, seed=number)
    for part in ("2/2", "1/2"):
        result = prepare(tmp_path, "--output", tmp_path / "out", "--size", "64", "--shard", part)
        assert result.exit_code == 0, result.output
        assert not (tmp_path / "out" / "manifest.jsonl").exists()
    prepare(tmp_path, "--output", tmp_path / "out", "--size", "64")
    assert len((tmp_path / "out" / "manifest.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "1/2/3", "-1/2"])
def test_parts_that_do_not_exist_are_named(tmp_path: Path, shard: str) -> None:
    (tmp_path / "a.mp4").touch()
    result = prepare(tmp_path, "--output", tmp_path / "out", f"--shard={shard}")
    assert isinstance(result.exception, KouboError)
    assert "no part" in str(result.exception)


def test_lengths_that_cannot_be_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    result = prepare(tmp_path, "--output", tmp_path / "out", "--min-seconds", "6")
    assert "--max-seconds" in str(result.exception)


def test_sources_that_do_not_exist_are_named(tmp_path: Path) -> None:
    result = prepare(tmp_path / "没有", "--output", tmp_path / "out")
    assert "没有" in str(result.exception)
    assert not (tmp_path / "out").exists()
