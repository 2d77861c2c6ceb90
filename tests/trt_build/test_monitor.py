"""Nested phases of a build as one share."""

import threading

from tests.fake_builder import FakeBuilding
from trt_build.monitor import Phases, monitor


def test_one_phase() -> None:
    phases = Phases()
    assert phases.share == 0
    phases.start("build", None, 4)
    shares = []
    for step in range(4):
        phases.step("build", step)
        shares.append(phases.share)
    phases.finish("build")
    assert shares == [0.25, 0.5, 0.75, 1]


def test_phases_within_one_step_take_half_of_what_is_left() -> None:
    phases = Phases()
    phases.start("build", None, 2)
    shares = []
    for name in ("first", "second"):
        phases.start(name, "build", 2)
        for step in range(2):
            phases.step(name, step)
            shares.append(phases.share)
        phases.finish(name)
    assert shares == [0.125, 0.25, 0.3125, 0.375]
    phases.step("build", 0)
    assert phases.share == 0.5
    phases.start("third", "build", 1)
    phases.step("third", 0)
    assert phases.share == 0.75


def test_deep_phases_count() -> None:
    phases = Phases()
    phases.start("build", None, 1)
    phases.start("tactics", "build", 2)
    phases.start("node", "tactics", 2)
    phases.step("node", 0)
    # Half of half of the first step of two, which are half of the only step.
    assert phases.share == 0.5 * (0.25 / 2)


def test_it_never_falls() -> None:
    phases = Phases()
    phases.start("build", None, 3)
    phases.step("build", 1)
    share = phases.share
    phases.step("build", 0)
    assert phases.share == share
    phases.finish("build")
    phases.start("again", None, 10)
    phases.step("again", 0)
    assert phases.share == share


def test_steps_that_nobody_announced() -> None:
    phases = Phases()
    phases.start("build", None, 0)
    phases.step("build", 0)
    phases.step("build", 7)
    assert phases.share == 1


def test_a_phase_that_ends_early() -> None:
    phases = Phases()
    phases.start("build", None, 2)
    phases.start("inner", "build", 100)
    phases.finish("inner")
    phases.finish("build")
    assert phases.share == 0


def test_phases_side_by_side() -> None:
    phases = Phases()
    phases.start("build", None, 1)
    phases.start("left", "build", 2)
    phases.start("right", "build", 4)
    phases.step("right", 0)
    assert phases.share == 0.125
    phases.step("left", 0)
    assert phases.share == 0.25


def test_from_several_threads() -> None:
    phases = Phases()
    phases.start("build", None, 1)

    def work(name: str) -> None:
        for round_ in range(200):
            phases.start(f"{name}{round_}", "build", 3)
            phases.step(f"{name}{round_}", 2)
            phases.finish(f"{name}{round_}")

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    phases.step("build", 0)
    assert phases.share == 1


def test_tensorrts_monitor_goes_on_until_it_is_stopped() -> None:
    phases = Phases()
    told = monitor(FakeBuilding(), phases)
    told.phase_start("build", None, 2)
    assert told.step_complete("build", 0) is True
    assert phases.share == 0.5
    phases.stopped.set()
    assert told.step_complete("build", 1) is False
    told.phase_finish("build")
