"""The TensorRT runtime on a fake GPU, against ONNX Runtime on the same files; and on a real GPU."""

import ctypes
import gc
import logging
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from engine.anchor.crop import Picture
from engine.errors import AvatarError, MissingToolError
from engine.mouth import tensorrt as module
from engine.mouth.batches import LADDER, PROFILES
from engine.mouth.cuda import Device, GpuError, Resource
from engine.mouth.engines import EngineStore, EngineUnusable, engine_key
from engine.mouth.gpu import Gpu, find_gpu
from engine.mouth.openvino_runtime import OpenVinoMouth
from engine.mouth.runtime import Features
from engine.mouth.sheet import read_sheet
from engine.mouth.tensorrt import TensorRtMouth, load_tensorrt, logger_for
from engine.mouth.tensors import DECODER, ENCODER, MouthTensors
from engine.speech.mel import Mel
from tests.fake_cuda import A10, FakeCuda, GpuFault
from tests.fake_gpu import FakeDevice, FakeTensorRt, fake_plan, no_faults, save_fake_engines
from tests.tiny_mouth import write_tiny_mouth
from trt_build.build import build

SIZE = 32
COUNTS = [0, 1, 3, 5, 33, 65]
NOTHING = {"device": 0, "pinned": 0, "streams": 0, "graphs": 0}


def faces(count: int, seed: int = 1) -> Picture:
    return np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def mels(count: int, seed: int = 2) -> Mel:
    return np.random.default_rng(seed).uniform(-4, 1, (count, 80, 16)).astype(np.float32)


class Reference:
    """The same mouth by ONNX Runtime."""

    def __init__(self, folder: Path) -> None:
        self.encoder, self.decoder = (
            onnxruntime.InferenceSession(
                (folder / f"{part}.onnx").read_bytes(), providers=["CPUExecutionProvider"]
            )
            for part in (ENCODER, DECODER)
        )

    def maps(self, idle: Picture) -> list[Any]:
        return list(self.encoder.run(None, {"face": idle}))

    def draw(self, sound: Mel, idle: Picture) -> Picture:
        names = [value.name for value in self.encoder.get_outputs()]
        maps = dict(zip(names, self.maps(idle), strict=True))
        drawn: Picture = self.decoder.run(None, {"mel": sound, **maps})[0]
        return drawn


@dataclass
class Rig:
    """A fake GPU with engines of the tiny mouth for it."""

    folder: Path
    store: EngineStore
    cuda: FakeCuda
    trt: FakeTensorRt
    device: FakeDevice

    def open(self, **settings: Any) -> TensorRtMouth:
        chosen = {"gpu": A10, "store": self.store, "trt": self.trt, "device": self.device, **settings}
        return TensorRtMouth(self.folder, **chosen)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_mouth(tmp_path_factory.mktemp("mouth"), SIZE)


@pytest.fixture(scope="module")
def store(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> EngineStore:
    store = EngineStore(tmp_path_factory.mktemp("engines"))
    for version in ("10.16.1.11", "11.4.0.106"):
        save_fake_engines(folder, store, version=version)
    return store


@pytest.fixture(scope="module")
def reference(folder: Path) -> Reference:
    return Reference(folder)


def make_rig(folder: Path, store: EngineStore, cuda: FakeCuda, version: str = "10.16.1.11") -> Rig:
    return Rig(folder, store, cuda, FakeTensorRt(cuda, version), FakeDevice(cuda))


@pytest.fixture
def rig(folder: Path, store: EngineStore) -> Iterator[Rig]:
    with no_faults(FakeCuda()) as cuda:
        yield make_rig(folder, store, cuda)
        gc.collect()


def check_pictures(mouth: TensorRtMouth, reference: Reference, count: int, seed: int = 1) -> None:
    idle, sound = faces(count, seed), mels(count, seed + 1)
    drawn = mouth.decode(sound, mouth.encode(idle))
    assert drawn.shape == idle.shape
    assert drawn.dtype == np.uint8
    if count:
        np.testing.assert_array_equal(drawn, reference.draw(sound, idle))


# What it draws.


@pytest.mark.parametrize("version", ["10.16.1.11", "11.4.0.106"])
def test_pictures_are_those_of_onnx_runtime(
    folder: Path, store: EngineStore, reference: Reference, version: str
) -> None:
    with no_faults(FakeCuda()) as cuda:
        mouth = make_rig(folder, store, cuda, version).open()
        assert (mouth.name, mouth.precision, mouth.size) == ("tensorrt", "f16", SIZE)
        for count in COUNTS:
            for seed in (1, 5, 9):  # run, launched as a graph, and once more
                check_pictures(mouth, reference, count, seed)


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


# Memory.


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


class Meddling(FakeDevice):
    """Calls `meddle` before anyone waits for a stream: what other threads may do in that time."""

    meddle: Callable[[], None] = staticmethod(lambda: None)

    def synchronize(self, stream: Resource) -> None:
        self.meddle()
        super().synchronize(stream)


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


def test_full_memory_is_told_and_what_was_begun_is_given_back(folder: Path, store: EngineStore) -> None:
    with no_faults(FakeCuda(memory=1_500_000)) as cuda:
        mouth = make_rig(folder, store, cuda).open()
        kept = mouth.encode(faces(2))
        before = cuda.left["device"]
        for _ in range(3):
            with pytest.raises(GpuError, match="out of memory; load fewer presenters"):
                mouth.encode(faces(640))
            gc.collect()
            # One more: the buffers for large batches, if they still found room.
            assert cuda.left["device"] <= before + 1
        mouth.decode(mels(2), kept)


# Threads.


def run_together(calls: Sequence[Callable[[], object]]) -> None:
    """Run each call in a thread of its own; raise what the first of them raised."""
    failed: list[BaseException] = []

    def run(call: Callable[[], object]) -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - it is raised below
            failed.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if failed:
        raise failed[0]


@pytest.mark.parametrize("seed", range(4))
def test_eight_threads_on_two_workers_do_not_mix_their_pictures(
    folder: Path, store: EngineStore, reference: Reference, seed: int
) -> None:
    with no_faults(FakeCuda(seed=seed)) as cuda:
        mouth = make_rig(folder, store, cuda).open()
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
    folder: Path, store: EngineStore, reference: Reference
) -> None:
    with no_faults(FakeCuda("NVIDIA H200", A10.name)) as cuda:
        rig = make_rig(folder, store, cuda)
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


# What can be missing or wrong.


def test_without_tensorrt_the_command_to_install_it_is_told(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingToolError, match=r"pip install 'koubo\[gpu\]'"):
        rig.open(trt=None)


def test_a_tensorrt_whose_libraries_do_not_load_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tensorrt.py").write_text('raise OSError("libnvinfer.so.11: cannot open shared object file")')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    with pytest.raises(MissingToolError, match=r"does not load \(libnvinfer.*force-reinstall"):
        load_tensorrt()


def test_the_installed_tensorrt_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tensorrt.py").write_text('__version__ = "99"')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    assert load_tensorrt().__version__ == "99"
    monkeypatch.delitem(sys.modules, "tensorrt")


def test_without_a_driver_that_is_told(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Gpu:
        raise MissingToolError("This machine has no NVIDIA driver; install one to use its GPU.")

    monkeypatch.setattr(module, "find_gpu", none)
    with pytest.raises(MissingToolError, match="no NVIDIA driver"):
        rig.open(gpu=None)


def test_a_driver_too_old_for_tensorrt_is_told(rig: Rig) -> None:
    rig.trt.starts = False
    with pytest.raises(MissingToolError, match=r"TensorRT 10.16.1.11 does not start \(CUDA init.* newer"):
        rig.open()


def test_a_damaged_mouth_is_told(rig: Rig, tmp_path: Path) -> None:
    with pytest.raises(AvatarError):
        TensorRtMouth(tmp_path, gpu=A10, store=rig.store, trt=rig.trt, device=rig.device)


def test_no_engine_for_this_gpu_or_this_tensorrt(rig: Rig) -> None:
    t4 = Gpu(0, "NVIDIA T4", "7.5", A10.driver, A10.memory)
    with pytest.raises(EngineUnusable, match=r"NVIDIA A10.*NVIDIA T4.*koubo build"):
        rig.open(gpu=t4)
    rig.trt.__version__ = "11.5.0.1"
    with pytest.raises(EngineUnusable, match=r"11\.5\.0\.1"):
        rig.open()
    assert rig.cuda.left == NOTHING


def test_an_engine_that_tensorrt_refuses_is_told_with_its_first_reason(rig: Rig) -> None:
    rig.trt.refuses = "Error Code 6: The engine plan file is not compatible with this version of TensorRT"
    with pytest.raises(
        EngineUnusable, match=r"refuses the engine of the face encoder \(Error Code 6.*--force"
    ):
        rig.open()


def saved(folder: Path, tmp_path: Path, **plans: bytes) -> EngineStore:
    """Engines of the mouth in `folder`, with other plans for these parts."""
    store = EngineStore(tmp_path / "engines")
    save_fake_engines(folder, store)
    for part, plan in plans.items():
        store.save(engine_key(folder, part, A10, "10.16.1.11"), plan)
    return store


@pytest.mark.parametrize("plan", [b"", b"no plan", b'{"profiles": {}}\n', b'{"part": "mouth_decoder"}\n\x08'])
def test_an_engine_of_nonsense_is_refused(rig: Rig, tmp_path: Path, plan: bytes) -> None:
    with pytest.raises(EngineUnusable, match=r"refuses the engine of the mouth decoder \(Serialization"):
        rig.open(store=saved(rig.folder, tmp_path, mouth_decoder=plan))


def test_an_engine_with_other_inputs_or_outputs_is_refused(rig: Rig, tmp_path: Path) -> None:
    large = write_tiny_mouth(tmp_path / "large", 2 * SIZE)
    plan = fake_plan(large / "mouth_decoder.onnx", DECODER)
    with pytest.raises(
        EngineUnusable, match=r"mouth decoder does not fit .* \(other picture, skip0\).*--force"
    ):
        rig.open(store=saved(rig.folder, tmp_path, mouth_decoder=plan))
    plan = fake_plan(rig.folder / "face_encoder.onnx", ENCODER)
    with pytest.raises(EngineUnusable, match=r"\(other face, mel, picture, skip0, skip1\)"):
        rig.open(store=saved(rig.folder, tmp_path, mouth_decoder=plan))


def test_an_engine_with_other_profiles_is_refused(rig: Rig, tmp_path: Path) -> None:
    plan = fake_plan(rig.folder / "face_encoder.onnx", ENCODER, PROFILES[:2])
    with pytest.raises(EngineUnusable, match=r"face encoder does not fit .* \(other batch sizes\)"):
        rig.open(store=saved(rig.folder, tmp_path, face_encoder=plan))


def test_a_context_that_tensorrt_refuses_is_told(rig: Rig, reference: Reference) -> None:
    mouth = rig.open(workers=1)
    rig.trt.no_context = "Error Code 2: OutOfMemory"
    with pytest.raises(
        GpuError, match=r"cannot prepare the face encoder \(Error Code 2: OutOfMemory\); close"
    ):
        mouth.encode(faces(1))
    rig.trt.no_context = ""
    check_pictures(mouth, reference, 1)


def test_a_batch_out_of_the_profile_is_told(rig: Rig, tmp_path: Path) -> None:
    narrow = ((1, 1, 1), *PROFILES[1:])
    plan = fake_plan(rig.folder / "mouth_decoder.onnx", DECODER, narrow)
    mouth = rig.open(store=saved(rig.folder, tmp_path, mouth_decoder=plan))
    features = mouth.encode(faces(2))
    with pytest.raises(GpuError, match=r"cannot run the mouth decoder on 2 faces .*not within the profile"):
        mouth.decode(mels(2), features)
    mouth.decode(mels(1), features[:1])


# TensorRT's messages.


def test_messages_of_tensorrt_go_to_logging(caplog: pytest.LogCaptureFixture) -> None:
    trt = FakeTensorRt(FakeCuda())
    logger = logger_for(trt)
    severity = trt.ILogger.Severity
    with caplog.at_level(logging.DEBUG):
        for level in severity:
            logger.log(level, f"about {level.name}")
    levels = {record.getMessage(): record.levelname for record in caplog.records}
    assert levels == {
        "TensorRT: about INTERNAL_ERROR": "ERROR",
        "TensorRT: about ERROR": "ERROR",
        "TensorRT: about WARNING": "WARNING",
        "TensorRT: about INFO": "DEBUG",
        "TensorRT: about VERBOSE": "DEBUG",
    }
    assert list(logger.errors) == ["about INTERNAL_ERROR", "about ERROR"]


def test_there_is_one_logger_a_process_and_old_errors_are_forgotten() -> None:
    trt = FakeTensorRt(FakeCuda())
    logger = logger_for(trt)
    for number in range(1000):
        logger.log(trt.ILogger.Severity.ERROR, f"error {number}")
    assert len(logger.errors) < 100
    assert logger_for(trt) is logger
    assert list(logger.errors) == []
    assert logger_for(FakeTensorRt(FakeCuda())) is not logger


# The fake itself: it must refuse what TensorRT refuses, and notice what TensorRT leaves undefined.


class Bench:
    """A context of the tiny encoder for two faces, all set, as the runtime does it."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.log = logger_for(rig.trt)
        runtime = rig.trt.Runtime(self.log)
        engine: Any = runtime.deserialize_cuda_engine(fake_plan(rig.folder / "face_encoder.onnx", ENCODER))
        self.stream = rig.device.stream()
        self.memory = {name: rig.device.allocate(1 << 16) for name in ("face", "skip0", "skip1", "scratch")}
        self.context: Any = engine.create_execution_context(
            rig.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        )

    def set_all(self) -> None:
        assert self.context.set_optimization_profile_async(0, self.stream.handle)
        self.context.set_device_memory(self.memory["scratch"].handle, 1 << 16)
        assert self.context.set_input_shape("face", (2, SIZE, SIZE, 3))
        for name in ("face", "skip0", "skip1"):
            assert self.context.set_tensor_address(name, self.memory[name].handle)

    def execute(self) -> None:
        if not self.context.execute_async_v3(self.stream.handle):
            raise GpuError(self.log.errors[-1])

    def finish(self) -> None:
        self.rig.device.synchronize(self.stream)


@pytest.fixture
def loose(folder: Path, store: EngineStore) -> Rig:
    """A rig on which faults may happen."""
    return make_rig(folder, store, FakeCuda())


def test_the_fake_has_no_names_but_those_it_was_given(loose: Rig) -> None:
    bench = Bench(loose)
    for name in ("execute_async_v2", "set_binding_shape", "active_optimization_profile"):
        with pytest.raises(AttributeError):
            getattr(bench.context, name)
    with pytest.raises(TypeError, match="incompatible"):
        loose.trt.Runtime(object())


def test_the_fake_wants_shapes_addresses_and_memory_before_it_runs(loose: Rig) -> None:
    bench = Bench(loose)
    with pytest.raises(GpuError, match="addresses"):
        bench.execute()
    assert not bench.context.set_input_shape("face", (2, SIZE, SIZE, 3))  # there is no profile yet
    assert not bench.context.set_optimization_profile_async(3, bench.stream.handle)
    assert bench.context.set_optimization_profile_async(0, bench.stream.handle)
    assert not bench.context.set_input_shape("face", (3, SIZE, SIZE, 3))
    assert not bench.context.set_input_shape("face", (2, SIZE, SIZE))
    assert not bench.context.set_input_shape("skip0", (2, 3, SIZE, SIZE))
    assert not bench.context.set_tensor_address("face", bench.memory["face"].handle + 8)
    assert not bench.context.set_tensor_address("nose", bench.memory["face"].handle)
    for name in ("face", "skip0", "skip1"):
        assert bench.context.set_tensor_address(name, bench.memory[name].handle)
    with pytest.raises(GpuError, match="dimensions"):
        bench.execute()
    assert bench.context.set_input_shape("face", (2, SIZE, SIZE, 3))
    with pytest.raises(GpuError, match="memory"):
        bench.execute()
    bench.set_all()
    bench.execute()
    bench.finish()
    assert bench.context.set_optimization_profile_async(0, bench.stream.handle)
    with pytest.raises(GpuError, match="dimensions"):  # a new profile forgets the shapes
        bench.execute()


def test_the_fake_captures_nothing_before_the_first_run(loose: Rig) -> None:
    bench = Bench(loose)
    bench.set_all()
    with pytest.raises(GpuError, match="not permitted"):
        loose.device.capture(bench.stream, bench.execute)


def test_the_fake_notices_a_context_changed_after_its_capture(loose: Rig) -> None:
    bench = Bench(loose)
    bench.set_all()
    bench.execute()
    bench.finish()
    loose.device.capture(bench.stream, bench.execute)
    with pytest.raises(GpuFault, match="captured"):
        bench.context.set_input_shape("face", (1, SIZE, SIZE, 3))


def test_the_fake_notices_a_context_changed_before_its_turn(loose: Rig) -> None:
    bench = Bench(loose)
    bench.set_all()
    bench.execute()
    bench.context.set_input_shape("face", (1, SIZE, SIZE, 3))
    with pytest.raises(GpuFault, match="changed"):
        bench.finish()


def test_the_fake_notices_two_streams_in_the_same_memory(loose: Rig) -> None:
    first, second = Bench(loose), Bench(loose)
    second.memory["scratch"] = first.memory["scratch"]
    first.set_all()
    second.set_all()
    first.execute()
    with pytest.raises(GpuFault, match="two streams"):
        second.execute()
    first.finish()


def test_the_fake_notices_outputs_without_room(loose: Rig) -> None:
    bench = Bench(loose)
    bench.memory["skip1"] = loose.device.allocate(4)
    bench.set_all()
    with pytest.raises(GpuFault, match="no one's"):
        bench.execute()


# A real GPU.


@pytest.fixture(scope="module")
def real(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> TensorRtMouth:
    """The tiny mouth, built for the GPU of this machine."""
    try:
        gpu = find_gpu()
        trt = load_tensorrt()
    except MissingToolError as error:
        pytest.skip(str(error))
    store = EngineStore(tmp_path_factory.mktemp("real"))
    build(folder, gpu, store=store, trt=trt)
    return TensorRtMouth(folder, gpu=gpu, store=store)


@pytest.mark.gpu
@pytest.mark.parametrize("count", COUNTS)
def test_a_real_gpu_draws_what_openvino_draws(real: TensorRtMouth, folder: Path, count: int) -> None:
    exact = OpenVinoMouth(folder, threads=1, precision="f32")
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


def test_the_fake_device_is_a_device(rig: Rig) -> None:
    device: Device = rig.device
    device.activate()
