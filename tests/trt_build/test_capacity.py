from collections.abc import Sequence

import pytest

from engine.anchor.crop import Picture
from engine.mouth.batches import LADDER, MAX_BATCH
from engine.mouth.runtime import Features
from engine.speech.mel import Mel
from tests.fakes import FakeMouth
from tests.simulated_clock import SimulatedClock, TimedMouth
from trt_build.capacity import LIMIT_MS, Stage, Step, WallClock, capacity, carry


def stage(call: float, face: float) -> tuple[Stage, TimedMouth, SimulatedClock]:
    clock = SimulatedClock()
    mouth = TimedMouth(clock, call, face)
    return Stage(mouth), mouth, clock


def settled_call(streams: int, call: float, face: float) -> float:
    """The length of a call once every call draws what came due during one: s = call + face * rate * s."""
    return call / (1 - face * 25 * streams)


@pytest.mark.parametrize(("workers", "streams"), [(1, 64), (2, 56)])
def test_the_deadline_limits_a_card_with_long_calls(workers: int, streams: int) -> None:
    # A picture waits up to one call to be taken, then for the other workers' calls, then for its own: at
    # most (workers + 1) calls of s = 4 / (1 - 0.0005 * rate) ms, which is 40 ms at 64 or 56 streams.
    ready, _, clock = stage(0.004, 0.0005)
    result = capacity(ready, workers=workers, clock=clock)
    assert result["streams"] == pytest.approx(streams, rel=0.03)
    assert 0.95 * LIMIT_MS < result["delay_ms"]["p99"] < LIMIT_MS
    s = settled_call(result["streams"], 0.004, 0.0005)
    assert result["delay_ms"]["p50"] == pytest.approx(1000 * (workers + 0.5) * s, rel=0.05)
    assert result["mean_batch"] == pytest.approx(result["streams"] * 25 * s, rel=0.08)


def test_the_queue_limits_a_card_with_short_calls() -> None:
    # Full batches of 64 take 1 + 6.4 ms: 8649 faces a second, 345.9 streams. Its delays are far from late.
    ready, mouth, clock = stage(0.001, 0.0001)
    result = capacity(ready, workers=1, clock=clock)
    assert result["streams"] == pytest.approx(345.9, rel=0.025)
    assert result["streams"] <= 345
    assert max(mouth.batches) == MAX_BATCH
    failed = [step for step in result["steps"] if step["failure"]]
    assert all(step["streams"] > result["streams"] for step in failed)


def test_a_queue_that_grows_fails_even_while_it_is_in_time() -> None:
    ready, _, clock = stage(0.001, 0.0001)
    # Half a per cent too many: 3.5 s later the queue is 17 ms long, not yet 40.
    step = carry(ready, 348, 3.0, workers=1, clock=clock)
    assert step.delay_ms["p99"] < LIMIT_MS
    assert not step.passed
    assert "the queue grows" in step.failure


def test_one_stream_is_drawn_one_picture_at_a_time() -> None:
    ready, mouth, clock = stage(0.004, 0.001)
    step = carry(ready, 1, 3.0, workers=2, clock=clock)
    assert step == Step(1, {"p50": 5.0, "p95": 5.0, "p99": 5.0}, 1.0, "")
    # A thousand ticks and the half second before them.
    assert len(mouth.batches) == 1012
    assert clock.now() == pytest.approx(1012 / 25, abs=0.05)


def test_a_step_lasts_as_long_as_was_asked_where_that_is_more_ticks() -> None:
    ready, mouth, clock = stage(0.001, 0.0001)
    carry(ready, 100, 4.0, workers=1, clock=clock)
    assert sum(mouth.batches) == 100 * 25 * 4.5
    assert clock.now() == pytest.approx(4.5, abs=0.05)


def test_a_hopeless_step_is_given_up_soon() -> None:
    ready, _, clock = stage(0.1, 0.1)
    step = carry(ready, 64, 60.0, workers=1, clock=clock)
    assert "p99" in step.failure
    # The first picture, its 64 followers, and the call in which the lag shows.
    assert clock.now() < 20


def test_a_mouth_too_slow_for_one_stream_carries_none() -> None:
    ready, _, clock = stage(0.05, 0.0)
    result = capacity(ready, workers=1, clock=clock)
    assert result["streams"] == 0
    assert result["delay_ms"]["p99"] > LIMIT_MS
    assert [step["streams"] for step in result["steps"]] == [1, 2, 4, 8, 16]


def test_every_tick_is_drawn_once_and_streams_walk_along_their_anchors() -> None:
    ready, mouth, clock = stage(0.001, 0.0)
    carry(ready, 2, 3.0, workers=1, clock=clock)
    drawn = mouth.drawn
    assert len(drawn) == 1025
    assert drawn[0:256:2] == list(range(128))
    assert drawn[1:13:2] == [7, 8, 9, 10, 11, 12]


def test_the_mouth_is_warm_before_it_counts() -> None:
    ready, mouth, clock = stage(0.001, 0.0)
    ready.warm(clock, 2)
    assert sorted(mouth.batches) == sorted([*LADDER, *LADDER])


class StallingMouth(TimedMouth):
    """Its first call takes 0.3 s."""

    def decode(self, mels: Mel, features: Sequence[Features]) -> Picture:
        if not self.batches:
            self.free = self.clock.now() + 0.3
        return super().decode(mels, features)


def test_the_first_half_second_does_not_count() -> None:
    clock = SimulatedClock()
    step = carry(Stage(StallingMouth(clock, 0.001, 0.0001)), 40, 3.0, workers=1, clock=clock)
    assert step.delay_ms["p99"] < 5
    assert step.passed


def test_each_step_is_told() -> None:
    ready, mouth, clock = stage(0.004, 0.0005)
    told: list[Step] = []
    result = capacity(ready, workers=1, clock=clock, tell=told.append)
    assert mouth.batches[:7] == list(LADDER)
    assert [step.streams for step in told[:4]] == [16, 32, 64, 128]
    assert sorted(step.streams for step in told) == [step["streams"] for step in result["steps"]]


def test_the_same_on_the_real_clock() -> None:
    mouth = FakeMouth(8)
    step = carry(Stage(mouth, anchors=16), 80, 0.1, workers=2, clock=WallClock())
    assert step.streams == 80
    assert len(mouth.mels) == 1000 + 1000
    assert 0 < step.delay_ms["p50"] <= step.delay_ms["p99"]
    assert 1 <= step.mean_batch <= MAX_BATCH


class BreakingMouth(TimedMouth):
    """Its tenth call fails."""

    def decode(self, mels: Mel, features: Sequence[Features]) -> Picture:
        if len(self.batches) == 9:
            self.batches.append(0)
            raise OSError("the card fell off the bus")
        return super().decode(mels, features)


def test_a_worker_that_fails_ends_the_step() -> None:
    clock = SimulatedClock()
    mouth = BreakingMouth(clock, 0.001, 0.001)
    with pytest.raises(OSError, match="fell off"):
        carry(Stage(mouth), 100, 5.0, workers=2, clock=clock)
    # The other worker draws no more than it had taken.
    assert len(mouth.batches) <= 11
