"""What the TensorRT runtime draws, on a fake GPU and on a real one, against others on the same files."""

import ctypes
import gc
import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import MissingToolError
from engine.mouth.batches import LADDER, PROFILES
from engine.mouth.engines import EngineStore
from engine.mouth.gpu import find_gpu
from engine.mouth.openvino_runtime import OpenVinoMouth
from engine.mouth.runtime import Features
from engine.mouth.sheet import read_sheet
from engine.mouth.tensorrt import TensorRtMouth, load_tensorrt
from engine.mouth.tensors import MouthTensors
from tests.engine.mouth.gpu_rig import (
    COUNTS,
    SIZE,
    Reference,
    Rig,
    check_pictures,
    faces,
    make_rig,
    mels,
    run_together,
)
from tests.fake_builder import FakeBuilding
from tests.fake_cuda import A10, FakeCuda
from tests.fake_gpu import FakeDevice, no_faults
from trt_build.build import build

# What it draws.


@pytest.mark.parametrize("version", ["10.16.1.11", "11.4.0.106"])
def test_pictures_are_those_of_onnx_runtime(
    built: tuple[Path, EngineStore], reference: Reference, version: str
) -> None:
    with no_faults(FakeCuda()) as cuda:
        mouth = make_rig(*built, cuda, version).open()
        assert (mouth.name, mouth.precision, mouth.size) == ("tensorrt", "f16", SIZE)
        for count in COUNTS:
            for seed in (1, 5, 9):  # run, launched as a graph, and once more
                check_pictures(mouth, reference, count, seed)


@pytest.mark.parametrize("version", ["10.16.1.11", "11.4.0.106"])
def test_what_koubo_builds_is_what_it_runs(
    reference: Reference, rig: Rig, tmp_path: Path, version: str
) -> None:
    trt = FakeBuilding(version)
    store, device = EngineStore(tmp_path), FakeDevice(trt.cuda)
    build(rig.folder, A10, store=store, trt=trt, device=device)
    with no_faults(trt.cuda):
        mouth = rig.open(store=store, trt=trt, device=device)
        for seed in range(2):
            check_pictures(mouth, reference, 9, seed)


def test_the_features_of_a_face_are_its_maps_on_the_gpu(rig: Rig, reference: Reference) -> None:
    tensors = MouthTensors.of(read_sheet(rig.folder))
    idle = faces(5)
    features = rig.open().encode(idle)
    assert len({frame.handle for (frame,) in features}) == 5
    for row, (frame,) in enumerate(features):
        place = frame.handle
        for map_, wanted in zip(tensors.maps, reference.maps(idle), strict=True):
            assert place % 256 == 0
            found = np.frombuffer(ctypes.string_at(place, map_.size), map_.dtype).reshape(map_.shape)
            np.testing.assert_array_equal(found, wanted[row])
            place += -(-map_.size // 256) * 256


def test_every_face_speaks_its_own_words_in_any_order(rig: Rig, reference: Reference) -> None:
    mouth = rig.open()
    idle = faces(6)
    features = mouth.encode(idle)
    for chosen in ([5, 0, 3], [2, 2, 2, 4], [1], [4, 3, 2, 1, 0]):
        sound = mels(len(chosen), seed=chosen[0])
        drawn = mouth.decode(sound, [features[number] for number in chosen])
        np.testing.assert_array_equal(drawn, reference.draw(sound, idle[chosen]))


def test_what_an_earlier_batch_left_behind_is_never_seen(rig: Rig, reference: Reference) -> None:
    mouth = rig.open(workers=1)
    loud = np.full((64, 80, 16), 1, np.float32)
    mouth.decode(loud, mouth.encode(np.full((64, SIZE, SIZE, 3), 255, np.uint8)))
    for count in (63, 33, 16, 9, 3):
        check_pictures(mouth, reference, count, seed=count)
        check_pictures(mouth, reference, count, seed=count + 1)


def test_given_pictures_are_not_overwritten_by_later_ones(rig: Rig) -> None:
    mouth = rig.open(workers=1)
    features = mouth.encode(faces(2))
    first = mouth.decode(mels(2, 1), features)
    kept = first.copy()
    mouth.decode(mels(2, 7), features)
    np.testing.assert_array_equal(first, kept)


def test_input_may_be_a_view_of_something_larger(rig: Rig, reference: Reference) -> None:
    mouth = rig.open()
    idle, sound = faces(6), mels(6)
    drawn = mouth.decode(sound[::2], mouth.encode(idle[::2]))
    np.testing.assert_array_equal(drawn, reference.draw(sound[::2], idle[::2]))


def test_unequal_lengths_are_refused(rig: Rig) -> None:
    mouth = rig.open()
    with pytest.raises(ValueError, match="1 mel windows for 2 faces"):
        mouth.decode(mels(1), mouth.encode(faces(2)))


# Graphs.


def test_each_size_of_batch_is_a_graph_from_its_second_time_on(rig: Rig) -> None:
    mouth = rig.open(workers=1)
    features = mouth.encode(faces(9))
    seen = []
    for count in (3, 4, 3, 1, 1, 2, 9, 3):
        mouth.decode(mels(count), features[:count])
        seen.append((rig.cuda.launches, rig.cuda.left["graphs"]))
    # Sizes 4, 4, 4, 1, 1, 2, 16, 4: the first time of each it is run and captured.
    assert seen == [(0, 1), (1, 1), (2, 1), (2, 2), (3, 2), (3, 3), (3, 4), (4, 4)]


def test_encoding_needs_no_graph(rig: Rig) -> None:
    mouth = rig.open()
    mouth.encode(faces(3))
    mouth.encode(faces(3))
    assert (rig.cuda.launches, rig.cuda.left["graphs"]) == (0, 0)


def test_every_size_has_its_profile_and_a_context_of_its_own(rig: Rig) -> None:
    mouth = rig.open(workers=1)
    features = mouth.encode(faces(64))
    for _ in range(2):
        for size in LADDER:
            mouth.decode(mels(size), features[:size])
    contexts = rig.trt.contexts
    assert len(contexts) == 1 + len(LADDER)
    assert [context.profile for context in contexts] == [2, 0, 0, 1, 1, 1, 2, 2]
    buffers = {context.scratch for context in contexts}
    assert len(buffers) == len(PROFILES)  # shared by all sizes of a profile


def test_without_graphs_it_draws_the_same_and_says_so_once_a_size(
    rig: Rig, reference: Reference, caplog: pytest.LogCaptureFixture
) -> None:
    rig.cuda.refuse_graphs = True
    mouth = rig.open()
    with caplog.at_level(logging.WARNING):
        for seed in range(3):
            check_pictures(mouth, reference, 3, seed)
            run_together([lambda: check_pictures(mouth, reference, 3)] * 4)
        check_pictures(mouth, reference, 1)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert "Batches of 4 faces run without a CUDA graph" in told[0]
    assert rig.cuda.launches == 0


def test_an_engine_that_cannot_be_captured_runs_without(
    rig: Rig, reference: Reference, caplog: pytest.LogCaptureFixture
) -> None:
    rig.trt.no_capture = "operation not permitted when stream is capturing"
    mouth = rig.open()
    for seed in range(3):
        check_pictures(mouth, reference, 5, seed)
    assert "run without a CUDA graph" in caplog.text
    assert "not permitted" in caplog.text
    assert rig.cuda.launches == 0


# A real GPU.


@pytest.fixture(scope="module")
def real(built: tuple[Path, EngineStore], tmp_path_factory: pytest.TempPathFactory) -> TensorRtMouth:
    """The tiny mouth, built for the GPU of this machine."""
    try:
        gpu = find_gpu()
        trt = load_tensorrt()
    except MissingToolError as error:
        pytest.skip(str(error))
    store = EngineStore(tmp_path_factory.mktemp("real"))
    folder = built[0]
    build(folder, gpu, store=store, trt=trt)
    return TensorRtMouth(folder, gpu=gpu, store=store)


@pytest.mark.gpu
@pytest.mark.parametrize("count", COUNTS)
def test_a_real_gpu_draws_what_openvino_draws(
    real: TensorRtMouth, built: tuple[Path, EngineStore], count: int
) -> None:
    exact = OpenVinoMouth(built[0], threads=1, precision="f32")
    idle, sound = faces(count), mels(count)
    wanted = exact.decode(sound, exact.encode(idle)).astype(int)
    features = real.encode(idle)
    for _ in range(3):
        drawn = real.decode(sound, features)
        assert drawn.shape == idle.shape
        assert np.abs(drawn - wanted).max(initial=0) <= 2


@pytest.mark.gpu
def test_threads_on_a_real_gpu_do_not_mix_their_pictures(real: TensorRtMouth) -> None:
    alone = {n: real.decode(mels(1 + n, n), real.encode(faces(1 + n, n))) for n in range(8)}

    def draw(number: int) -> None:
        features = real.encode(faces(1 + number, number))
        for _ in range(50):
            drawn = real.decode(mels(1 + number, number), features)
            np.testing.assert_array_equal(drawn, alone[number])

    run_together([partial(draw, number) for number in range(8)])


@pytest.mark.gpu
def test_a_real_gpu_gets_its_memory_back(real: TensorRtMouth) -> None:
    runtime: Any = pytest.importorskip("cuda.bindings.runtime")
    held: list[list[Features]] = [real.encode(faces(64))]
    held.clear()
    gc.collect()
    free = runtime.cudaMemGetInfo()[1]
    for _ in range(5):
        held.append(real.encode(faces(64)))
    held.clear()
    gc.collect()
    assert runtime.cudaMemGetInfo()[1] == free
