from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from engine.anchor.crop import Picture
from engine.errors import AvatarError, KouboError, MissingToolError
from engine.mouth.batches import LADDER
from engine.mouth.runtime import Features, MouthRuntime, WholeSquare
from engine.speech.mel import Mel
from trt_build.bench import (
    bench_mouth,
    bench_runtimes,
    default_batches,
    percentiles_ms,
    random_faces,
    random_mels,
)


class Hand:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class TimedMouth(WholeSquare):
    """A MouthRuntime whose calls take `first` seconds, then 1 ms and 0.5 ms a face, on a hand clock."""

    precision = "f16"
    size = 4

    def __init__(self, hand: Hand, name: str = "torch", first: float = 0.3, scale: float = 1.0) -> None:
        self.hand = hand
        self.name = name
        self.first = first
        self.scale = scale
        self.seen: set[int] = set()
        self.batches: list[int] = []
        self.anchors: list[int] = []
        self.encoded = 0

    def encode(self, faces: Picture) -> list[Features]:
        self.encoded += len(faces)
        return [(number,) for number in range(len(faces))]

    def decode(self, mels: Mel, features: Sequence[Features]) -> Picture:
        count = len(features)
        assert mels.shape == (count, 80, 16)
        self.hand.now += self.scale * (0.001 + 0.0005 * count) if count in self.seen else self.first
        self.seen.add(count)
        self.batches.append(count)
        self.anchors += [number for (number,) in features]
        return np.zeros((count, 4, 4, 3), np.uint8)


def test_latency_and_throughput_by_batch() -> None:
    hand = Hand()
    report = bench_mouth(TimedMouth(hand), Path("m"), batches=(1, 8), frames=50, clock=hand)
    assert report == {
        "model": "m",
        "runtime": "torch",
        "precision": "f16",
        "ms_per_frame": {"p50": 1.5, "p95": 1.5, "p99": 1.5},
        "batches": {
            "1": {
                "ms": {"p50": 1.5, "p95": 1.5, "p99": 1.5},
                "per_second": 666.7,
                "first_ms": 300.0,
                "calls": 50,
            },
            "8": {
                "ms": {"p50": 5.0, "p95": 5.0, "p99": 5.0},
                "per_second": 1600.0,
                "first_ms": 300.0,
                "calls": 50,
            },
        },
    }


def test_the_warm_up_counts_for_nothing() -> None:
    hand = Hand()
    mouth = TimedMouth(hand)
    bench_mouth(mouth, Path("m"), batches=(2,), frames=30, clock=hand)
    assert mouth.batches == [2] * (20 + 30)


def test_a_slow_mouth_is_timed_for_the_seconds_given_but_ten_calls_at_least() -> None:
    hand = Hand()
    report = bench_mouth(TimedMouth(hand, scale=100), Path("m"), batches=(1,), seconds=2.9, clock=hand)
    assert report["batches"]["1"]["calls"] == 20
    report = bench_mouth(TimedMouth(hand, scale=1000), Path("m"), batches=(1,), seconds=3.0, clock=hand)
    assert report["batches"]["1"]["calls"] == 10


def test_single_faces_need_not_be_timed() -> None:
    hand = Hand()
    report = bench_mouth(TimedMouth(hand), Path("m"), batches=(4, 2, 4), frames=10, clock=hand)
    assert "ms_per_frame" not in report
    assert list(report["batches"]) == ["2", "4"]


def test_every_face_of_a_batch_is_another_anchor_frame() -> None:
    hand = Hand()
    mouth = TimedMouth(hand)
    bench_mouth(mouth, Path("m"), batches=(64,), frames=10, clock=hand)
    assert mouth.encoded == 64
    assert sorted(mouth.anchors[:64]) == list(range(64))


def test_a_cpu_is_timed_with_single_faces_and_a_gpu_with_the_ladder() -> None:
    assert default_batches(TimedMouth(Hand(), "openvino")) == (1,)
    for name in ("torch", "tensorrt"):
        assert default_batches(TimedMouth(Hand(), name)) == LADDER


def test_progress_names_the_batch() -> None:
    hand, told = Hand(), []
    bench_mouth(
        TimedMouth(hand), Path("m"), batches=(1, 4), frames=10, clock=hand,
        progress=lambda what, done, total: told.append((what, done, total)),
    )  # fmt: skip
    assert told == [("torch, batch 1", 0, 2), ("torch, batch 4", 1, 2), ("torch", 2, 2)]


def test_percentiles_are_of_milliseconds() -> None:
    spent = [k / 1000 for k in range(101)]
    assert percentiles_ms(spent) == {"p50": 50.0, "p95": 95.0, "p99": 99.0}


def test_the_input_is_the_same_for_a_seed() -> None:
    assert random_mels(1).dtype == np.float32
    assert np.array_equal(random_mels(1), random_mels(1))
    assert not np.array_equal(random_mels(1), random_mels(2))
    assert np.array_equal(random_faces(4, 3, 1), random_faces(4, 3, 1))
    assert not np.array_equal(random_faces(4, 3, 1), random_faces(4, 3, 2))


def machine_without_tensorrt(name: str) -> MouthRuntime:
    if name == "tensorrt":
        raise MissingToolError("TensorRT is not installed.")
    return TimedMouth(Hand(), name)


def test_each_runtime_that_is_there_is_measured_and_the_others_listed() -> None:
    figures = bench_runtimes(
        Path("m"), ("tensorrt", "torch", "openvino"), machine_without_tensorrt, batches=(1, 2), frames=10
    )
    assert (figures["model"], figures["runtime"], figures["precision"]) == ("m", "torch", "f16")
    assert set(figures["ms_per_frame"]) == {"p50", "p95", "p99"}
    assert list(figures["runtimes"]) == ["torch", "openvino"]
    assert list(figures["runtimes"]["torch"]["batches"]) == ["1", "2"]
    assert figures["absent"] == {"tensorrt": "TensorRT is not installed."}


def test_auto_stops_at_the_first_that_is_there() -> None:
    asked: list[str] = []

    def opens(name: str) -> MouthRuntime:
        asked.append(name)
        return machine_without_tensorrt(name)

    figures = bench_runtimes(
        Path("m"), ("tensorrt", "torch", "openvino"), opens, first_only=True, batches=(1,), frames=10
    )
    assert list(figures["runtimes"]) == ["torch"]
    assert asked == ["tensorrt", "torch"]


def test_no_runtime_at_all_gives_each_reason_once() -> None:
    def none(name: str) -> MouthRuntime:
        raise MissingToolError("There is no GPU." if name != "c" else "C is lost.")

    with pytest.raises(KouboError) as told:
        bench_runtimes(Path("m"), ("a", "b", "c"), none)
    assert str(told.value) == "There is no GPU. C is lost."


def test_a_damaged_mouth_is_no_absent_runtime() -> None:
    def damaged(name: str) -> MouthRuntime:
        raise AvatarError("The mouth is damaged.")

    with pytest.raises(AvatarError, match="damaged"):
        bench_runtimes(Path("m"), ("a", "b"), damaged)
