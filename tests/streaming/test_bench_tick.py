"""What a tick costs: every step is found in the real session, and nothing of the clockwork stays behind."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from commands.bench import app
from engine.anchor.package import Avatar
from engine.errors import KouboError
from engine.speech.audio import SAMPLE_RATE
from streaming import bench_tick as module
from streaming.bench_tick import PROBES, Stopwatch, bench_tick, places
from tests.alone import alone
from tests.fakes import FakeMouth, speech_like


class Spoken:
    """What the voice of the benchmark says, without a voice."""

    samples = speech_like(2.0)


def shorten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(module, "speak", lambda text, language: Spoken())
    patch.setattr(module, "_WARM_UP_TICKS", 5)
    patch.setattr(module, "_MEMORY_TICKS", 30)


@pytest.fixture(autouse=True)
def voice(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)


def test_every_step_of_a_speaking_tick_is_timed(avatar: Avatar) -> None:
    found = bench_tick(avatar, FakeMouth(), 1.2)
    steps = found["steps"]
    assert set(steps) == {
        *(probe.step for probe in PROBES),
        "mouth",
        "picture encoding",
        "sound encoding",
        "other",
    }
    assert all(step["cpu_ms"]["p50"] <= step["cpu_ms"]["p95"] for step in steps.values())
    assert steps["paste"]["share"] > steps["paste/detail"]["share"] > steps["paste/detail/flow"]["share"] > 0
    assert sum(step["share"] for name, step in steps.items() if "/" not in name) == pytest.approx(1, abs=0.01)
    assert found["tick"]["cpu_ms"]["p50"] > steps["paste"]["cpu_ms"]["p50"]
    assert 0 < found["ticks"] <= 30
    assert found["memory"]["held_mb"] > 0
    assert found["memory"]["page_faults"] >= 0
    json.dumps(found)


def test_the_functions_are_themselves_again_afterwards(avatar: Avatar) -> None:
    before = [vars(owner)[name] for _, owner, name in places()]
    decode = FakeMouth.decode
    bench_tick(avatar, FakeMouth(), 0.6)
    assert [vars(owner)[name] for _, owner, name in places()] == before
    assert FakeMouth.decode is decode


def test_the_functions_are_themselves_again_after_a_fault(avatar: Avatar) -> None:
    class Broken(FakeMouth):
        def decode(self, *_: Any) -> Any:
            raise RuntimeError("no mouth")

    before = [vars(owner)[name] for _, owner, name in places()]
    with pytest.raises(RuntimeError, match="no mouth"):
        bench_tick(avatar, Broken(), 0.6)
    assert [vars(owner)[name] for _, owner, name in places()] == before


def test_time_within_a_timed_function_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def spend(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr("time.thread_time", lambda: now)
    watch = Stopwatch()
    inner = watch.timed("paste/colour", lambda: spend(2.0))

    def outer() -> None:
        spend(1.0)
        inner()
        inner()

    watch.timed("paste", outer)()
    assert watch.spent == {"paste": 1.0, "paste/colour": 4.0}


def test_silence_is_no_measure(avatar: Avatar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Spoken, "samples", np.zeros(SAMPLE_RATE, np.float32))
    with pytest.raises(KouboError, match="Nobody spoke"):
        bench_tick(avatar, FakeMouth(), 0.6)


def flame_graph(folder: Path, drawn: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)
        bench_tick(Avatar.load(folder), FakeMouth(), 1.2, drawn)


def test_the_flame_graph_shows_the_session(avatar_folder: Path, tmp_path: Path) -> None:
    alone(flame_graph, avatar_folder, tmp_path / "tick.svg")
    drawn = (tmp_path / "tick.svg").read_text()
    assert "Paster.paste" in drawn
    assert "LibavPictureEncoder.encode" in drawn
    assert "ms of processor time a tick" in drawn


def test_the_command_shows_saves_and_compares(
    avatar_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Chosen:
        runtime = FakeMouth()

    monkeypatch.setattr("engine.mouth.choose.choose", lambda *_, **__: Chosen())
    words = ["tick", "--avatar", str(avatar_folder), "--seconds", "0.8"]
    run = tmp_path / "run.json"
    first = CliRunner().invoke(app, [*words, "--save", str(run)], catch_exceptions=False)
    assert first.exit_code == 0
    assert "paste" in first.stdout
    assert "fresh pages" in first.stdout
    second = CliRunner().invoke(app, [*words, "--against", str(run), "--json"], catch_exceptions=False)
    figures = json.loads(second.stdout)
    assert any(change["figure"] == "steps.paste.cpu_ms.p50" for change in figures["against"])
    with pytest.raises(KouboError, match="is a folder"):
        CliRunner().invoke(app, [*words, "--flame", str(tmp_path)], catch_exceptions=False)
