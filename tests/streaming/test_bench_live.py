"""`koubo bench live`: a sweep against a real server with fake mouths, and presenters with other mouths."""

import os
import sys
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from engine.anchor.card import read_card
from engine.anchor.package import Avatar
from engine.errors import KouboError
from streaming import bench
from streaming.bench import Plan, _growing, bench_live
from streaming.bench_presenters import staged_presenters
from tests.fakes import SIZE, make_avatar
from tests.tiny_mouth import write_tiny_mouth

LINUX = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads /proc, which Linux has")
SHARES = ("p50", "p95", "p99")


def command(folder: Path, port: int) -> list[str]:
    return [sys.executable, "-m", "tests.streaming.fake_server", str(port), str(folder)]


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the avatars `fake` and `other`, and the tiny mouth `big` of another size."""
    for name in ("fake", "other"):
        make_avatar(tmp_path, name)
    monkeypatch.setenv("KOUBO_AVATARS", str(tmp_path))
    return tmp_path


@LINUX
def test_sessions_are_added_step_by_step(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "_WARM_UP_S", 0.5)
    told: list[str] = []
    steps: list[dict[str, Any]] = []
    plan = Plan(
        sessions=(2, 1), seconds=1.0, avatars=("fake", "other"), also=str(packages / "fake" / "mouth")
    )
    found = bench_live(plan, partial(command, packages), lambda what, share: told.append(what), steps.append)
    assert found["steps"] == steps
    assert [step["sessions"] for step in steps] == [1, 2]
    assert 0 <= found["sessions_in_time"] <= 2
    assert (found["also"], found["speaking"]) == (plan.also, 1.0)
    for step in steps:
        # One more lives beside those of the step; each makes 25 ticks a second where the machine can.
        assert 5 < step["ticks"] <= (step["sessions"] + 1) * 1.5 * 26
        for name in ("tick_lateness_ms", "picture_lateness_ms", "mic_to_mouth_ms"):
            assert [*step[name]] == [*SHARES]
            assert step[name]["p50"] <= step[name]["p95"] <= step[name]["p99"]
        # The mouth looks 105 ms ahead; nothing can be quicker than that less one packet.
        assert step["mic_to_mouth_ms"]["p50"] > 60
        assert 0 < step["fps"] < 30
        for name in ("late_ticks_ratio", "late_pictures_ratio", "worst_session_late_ratio"):
            assert 0 <= step[name] <= 1
        spent = step["cpu_s_per_s"]
        assert spent["total"] == pytest.approx(
            spent["sending"] + spent["encoding"] + spent["drawing"], abs=0.001
        )
        assert spent["encoding"] > 0
        assert spent["clients"] > 0
        assert spent["others"] >= 0
        assert step["rss_mb"] > 20
        assert step["holes"] == 0
        in_time = step["late_pictures_ratio"] <= 0.01 and step["fps"] >= 24.9
        assert step["in_time"] is in_time
    assert told[-1] == "where the sound was heard"
    assert "2 sessions" in told


def test_a_bench_whose_server_does_not_start_says_so() -> None:
    with pytest.raises(KouboError, match="ended with status 3"):
        bench_live(Plan(seconds=2.0), lambda port: [sys.executable, "-c", "raise SystemExit(3)"])


def test_a_step_without_sessions_is_refused() -> None:
    with pytest.raises(KouboError, match="a session at least"):
        bench_live(Plan(sessions=(2, 0)))


def test_a_sweep_grows_by_ones_then_by_quarters() -> None:
    assert list(islice(_growing(), 13)) == [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 18, 22]
    assert max(_growing()) <= 256


def test_without_other_mouths_nothing_is_made(packages: Path) -> None:
    with staged_presenters((), None, None) as (names, also, environment):
        assert (names, also, environment) == ([], None, {})
    with staged_presenters(("other", "fake"), None, None) as (names, _, environment):
        assert (names, environment) == (["other", "fake"], {})


def test_presenters_get_another_mouth_for_a_while(packages: Path, tmp_path: Path) -> None:
    mouth = write_tiny_mouth(tmp_path / "big", 32)
    with staged_presenters(("fake", "other"), str(mouth), str(packages / "other" / "mouth")) as staged:
        names, also, environment = staged
        roots = environment["KOUBO_AVATARS"].split(os.pathsep)
        assert roots[0] == str(packages)
        made = Path(roots[-1])
        assert also is not None
        for name in (*names, also):
            avatar = Avatar.load(made / name)
            assert avatar.card.name == name
            assert avatar.frames == Avatar.load(packages / "fake").frames
            assert avatar.card.crop_size == (SIZE if name == also else 32)
    assert not made.exists()
    assert read_card(packages / "fake").name == "fake"


def test_what_is_no_mouth_is_said(packages: Path) -> None:
    with (
        pytest.raises(KouboError, match="is no folder of a mouth"),
        staged_presenters((), str(packages), None),
    ):
        pytest.fail("nothing to measure")
