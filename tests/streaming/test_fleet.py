"""The capacity model: what must hold whatever the figures, and a case worked out by hand."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from engine.errors import KouboError
from koubo import app
from streaming.fleet import Assumed, Measured, break_even, fleet, read_bench, with_spare
from trt_build.runs import Run, save_run

MEASURED = Measured(session_ms=8, mouth_ms=3, viewer_ms=2, kbps=2500, busy=0.8)
ASSUMED = Assumed(cores=10, core_hour=0.05, gpu_cores=10, gpu_hour=1.0)


def test_a_case_by_hand() -> None:
    one = fleet(100, 10_000, "sfu", MEASURED, ASSUMED)
    # 10 cores * 0.8 * 40 ms / (8 + 2 ms) = 32 sessions; 4 machines and one spare; 5 SFU nodes and one spare.
    assert (one.per_machine, one.machines, one.sfu_nodes) == (32, 5, 6)
    assert one.machines_hour == pytest.approx(5 * 10 * 0.05)
    assert one.egress_gbps == pytest.approx(25)
    assert one.egress_hour == pytest.approx(25 / 8 * 3600 * 0.02)
    assert one.hour == pytest.approx(2.5 + 6 * 0.64 + 225)


def test_a_gpu_takes_over_the_mouth_alone() -> None:
    one = fleet(100, 0, "cdn", MEASURED, ASSUMED, gpu=True)
    assert one.per_machine == int(10 * 0.8 * 40 / 7)
    assert one.machines_hour == pytest.approx(one.machines * (0.5 + 1.0))
    slow = fleet(100, 0, "cdn", MEASURED, replace(ASSUMED, gpu_pictures=1000, gpu_share=0.5), gpu=True)
    assert slow.per_machine == 20  # 500 pictures a second, 25 for each


def test_direct_viewers_are_sent_to_by_the_machines_themselves() -> None:
    few, many = (fleet(100, viewers, "direct", MEASURED, ASSUMED) for viewers in (100, 1000))
    assert few.per_machine == int(320 / 10)
    assert many.per_machine == int(320 / 28)
    assert few.sfu_nodes == many.sfu_nodes == 0
    with pytest.raises(KouboError, match="SFU or CDN"):
        fleet(1, 1000, "direct", MEASURED, ASSUMED)


def test_an_sfu_node_is_bounded_by_its_network() -> None:
    narrow = fleet(10, 10_000, "sfu", MEASURED, replace(ASSUMED, sfu_gbps=1.0))
    assert narrow.sfu_nodes == with_spare(25, 0.1)
    assert fleet(10, 0, "sfu", MEASURED, ASSUMED).sfu_nodes == 0


@pytest.mark.parametrize(
    ("machines", "share", "all_in_all"), [(1, 0, 2), (1, 0.1, 2), (11, 0.1, 13), (100, 0.1, 110)]
)
def test_one_machine_more_at_least(machines: int, share: float, all_in_all: int) -> None:
    assert with_spare(machines, share) == all_in_all


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("spread", ["sfu", "cdn"])
def test_more_never_costs_less_and_every_session_has_room(spread: Any, gpu: bool) -> None:
    before = 0.0
    for sessions in (1, 2, 10, 31, 32, 33, 100, 1000, 10_000):
        one = fleet(sessions, 100 * sessions, spread, MEASURED, ASSUMED, gpu=gpu)
        assert one.hour >= before
        assert (one.machines - 1) * one.per_machine >= sessions, "the loss of one machine loses room"
        before = one.hour


def test_a_slower_session_needs_more_machines() -> None:
    slow = replace(MEASURED, session_ms=16)
    assert fleet(1000, 0, "cdn", slow, ASSUMED).machines > fleet(1000, 0, "cdn", MEASURED, ASSUMED).machines


def test_gpus_pay_where_the_mouth_costs_more_than_they_do() -> None:
    heavy = Measured(session_ms=50, mouth_ms=45, viewer_ms=1, kbps=2500, busy=0.8)
    pays = break_even(heavy, ASSUMED)
    assert pays is not None
    for sessions in (pays, pays + 500, 100_000):
        by_gpu = fleet(sessions, 0, "cdn", heavy, ASSUMED, gpu=True)
        assert by_gpu.machines_hour <= fleet(sessions, 0, "cdn", heavy, ASSUMED).machines_hour
    assert break_even(heavy, replace(ASSUMED, gpu_hour=100.0)) is None


@pytest.mark.parametrize(
    "odd",
    [{"session_ms": 0}, {"mouth_ms": 9}, {"mouth_ms": -1}, {"viewer_ms": 0}, {"busy": 0}, {"busy": 1.1}],
)
def test_odd_measurements_are_refused(odd: dict[str, float]) -> None:
    with pytest.raises(KouboError, match="Core-ms"):
        replace(MEASURED, **odd)


@pytest.mark.parametrize(
    "odd", [{"cores": 0}, {"core_hour": -1}, {"gpu_share": 0}, {"spare": -1}, {"sfu_gbps": 0}]
)
def test_odd_assumptions_are_refused(odd: dict[str, Any]) -> None:
    with pytest.raises(KouboError):
        replace(ASSUMED, **odd)


@pytest.mark.parametrize(("sessions", "viewers"), [(0, 0), (1, -1)])
def test_odd_numbers_are_refused(sessions: int, viewers: int) -> None:
    with pytest.raises(KouboError, match="one session"):
        fleet(sessions, viewers, "cdn", MEASURED, ASSUMED)


def step(sessions: int, *, in_time: bool = True) -> dict[str, Any]:
    used = {"sending": 0.05 * sessions, "encoding": 0.1 * sessions, "drawing": 0.15 * sessions}
    used |= {"total": 0.3 * sessions, "clients": 0.02 * sessions}
    return {
        "sessions": sessions,
        "in_time": in_time,
        "cpu_s_per_s": used,
        "kbps_per_viewer": 2400,
        "fps": 25.0,
    }


def test_a_saved_bench_is_read_at_its_largest_step_in_time() -> None:
    found = read_bench({"steps": [step(1), step(4), step(5, in_time=False)]}, cores=2)
    assert found.session_ms == pytest.approx(10)  # 0.25 core-s a second, 25 ticks
    assert found.viewer_ms == pytest.approx(2)
    assert found.kbps == 2400
    assert found.busy == pytest.approx((4 * 0.32) / 2)
    assert read_bench({"steps": [step(1)]}, 2, mouth_ms=99).mouth_ms == pytest.approx(10)


def test_a_bench_that_was_late_tells_costs_alone() -> None:
    late = step(4, in_time=False) | {"fps": 12.5}
    found = read_bench({"steps": [late, step(5, in_time=False)]}, cores=2, busy=0.5)
    assert found.session_ms == pytest.approx(20)  # of the ticks that were drawn
    assert found.busy == 0.5
    with pytest.raises(KouboError, match="No step"):
        read_bench({"steps": []}, cores=2, busy=0.5)


@pytest.mark.parametrize(
    ("figures", "sentence"),
    [
        ({}, "No step"),
        ({"steps": [step(1, in_time=False)]}, "No step"),
        ({"steps": [{"sessions": 1, "in_time": True}]}, "has no cpu_s_per_s"),
    ],
)
def test_a_run_that_says_too_little_is_refused(figures: dict[str, Any], sentence: str) -> None:
    with pytest.raises(KouboError, match=sentence):
        read_bench(figures, 2)


GIVEN = ["--session-ms", "8", "--mouth-ms", "3", "--viewer-ms", "2", "--kbps", "2500", "--busy", "0.8"]


def test_the_command_tells_as_json_and_as_a_table() -> None:
    shown = CliRunner().invoke(app, ["capacity", *GIVEN, "--json"], catch_exceptions=False)
    figures = json.loads(shown.stdout)
    assert {one["sessions"] for one in figures["fleets"]} == {10, 100, 1000, 10_000}
    whole = [one for one in figures["fleets"] if one["sessions"] == 10_000]
    assert {one["viewers"] for one in whole} == {1_000_000}
    assert {(one["spread"], one["gpu"]) for one in whole} == {
        ("sfu", False), ("sfu", True), ("cdn", False), ("cdn", True),
    }  # fmt: skip
    table = CliRunner().invoke(app, ["capacity", *GIVEN], catch_exceptions=False)
    assert "1,000,000" in table.stdout
    assert "assumed" in table.stdout


def test_the_command_reads_a_saved_bench(tmp_path: Path) -> None:
    run = Run(
        "bench live", "2026-01-01T00:00:00", {"cpu": "x", "cores": 2, "gpu": None}, {"steps": [step(2)]}
    )
    save_run(run, tmp_path / "live.json")
    command = ["capacity", "--bench", str(tmp_path / "live.json"), "--kbps", "1000", "--json"]
    shown = CliRunner().invoke(app, command, catch_exceptions=False)
    told = json.loads(shown.stdout)
    assert (told["inputs"]["kbps"], told["inputs"]["session_ms"]) == (1000, pytest.approx(10))
    assert told["sources"] == {
        "session_ms": "measured", "mouth_ms": "assumed", "viewer_ms": "measured", "kbps": "given",
        "busy": "measured",
    }  # fmt: skip


def test_what_is_missing_is_named() -> None:
    with pytest.raises(KouboError, match="--viewer-ms, --kbps, --busy"):
        CliRunner().invoke(app, ["capacity", "--session-ms", "8", "--mouth-ms", "3"], catch_exceptions=False)


def test_the_plot_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed; `pip install matplotlib` to draw")
    path = tmp_path / "fleet.png"
    CliRunner().invoke(app, ["capacity", *GIVEN, "--plot", str(path), "--json"], catch_exceptions=False)
    assert path.read_bytes().startswith(b"\x89PNG")
