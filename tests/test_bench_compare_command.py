"""`koubo bench compare`, and what `bench live` makes of its options; servers are not started here."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from commands.bench import app
from engine.errors import KouboError
from streaming.bench import Plan


def koubo_bench(*words: object) -> Result:
    """The command as it is typed; a KouboError is raised, as the program's main catches it."""
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


def spread(value: float) -> dict[str, float]:
    return {"p50": value, "p95": 2 * value, "p99": 3 * value}


def live_figures(
    ms: float = 10.0, cpu: float = 0.2, sessions: int = 2, others: float = 0.0
) -> dict[str, Any]:
    """What `bench live` finds, in short."""
    step = {
        "tick_lateness_ms": spread(ms),
        "picture_lateness_ms": spread(ms),
        "mic_to_mouth_ms": spread(150.0),
        "late_pictures_ratio": 0.0,
        "repeated_mouths_ratio": 0.0,
        "fps": 25.0,
        "cpu_s_per_s": {
            "drawing": cpu,
            "encoding": 0.1,
            "sending": 0.05,
            "total": cpu + 0.15,
            "clients": 0.02,
            "others": others,
        },
        "rss_mb": 500.0,
    }
    return {
        "sessions_in_time": sessions,
        "also": None,
        "speaking": 1.0,
        "source": "microphone",
        "codec": "h264",
        "avatars": [],
        "mouth": None,
        "seconds": 20.0,
        "steps": [{"sessions": number, "in_time": number <= sessions} | step for number in (1, 2)],
    }


def saved(path: Path, figures: dict[str, Any], command: str = "bench live", **machine: Any) -> Path:
    known = {
        "cpu": "an abacus",
        "cores": 2,
        "gpu": None,
        "commit": "0123456789",
        "versions": {"koubo": "1.0"},
    }
    run = {"schema": 1, "command": command, "date": "2026-01-31T12:00:00+00:00"}
    path.write_text(json.dumps(run | {"machine": known | machine, "figures": figures}))
    return path


def test_each_figure_stands_beside_that_of_the_first_run(tmp_path: Path) -> None:
    first = saved(tmp_path / "a.json", live_figures())
    second = saved(tmp_path / "b.json", live_figures(5.0, sessions=1), commit="abcdef")
    third = saved(tmp_path / "c.json", live_figures(cpu=0.4))
    shown = koubo_bench("compare", first, second, third).stdout
    assert "an abacus x 2, koubo 1.0 (0123456789)" in shown
    assert "B, other commit: 0123456789 -> abcdef" in shown
    lines = {line.split("ms p50")[0].strip(): line for line in shown.splitlines() if "ms p50" in line}
    assert "0.50 better" in lines["2 sessions picture_lateness_"]
    assert "1.00" in lines["2 sessions picture_lateness_"]
    (drawing,) = [line for line in shown.splitlines() if "2 sessions cpu_s_per_s drawing" in line]
    assert "2.00 worse" in drawing
    (most,) = [line for line in shown.splitlines() if line.strip().startswith("sessions_in_time")]
    assert "0.50 worse" in most
    # What did not change is counted, not listed.
    assert "mic_to_mouth" not in shown
    assert "by no more than noise" in shown
    assert "mic_to_mouth" in koubo_bench("compare", first, second, "--all").stdout


def test_equal_runs_differ_in_nothing(tmp_path: Path) -> None:
    first = saved(tmp_path / "a.json", live_figures())
    shown = koubo_bench("compare", first, first).stdout
    assert "better" not in shown
    assert "worse" not in shown


def test_small_shares_that_differ_by_next_to_nothing_are_noise(tmp_path: Path) -> None:
    other = live_figures()
    other["steps"][0]["late_pictures_ratio"] = 0.001
    other["steps"][1]["late_pictures_ratio"] = 0.2
    first, second = saved(tmp_path / "a.json", live_figures()), saved(tmp_path / "b.json", other)
    shown = koubo_bench("compare", first, second).stdout
    assert "1 sessions late_pictures_ratio" not in shown
    (line,) = [line for line in shown.splitlines() if "2 sessions late_pictures_ratio" in line]
    assert "- worse" in line


def test_as_json(tmp_path: Path) -> None:
    first, second = saved(tmp_path / "a.json", live_figures()), saved(tmp_path / "b.json", live_figures(20.0))
    found = json.loads(koubo_bench("compare", first, second, "--json").stdout)
    assert (found["command"], found["against"]) == ("bench live", str(first))
    (run,) = found["runs"]
    changes = {change["figure"]: change for change in run["figures"]}
    assert changes["1 sessions.tick_lateness_ms.p99"] == {
        "figure": "1 sessions.tick_lateness_ms.p99",
        "before": 30.0,
        "now": 60.0,
        "ratio": 2.0,
        "verdict": "worse",
    }
    assert run["differences"] == []


def test_runs_of_different_benches_are_refused(tmp_path: Path) -> None:
    first = saved(tmp_path / "a.json", live_figures())
    second = saved(tmp_path / "b.json", {"join_ms": spread(1.0)}, "bench latency")
    with pytest.raises(
        KouboError, match=r"is a run of `koubo bench latency`; give one of `koubo bench live`"
    ):
        koubo_bench("compare", first, second)


def test_runs_with_nothing_in_common_are_refused(tmp_path: Path) -> None:
    first = saved(tmp_path / "a.json", {"fps": 25.0})
    second = saved(tmp_path / "b.json", {"rss_mb": 25.0})
    with pytest.raises(KouboError, match="no figure in common"):
        koubo_bench("compare", first, second)


def test_one_run_is_no_comparison(tmp_path: Path) -> None:
    with pytest.raises(KouboError, match="Give 2 to 26 files"):
        koubo_bench("compare", saved(tmp_path / "a.json", live_figures()))


def test_a_comparison_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    first, second = saved(tmp_path / "a.json", live_figures()), saved(tmp_path / "b.json", live_figures(20.0))
    koubo_bench("compare", first, second, "--plot", tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """What `bench live` was asked to measure."""
    asked: list[Plan] = []

    def measure(plan: Plan, command: Any, tell: Any, done: Any) -> dict[str, Any]:
        asked.append(plan)
        figures = live_figures(10.0 / len(asked))
        tell("1 sessions", 0.5)
        for step in figures["steps"]:
            done(step)
        return figures

    monkeypatch.setattr("streaming.bench.bench_live", measure)
    return asked


def test_live_sweeps_by_itself_or_as_it_is_told(plans: list[Plan]) -> None:
    koubo_bench("live")
    words = (
        "--sessions",
        "1,2,4",
        "--avatar",
        "ada,kai",
        "--also",
        "big",
        "--speaking",
        "0.5",
        "--codec",
        "vp8",
        "--seconds",
        5,
    )
    koubo_bench("live", *words)
    assert plans == [
        Plan(),
        Plan(sessions=(1, 2, 4), seconds=5.0, avatars=("ada", "kai"), also="big", speaking=0.5, codec="vp8"),
    ]
    with pytest.raises(KouboError, match="--sessions two is no list of numbers"):
        koubo_bench("live", "--sessions", "two")


def test_live_tells_each_step_and_the_verdict(plans: list[Plan]) -> None:
    shown = koubo_bench("live").stdout
    assert "10.0/20.0/30.0" in shown
    assert "0.20+0.10+0.05" in shown
    assert "2 sessions in time." in shown
    assert "the worst case" in shown
    assert len(shown.splitlines()) < 24


def test_a_machine_that_did_other_things_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for others, told in ((0.05, False), (0.4, True)):
        figures = live_figures(others=others)
        monkeypatch.setattr("streaming.bench.bench_live", lambda *given, found=figures: found)
        assert ("on a quiet machine" in koubo_bench("live").stdout) is told


def test_live_runs_are_saved_compared_and_drawn(plans: list[Plan], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    run, drawn = tmp_path / "live.json", tmp_path / "live.png"
    koubo_bench("live", "--save", run, "--plot", drawn)
    assert drawn.read_bytes().startswith(b"\x89PNG")
    against = json.loads(koubo_bench("live", "--against", run, "--json").stdout)["against"]
    verdicts = {change["figure"]: change["verdict"] for change in against}
    assert verdicts["2 sessions.picture_lateness_ms.p99"] == "better"
    assert verdicts["2 sessions.fps"] == ""


def test_latency_is_told_and_drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    names = ("mic_to_mouth", "text_to_sound", "join")

    def measure(trials: int, command: Any, *, sessions: int, tell: Any) -> dict[str, Any]:
        tell(0)
        return {
            "trials": trials,
            "sessions": sessions,
            "trials_ms": {name: [1.0, 2.0, 3.0] for name in names},
        } | {f"{name}_ms": spread(2.0) for name in names}

    monkeypatch.setattr("streaming.bench_latency.bench_latency", measure)
    drawn = tmp_path / "l.png"
    shown = koubo_bench("latency", "--trials", 3, "--sessions", 4, "--plot", drawn).stdout
    assert "3 trials, 4 further sessions" in shown
    assert "opening a session to its first picture" in shown
    assert "interrupt" not in shown
    assert drawn.read_bytes().startswith(b"\x89PNG")


def test_encodings_are_told_the_dearest_first_and_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from commands.bench_encode import encode_table
    from trt_build.plot_live import plot_encode

    def variant(ms: float) -> dict[str, Any]:
        quality = {"psnr_db": 50.0, "mouth_psnr_db": 48.0, "worst_mouth_psnr_db": 44.0}
        sizes = {"sent_kbps": 2400, "keyframe_kb": 30.0, "ssim": 0.99, "mouth_ssim": 0.98}
        return {"encode_ms": spread(ms), "mean_ms": ms} | quality | sizes

    figures = {
        "avatar": "ada", "pictures": 200, "size": "720x720", "target_kbps": 2500,
        "variants": {"as served": variant(1.7), "veryfast": variant(3.8)},
    }  # fmt: skip
    encode_table(figures)
    plot_encode(figures, "an abacus", tmp_path / "e.png")
    assert (tmp_path / "e.png").read_bytes().startswith(b"\x89PNG")
