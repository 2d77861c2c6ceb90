"""`koubo bench soak` as it is typed; what it measures is tested where it is measured."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from commands.bench import app
from engine.errors import KouboError
from tests.streaming.test_soak_figures import show_lines, start_lines


def soak(*words: object) -> Result:
    return CliRunner().invoke(app, ["soak", *(str(word) for word in words)], catch_exceptions=False)


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """The lines of a show that was cut in the middle of one."""
    path = tmp_path / "soak.jsonl"
    text = "\n".join(json.dumps(line) for line in show_lines()[:100])
    path.write_text(text + '\n{"at": 990.0, "own_')
    return path


def test_a_run_that_was_cut_short_is_read(broken: Path, tmp_path: Path) -> None:
    done = soak("--read", broken, "--save", tmp_path / "soak.json", "--plot", tmp_path / "soak.png")
    assert done.exit_code == 0, done.output
    assert "0 ticks" in done.stdout
    assert "missed" in done.stdout  # nobody ended its recording
    saved = json.loads((tmp_path / "soak.json").read_text())
    assert saved["command"] == "bench soak"
    assert saved["figures"]["seconds"] == 990
    assert (tmp_path / "soak.png").read_bytes().startswith(b"\x89PNG")
    # The lines that it came from are left as they were.
    assert broken.read_text().endswith('"own_')


def test_figures_are_json_where_wanted(broken: Path) -> None:
    done = soak("--read", broken, "--json")
    assert {verdict["name"] for verdict in json.loads(done.stdout)["verdicts"]} > {"descriptors", "threads"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--real", "1h", "--starts", "100"), "one thing at a time"),
        (("--real", "soon"), "8h"),
        (("--simulated", "0s"), "8h"),
        (("--read", "nothing.jsonl"), "cannot be read"),
    ],
)
def test_what_cannot_be_is_said(words: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(KouboError, match=sentence):
        soak(*words)


def test_a_file_without_lines_is_said(tmp_path: Path) -> None:
    path = tmp_path / "empty.jsonl"
    path.write_text("not json\n")
    with pytest.raises(KouboError, match="no samples yet"):
        soak("--read", path)


def test_lines_are_there_before_the_run_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = tmp_path / "runs" / "starts.json"

    def measure(starts: int, tell: Any, write: Callable[[dict[str, Any]], None], command: Any) -> None:
        assert starts == 40
        for number, line in enumerate(start_lines(4), start=1):
            write(line)
            tell(number, 4, "so")
        assert len(save.with_suffix(".jsonl").read_text().splitlines()) == 4
        raise KouboError("The server has ended.")

    monkeypatch.setattr("streaming.bench_soak_starts.measure_starts", measure)
    with pytest.raises(KouboError, match="has ended"):
        soak("--starts", 40, "--save", save)
    assert not save.exists()
    assert len(save.with_suffix(".jsonl").read_text().splitlines()) == 4


@pytest.mark.slow
def test_ten_simulated_minutes_drift_by_nothing(tmp_path: Path) -> None:
    done = soak("--simulated", "10m", "--plot", tmp_path / "soak.png", "--json")
    verdicts = {verdict["name"]: verdict for verdict in json.loads(done.stdout)["verdicts"]}
    for name in ("picture against clock", "sound against clock", "ticks out of order", "descriptors"):
        assert verdicts[name]["met"], verdicts[name]
    assert (tmp_path / "soak.png").is_file()


@pytest.mark.slow
def test_twenty_sessions_leave_nothing_behind(tmp_path: Path) -> None:
    done = soak("--starts", 20, "--save", tmp_path / "starts.json", "--json")
    figures = json.loads(done.stdout)
    assert figures["starts"] == 20
    verdicts = {verdict["name"]: verdict for verdict in figures["verdicts"]}
    assert verdicts["tasks"]["met"], verdicts
    assert verdicts["descriptors"]["met"], verdicts


@pytest.mark.slow
def test_half_a_minute_of_a_real_show(tmp_path: Path) -> None:
    done = soak("--real", "30s", "--save", tmp_path / "soak.json", "--json")
    figures = json.loads(done.stdout)
    verdicts = {verdict["name"]: verdict for verdict in figures["verdicts"]}
    for name in ("requests refused, viewers not served", "recordings", "sound from picture, at worst"):
        assert verdicts[name]["met"], verdicts[name]
    lines = (tmp_path / "soak.jsonl").read_text().splitlines()
    assert len(lines) > len(figures["samples"]) >= 30
