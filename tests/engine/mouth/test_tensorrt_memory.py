"""The TensorRT runtime's memory and threads, on a fake GPU."""

import gc
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from engine.mouth.cuda import GpuError, Resource
from engine.mouth.engines import EngineStore
from engine.mouth.sheet import read_sheet
from engine.mouth.tensorrt import TensorRtMouth
from engine.mouth.tensors import MouthTensors
from tests.engine.mouth.gpu_rig import (
    NOTHING,
    Reference,
    Rig,
    check_pictures,
    faces,
    make_rig,
    mels,
    run_together,
)
from tests.fake_cuda import A10, FakeCuda
from tests.fake_gpu import FakeDevice, no_faults


class Meddling(FakeDevice):
    """Calls `meddle` before anyone waits for a stream: what other threads may do in that time."""

    meddle: Callable[[], None] = staticmethod(lambda: None)

    def synchronize(self, stream: Resource) -> None:
        self.meddle()
        super().synchronize(stream)


def test_features_are_freed_when_they_are_dropped(rig: Rig) -> None:
    mouth = rig.open()
    features = mouth.encode(faces(5))
    for count in (1, 5):
        mouth.decode(mels(count), features[:count])
    before = rig.cuda.left["device"]
    kept = features[2]
    del features
    gc.collect()
    assert rig.cuda.left["device"] == before - 4
    mouth.decode(mels(1), [kept])
    del kept
    gc.collect()
    assert rig.cuda.left["device"] == before - 5


def test_a_frame_takes_the_memory_of_its_maps_and_no_more(rig: Rig) -> None:
    mouth = rig.open()
    held = [mouth.encode(faces(1))]
    before = rig.cuda.used
    held.append(mouth.encode(faces(1)))
    maps = MouthTensors.of(read_sheet(rig.folder)).maps
    assert rig.cuda.used - before == sum(-(-map_.size // 256) * 256 for map_ in maps)


def test_a_mouth_that_is_dropped_leaves_nothing(rig: Rig) -> None:
    mouth = rig.open()
    features = mouth.encode(faces(9))
    mouth.decode(mels(9), features)
    run_together([partial(mouth.decode, mels(3), features[:3])] * 4)
    del mouth, features
    gc.collect()
    assert rig.cuda.left == NOTHING


def test_features_outlive_their_mouth_and_another_mouth_of_the_same_model_reads_them(
    rig: Rig, reference: Reference
) -> None:
    features = rig.open().encode(faces(2))
    gc.collect()
    drawn = rig.open().decode(mels(2), features)
    np.testing.assert_array_equal(drawn, reference.draw(mels(2), faces(2)))


def test_features_dropped_while_they_are_read_are_freed_after_it(rig: Rig, reference: Reference) -> None:
    device = Meddling(rig.cuda)
    mouth = rig.open(device=device)
    features = mouth.encode(faces(5))
    mouth.decode(mels(5), features)
    before = rig.cuda.left["device"]
    during = []

    def drop() -> None:
        features.clear()
        gc.collect()
        during.append(rig.cuda.left["device"])

    device.meddle = drop
    drawn = mouth.decode(mels(5), features)
    np.testing.assert_array_equal(drawn, reference.draw(mels(5), faces(5)))
    gc.collect()
    assert during[0] == before
    assert rig.cuda.left["device"] == before - 5


def test_second_worker_takes_memory_only_when_two_calls_meet(rig: Rig) -> None:
    mouth = rig.open()
    features = mouth.encode(faces(1))
    mouth.decode(mels(1), features)
    before = rig.cuda.used
    for _ in range(5):
        mouth.decode(mels(1), features)
    assert rig.cuda.used == before


def test_full_memory_is_told_and_what_was_begun_is_given_back(built: tuple[Path, EngineStore]) -> None:
    with no_faults(FakeCuda(memory=1_500_000)) as cuda:
        mouth = make_rig(*built, cuda).open()
        kept = mouth.encode(faces(2))
        before = cuda.left["device"]
        for _ in range(3):
            with pytest.raises(GpuError, match="out of memory; load fewer presenters"):
                mouth.encode(faces(640))
            gc.collect()
            # One more: the buffers for large batches, if they still found room.
            assert cuda.left["device"] <= before + 1
        mouth.decode(mels(2), kept)


@pytest.mark.parametrize("seed", range(4))
def test_eight_threads_on_two_workers_do_not_mix_their_pictures(
    built: tuple[Path, EngineStore], reference: Reference, seed: int
) -> None:
    with no_faults(FakeCuda(seed=seed)) as cuda:
        mouth = make_rig(*built, cuda).open()
        wanted = {n: reference.draw(mels(1 + n % 5, n), faces(1 + n % 5, n)) for n in range(8)}

        def draw(number: int) -> None:
            count = 1 + number % 5
            features = mouth.encode(faces(count, number))
            for _ in range(6):
                np.testing.assert_array_equal(mouth.decode(mels(count, number), features), wanted[number])

        run_together([partial(draw, number) for number in range(8)])
        assert cuda.left["streams"] == 2
        assert cuda.launches > 0


def test_two_calls_run_side_by_side_and_the_third_waits(rig: Rig) -> None:
    device = Meddling(rig.cuda)
    mouth = rig.open(device=device)
    features = mouth.encode(faces(1))
    mouth.decode(mels(1), features)
    inside, most = [0], [0]
    both, lock = threading.Barrier(2), threading.Lock()

    def meet() -> None:
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        both.wait(30)  # nobody goes on alone
        with lock:
            inside[0] -= 1

    device.meddle = meet
    run_together([lambda: mouth.decode(mels(1), features)] * 4)
    assert most == [2]


def test_it_works_on_a_gpu_that_cuda_does_not_count_first(
    built: tuple[Path, EngineStore], reference: Reference
) -> None:
    with no_faults(FakeCuda("NVIDIA H200", A10.name)) as cuda:
        rig = make_rig(*built, cuda)
        opened: list[TensorRtMouth] = []
        run_together([lambda: opened.append(rig.open())])
        check_pictures(opened[0], reference, 3)
        run_together([lambda: check_pictures(opened[0], reference, 3)] * 3)


@pytest.mark.parametrize("function", ["cudaMemcpyAsync", "cudaStreamSynchronize", "cudaMalloc"])
def test_after_a_failure_the_worker_is_free_again(rig: Rig, reference: Reference, function: str) -> None:
    mouth = rig.open(workers=1)
    check_pictures(mouth, reference, 3)
    rig.cuda.fail[function] = 101
    for _ in range(3):
        with pytest.raises(GpuError, match=function):
            check_pictures(mouth, reference, 3)
    rig.cuda.fail.clear()
    check_pictures(mouth, reference, 3)


def test_an_engine_that_fails_to_run_says_why_and_leaves_nothing_queued(
    rig: Rig, reference: Reference
) -> None:
    mouth = rig.open(workers=1)
    check_pictures(mouth, reference, 1)

    def reason(complaint: str) -> str:
        features = mouth.encode(faces(3))
        rig.trt.no_run = complaint
        with pytest.raises(GpuError) as caught:
            mouth.decode(mels(3), features)
        rig.trt.no_run = ""
        return str(caught.value)

    told = [reason("Myelin error\n  on line 2"), reason("Error Code 1: Cuda Runtime (misaligned address)")]
    # Had anything been left on the stream, this would free what it reads.
    gc.collect()
    assert [text.partition("(")[2].partition(");")[0] for text in told] == [
        "Myelin error on line 2",
        "Error Code 1: Cuda Runtime (misaligned address)",
    ]
    assert all(text.startswith("TensorRT cannot run the mouth decoder on 4 faces") for text in told)
    check_pictures(mouth, reference, 3)
