"""CudaDevice on a fake CUDA runtime; its names against the real one; and itself where there is a GPU."""

import ast
import gc
import inspect
import logging
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from engine.errors import MissingToolError
from engine.mouth import cuda as module
from engine.mouth.cuda import CudaDevice, GpuError, Resource
from engine.mouth.gpu import Gpu, find_gpu
from tests.engine.mouth.gpu_rig import BYTES, Trip
from tests.fake_cuda import A10, FakeCuda
from tests.fake_gpu import FakeDevice


@pytest.fixture
def cuda() -> Iterator[FakeCuda]:
    """A fake CUDA, on which nothing undefined may happen."""
    fake = FakeCuda()
    yield fake
    gc.collect()
    assert fake.faults == []


@pytest.fixture
def device(cuda: FakeCuda) -> FakeDevice:
    return FakeDevice(cuda)


def noise(seed: int) -> Any:
    return np.random.default_rng(seed).integers(0, 256, BYTES, np.uint8)


def check_copies(device: CudaDevice) -> None:
    trip = Trip(device)
    for seed in range(3):
        trip.up[:] = noise(seed)
        trip.queue()
        device.synchronize(trip.stream)
        np.testing.assert_array_equal(trip.down, noise(seed))


def check_graph(device: CudaDevice) -> None:
    trip = Trip(device)
    trip.up[:] = noise(0)
    trip.down[:] = 7
    graph = device.capture(trip.stream, trip.queue)
    device.synchronize(trip.stream)
    assert (trip.down == 7).all()  # a capture runs nothing
    for seed in range(3):
        trip.up[:] = noise(seed)
        device.launch(graph, trip.stream)
        device.synchronize(trip.stream)
        np.testing.assert_array_equal(trip.down, noise(seed))


def test_copies(device: FakeDevice) -> None:
    check_copies(device)


def test_nothing_is_copied_before_someone_waits(device: FakeDevice) -> None:
    trip = Trip(device)
    trip.up[:] = 3
    trip.queue()
    assert device.cuda.copies == 0
    device.synchronize(trip.stream)
    assert device.cuda.copies == 3


def test_a_graph_does_the_same_work_again(device: FakeDevice) -> None:
    check_graph(device)
    assert device.cuda.launches == 3


def test_pinned_arrays_have_their_shape_and_live_as_long_as_a_view(device: FakeDevice) -> None:
    array = device.host_array((3, 4), np.float32)
    assert array.shape == (3, 4)
    assert array.dtype == np.float32
    view = array[1:]
    del array
    gc.collect()
    view[:] = 1
    assert device.cuda.left["pinned"] == 1
    del view
    gc.collect()
    assert device.cuda.left["pinned"] == 0


def test_everything_is_given_back_once_nothing_holds_it(device: FakeDevice) -> None:
    trip = Trip(device)
    graph = device.capture(trip.stream, trip.queue)
    assert device.cuda.left == {"device": 2, "pinned": 2, "streams": 1, "graphs": 1}
    del trip, graph
    gc.collect()
    assert device.cuda.left == {"device": 0, "pinned": 0, "streams": 0, "graphs": 0}


def test_what_is_dropped_during_a_capture_is_given_back_after_it(device: FakeDevice) -> None:
    trip = Trip(device)
    dropped = [device.allocate(BYTES)]
    seen = []

    def work() -> None:
        trip.queue()
        dropped.clear()
        gc.collect()
        seen.append(device.cuda.left["device"])

    graph: Resource | None = device.capture(trip.stream, work)
    assert graph is not None
    assert seen == [3]
    assert device.cuda.left["device"] == 2


def test_other_threads_free_and_allocate_during_a_capture(device: FakeDevice) -> None:
    trip = Trip(device)
    other = [device.allocate(BYTES)]

    def elsewhere() -> None:
        other.clear()
        other.append(device.allocate(2 * BYTES))

    def work() -> None:
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        trip.queue()

    device.capture(trip.stream, work)
    assert device.cuda.used == 4 * BYTES


def test_a_capture_that_fails_leaves_the_stream_usable(device: FakeDevice) -> None:
    trip = Trip(device)
    device.cuda.refuse_graphs = True
    with pytest.raises(GpuError, match="cudaStreamEndCapture"):
        device.capture(trip.stream, trip.queue)
    check_copies(device)

    def broken() -> None:
        trip.queue()
        raise GpuError("The engine does not run.")

    device.cuda.refuse_graphs = False
    with pytest.raises(GpuError, match="does not run"):
        device.capture(trip.stream, broken)
    with pytest.raises(GpuError, match="StreamCapture"):
        device.capture(trip.stream, lambda: device.synchronize(trip.stream))
    device.cuda.fail["cudaGraphInstantiate"] = 2
    with pytest.raises(GpuError, match="out of memory"):
        device.capture(trip.stream, trip.queue)
    device.cuda.fail.clear()
    gc.collect()
    assert device.cuda.left["graphs"] == 0
    check_graph(device)


def test_out_of_memory_has_a_sentence_of_its_own() -> None:
    device = FakeDevice(FakeCuda(memory=3 * BYTES))
    held = [device.allocate(BYTES) for _ in range(3)]
    with pytest.raises(GpuError, match="out of memory; load fewer presenters"):
        device.allocate(BYTES)
    held.pop()
    device.allocate(BYTES)


@pytest.mark.parametrize(
    "function", ["cudaMalloc", "cudaMallocHost", "cudaMemcpyAsync", "cudaStreamSynchronize"]
)
def test_every_refusal_names_the_function_in_one_sentence(device: FakeDevice, function: str) -> None:
    device.cuda.fail[function] = 101
    with pytest.raises(GpuError, match=rf"{function} \(InvalidDevice\); restart") as caught:
        check_copies(device)
    assert "\n" not in str(caught.value)
    device.cuda.fail.clear()
    check_copies(device)


def test_a_refusal_in_the_garbage_collector_is_only_logged(
    device: FakeDevice, caplog: pytest.LogCaptureFixture
) -> None:
    memory = [device.allocate(BYTES)]
    device.cuda.fail["cudaFree"] = 101
    with caplog.at_level(logging.WARNING):
        memory.clear()
        gc.collect()
    assert "cudaFree" in caplog.text


@pytest.mark.parametrize("code", [35, 100])
def test_no_driver_or_an_old_one_is_told(code: int) -> None:
    cuda = FakeCuda()
    cuda.fail["cudaGetDeviceCount"] = code
    with pytest.raises(MissingToolError, match="newer NVIDIA driver"):
        CudaDevice(A10, cuda)


def test_the_gpu_is_found_by_its_name_for_cuda_counts_otherwise() -> None:
    cuda = FakeCuda("NVIDIA H200", "NVIDIA A10G", "NVIDIA A10")
    device = FakeDevice(cuda)
    check_copies(device)
    assert cuda.current == 2
    failed: list[BaseException] = []

    def elsewhere() -> None:
        try:
            device.activate()
            check_copies(device)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test has failed
            failed.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert failed == []
    assert cuda.faults == []


def test_a_slice_of_a_gpu_is_that_gpu() -> None:
    gpu = Gpu(0, "NVIDIA H200", "9.0", "580.65.06", 18 << 30)
    CudaDevice(gpu, FakeCuda("NVIDIA H200 MIG 1g.18gb"))


def test_a_hidden_gpu_is_told() -> None:
    told = "sees NVIDIA H200, NVIDIA A100 but not the NVIDIA A10 .* CUDA_VISIBLE_DEVICES"
    with pytest.raises(MissingToolError, match=told):
        CudaDevice(A10, FakeCuda("NVIDIA H200", "NVIDIA A100"))


def test_without_cuda_bindings_the_command_to_install_them_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(MissingToolError, match=r"pip install 'koubo\[gpu\]'"):
        CudaDevice(A10)


# The real library.


def test_the_real_library_has_every_name_that_is_used() -> None:
    runtime: Any = pytest.importorskip("cuda.bindings.runtime")
    tree = ast.parse(inspect.getsource(module))
    words = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    words |= {str(node.value) for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    used = {word for word in words if word.startswith("cuda") and word.isalnum()}
    assert {"cudaMalloc", "cudaGraphLaunch", "cudaErrorMemoryAllocation", "cudaMemcpyDefault"} <= used
    spaces = (runtime, runtime.cudaError_t, runtime.cudaMemcpyKind, runtime.cudaStreamCaptureMode)
    assert {word for word in used if not any(hasattr(space, word) for space in spaces)} == set()


def test_the_fake_counts_as_the_real_library() -> None:
    runtime: Any = pytest.importorskip("cuda.bindings.runtime")
    for enumeration in (FakeCuda.cudaError_t, FakeCuda.cudaMemcpyKind, FakeCuda.cudaStreamCaptureMode):
        for member in enumeration:
            real = runtime.cudaError_t if member.name.startswith("cudaError") else None
            for space in (real, runtime.cudaError_t, runtime.cudaMemcpyKind, runtime.cudaStreamCaptureMode):
                if space is not None and hasattr(space, member.name):
                    assert int(getattr(space, member.name)) == member
                    break
            else:
                pytest.fail(f"{member.name} is not in the real library")
    assert runtime.cudaStreamNonBlocking == FakeCuda.cudaStreamNonBlocking
    assert runtime.cudaDeviceScheduleBlockingSync == FakeCuda.cudaDeviceScheduleBlockingSync
    functions = [name for name in vars(FakeCuda) if name.startswith("cuda") and name[4].isupper()]
    assert [name for name in functions if not hasattr(runtime, name)] == []


def test_the_real_library_without_a_gpu_says_so() -> None:
    runtime: Any = pytest.importorskip("cuda.bindings.runtime")
    if int(runtime.cudaGetDeviceCount()[0]) == 0:
        pytest.skip("this machine has a GPU")
    with pytest.raises(MissingToolError, match="NVIDIA driver") as caught:
        CudaDevice(A10)
    assert "\n" not in str(caught.value)


def test_the_real_library_takes_plain_numbers_for_addresses_and_handles() -> None:
    runtime: Any = pytest.importorskip("cuda.bindings.runtime")
    if int(runtime.cudaGetDeviceCount()[0]) == 0:
        pytest.skip("this machine has a GPU, which would follow them")
    kind, mode = runtime.cudaMemcpyKind, runtime.cudaStreamCaptureMode
    answers = [
        runtime.cudaMalloc(64),
        runtime.cudaMallocHost(64),
        runtime.cudaFree(4096),
        runtime.cudaFreeHost(4096),
        runtime.cudaMemcpyAsync(4096, 8192, 64, kind.cudaMemcpyDefault, 77),
        runtime.cudaStreamSynchronize(77),
        runtime.cudaStreamBeginCapture(77, mode.cudaStreamCaptureModeThreadLocal),
        runtime.cudaStreamEndCapture(77),
        runtime.cudaGraphInstantiate(77, 0),
        runtime.cudaGraphLaunch(77, 78),
        runtime.cudaGraphDestroy(77),
        runtime.cudaGraphExecDestroy(77),
        runtime.cudaStreamDestroy(77),
    ]
    assert all(isinstance(answer, tuple) and int(answer[0]) != 0 for answer in answers)
    for handle in (runtime.cudaStream_t(5), runtime.cudaGraph_t(5), runtime.cudaGraphExec_t(5)):
        assert int(handle) == 5


@pytest.fixture
def real_device() -> CudaDevice:
    try:
        return CudaDevice(find_gpu())
    except MissingToolError as error:
        pytest.skip(str(error))


@pytest.mark.gpu
def test_copies_and_graphs_on_the_real_gpu(real_device: CudaDevice) -> None:
    check_copies(real_device)
    check_graph(real_device)


@pytest.mark.gpu
def test_the_real_gpu_tells_that_its_memory_is_full(real_device: CudaDevice) -> None:
    with pytest.raises(GpuError, match="out of memory"):
        real_device.allocate(1 << 50)
    check_copies(real_device)


@pytest.mark.gpu
def test_a_capture_that_fails_on_the_real_gpu_leaves_the_stream_usable(real_device: CudaDevice) -> None:
    trip = Trip(real_device)
    with pytest.raises(GpuError, match="apture"):
        real_device.capture(trip.stream, lambda: real_device.synchronize(trip.stream))
    check_copies(real_device)
    check_graph(real_device)
