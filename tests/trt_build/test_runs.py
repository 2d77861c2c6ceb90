import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from engine.errors import KouboError
from trt_build.runs import Run, compare, differences, new_run, read_run, save_run, this_machine


def mouth_figures(ms: float = 2.0, rate: float = 500.0) -> dict[str, Any]:
    """What `bench mouth` finds, in short."""
    spent = {"p50": ms, "p95": ms, "p99": ms}
    step = {"ms": spent, "per_second": rate, "first_ms": 100 * ms, "calls": 300}
    return {
        "model": "lite192",
        "runtime": "torch",
        "ms_per_frame": spent,
        "runtimes": {"torch": {"precision": "f16", "batches": {"1": step}}},
        "absent": {"tensorrt": "not installed"},
        "cost": {"map_bytes": 1},
    }


def run(figures: dict[str, Any], **machine: Any) -> Run:
    return Run(
        "bench mouth", "2026-11-22T12:00:00+00:00", {"gpu": "NVIDIA L4", "versions": {}} | machine, figures
    )


def verdicts(before: dict[str, Any], now: dict[str, Any]) -> dict[str, str]:
    return {change.figure: change.verdict for change in compare(run(before), run(now))}


def test_a_run_is_saved_and_read_back(tmp_path: Path) -> None:
    saved = run(mouth_figures())
    path = tmp_path / "new" / "run.json"
    save_run(saved, path)
    assert read_run(path, "bench mouth") == saved
    assert [file.name for file in path.parent.iterdir()] == ["run.json"]
    assert json.loads(path.read_text())["schema"] == 1


def test_saving_again_replaces(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    save_run(run(mouth_figures(1.0)), path)
    save_run(run(mouth_figures(9.0)), path)
    assert read_run(path, "bench mouth").figures == mouth_figures(9.0)


def test_what_cannot_be_written_leaves_the_old_run(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    save_run(run(mouth_figures()), path)
    with pytest.raises(TypeError):
        save_run(run({"model": object()}), path)
    assert read_run(path, "bench mouth").figures == mouth_figures()
    assert [file.name for file in tmp_path.iterdir()] == ["run.json"]


def test_a_full_disk_leaves_the_old_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.json"
    save_run(run(mouth_figures()), path)

    def write_a_little(path: Path, text: str, **options: Any) -> int:
        path.write_bytes(text[:9].encode())
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_text", write_a_little)
    with pytest.raises(OSError, match="no space"):
        save_run(run(mouth_figures(9.0)), path)
    assert read_run(path, "bench mouth").figures == mouth_figures()


def test_a_run_of_another_command_is_refused(tmp_path: Path) -> None:
    save_run(run(mouth_figures()), tmp_path / "run.json")
    with pytest.raises(KouboError, match=r"a run of `koubo bench mouth`; give one of `koubo bench gpu`"):
        read_run(tmp_path / "run.json", "bench gpu")


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        ("", "is not a saved run"),
        ("[1, 2]", "is not a saved run"),
        ('{"schema": 1, "command": "bench mouth"}', "is not a saved run"),
        (
            '{"schema": 1, "command": "bench mouth", "date": "", "machine": 3, "figures": {}}',
            "not a saved run",
        ),
        ('{"schema": 7}', "has schema 7, this Koubo reads schema 1"),
        (None, "There is no saved run"),
    ],
)
def test_a_file_that_is_no_run_is_told(tmp_path: Path, content: str | None, hint: str) -> None:
    path = tmp_path / "run.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(KouboError, match=hint):
        read_run(path, "bench mouth")


def test_a_folder_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(KouboError, match="is not a saved run"):
        read_run(tmp_path, "bench mouth")


def test_bytes_that_are_no_text_are_no_run(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(KouboError, match="is not a saved run"):
        read_run(tmp_path / "run.json", "bench mouth")


def test_faster_is_better_and_fewer_pictures_are_worse() -> None:
    found = verdicts(mouth_figures(2.0, 500), mouth_figures(1.0, 400))
    assert found == {
        "runtimes.torch.batches.1.ms.p50": "better",
        "runtimes.torch.batches.1.ms.p95": "better",
        "runtimes.torch.batches.1.ms.p99": "better",
        "runtimes.torch.batches.1.per_second": "worse",
    }


def test_tails_may_differ_more_than_medians() -> None:
    found = verdicts(mouth_figures(2.0), mouth_figures(2.16))
    assert found["runtimes.torch.batches.1.ms.p50"] == "worse"
    assert found["runtimes.torch.batches.1.ms.p95"] == ""
    found = verdicts(mouth_figures(2.0), mouth_figures(2.5))
    assert found["runtimes.torch.batches.1.ms.p99"] == "worse"


def test_what_is_within_the_noise_is_neither() -> None:
    assert set(verdicts(mouth_figures(2.0, 500), mouth_figures(2.05, 490)).values()) == {""}


def test_the_ratio_is_now_over_then() -> None:
    change = compare(run(mouth_figures(2.0)), run(mouth_figures(3.0)))[0]
    assert (change.before, change.now, change.ratio) == (2.0, 3.0, 1.5)


def test_live_figures_are_compared_by_their_kind() -> None:
    before = {
        "sessions": 2,
        "ticks": 900,
        "late_ticks_ratio": 0.0,
        "mic_to_mouth_ms": {"p50": 140.0},
        "rss_mb": 900,
    }
    now = {
        "sessions": 2,
        "ticks": 800,
        "late_ticks_ratio": 0.01,
        "mic_to_mouth_ms": {"p50": 120.0},
        "rss_mb": 1100,
    }
    changes = {change.figure: change for change in compare(run(before), run(now))}
    assert {name: change.verdict for name, change in changes.items()} == {
        "late_ticks_ratio": "worse",
        "mic_to_mouth_ms.p50": "better",
        "rss_mb": "worse",
    }
    assert changes["late_ticks_ratio"].ratio is None


def test_nothing_stays_nothing() -> None:
    (change,) = compare(run({"late_ticks_ratio": 0.0}), run({"late_ticks_ratio": 0.0}))
    assert (change.verdict, change.ratio) == ("", None)


def test_streams_of_a_card_are_better_many() -> None:
    before = {"streams": 100, "limit_ms": 40.0, "delay_ms": {"p99": 39.0}, "steps": [{"streams": 16}]}
    found = verdicts(before, before | {"streams": 120, "limit_ms": 30.0, "delay_ms": {"p99": 10.0}})
    assert found == {"streams": "better"}


def test_runs_with_nothing_in_common_are_told() -> None:
    other = mouth_figures() | {"runtimes": {"openvino": {"batches": {}}}}
    with pytest.raises(KouboError, match="no figure in common"):
        compare(run(mouth_figures()), run(other))


def test_what_differs_between_the_machines_is_listed() -> None:
    before = run(mouth_figures(), cores=8, versions={"torch": "2.12"})
    now = run(
        mouth_figures() | {"model": "live384"}, gpu=None, cores=8, versions={"torch": "2.13", "onnx": "1.19"}
    )
    assert differences(before, now) == [
        "model: lite192 -> live384",
        "gpu: NVIDIA L4 -> none",
        "torch: 2.12 -> 2.13",
        "onnx: none -> 1.19",
    ]
    assert differences(before, replace(before, date="later")) == []


def test_this_machine_is_described() -> None:
    machine = this_machine()
    assert machine["cpu"]
    assert machine["cores"] >= 1
    assert machine["versions"]["openvino"]
    assert set(machine) == {"cpu", "cores", "gpu", "driver", "commit", "os", "python", "versions"}
    json.dumps(machine)


def test_a_new_run_knows_its_hour() -> None:
    made = new_run("bench gpu", {"streams": 3})
    assert (made.command, made.figures) == ("bench gpu", {"streams": 3})
    assert datetime.fromisoformat(made.date).tzinfo is not None
