"""CUDA graphs of the PyTorch runtime: over a fake CUDA device, and on a GPU where there is one."""

import gc
import inspect
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.anchor.crop import Picture
from engine.errors import KouboError, MissingToolError
from engine.mouth import torch_cuda
from engine.mouth.batches import LADDER
from engine.mouth.torch_cuda import TorchMouth
from tests.fake_torch_cuda import FakeCuda
from tests.mouth_drawing import SHIPPED, check_close, check_threads, draw, faces, reference, sounds
from tests.tiny_mouth import write_tiny_mouth

SIZE = 48


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_mouth(tmp_path_factory.mktemp("tiny"), SIZE)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCuda]:
    with FakeCuda().installed(monkeypatch) as device:
        yield device


def test_a_size_is_captured_once_and_replayed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = (3, 4, 1, 2, 65, 3)
    eager = TorchMouth(folder, device="cpu")
    expected = [draw(eager, count, seed=count) for count in counts]
    with FakeCuda().installed(monkeypatch) as cuda:
        ours = TorchMouth(folder)
        drawn = [draw(ours, count, seed=count) for count in counts]
    assert [graph.replays for graph in cuda.graphs] == [3, 2, 1, 1]  # of 4, 1, 2 and 64 faces
    assert len(cuda.streams) == 1
    for a, b in zip(drawn, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_whole_network_is_replayed_as_it_was_captured(cuda: FakeCuda) -> None:
    ours = TorchMouth(SHIPPED)
    for seed, count in enumerate((3, 4, 3)):
        check_close(draw(ours, count, seed), reference(SHIPPED, count, seed))
    assert [len(graph.nodes) > 20 for graph in cuda.graphs] == [True]


def test_the_real_device_is_asked_as_the_fake_one() -> None:
    real = inspect.signature(torch.cuda.graphs.graph.__init__).parameters
    assert {"pool", "stream", "capture_error_mode"} <= real.keys()


@pytest.mark.parametrize("what", ["cat", "zeros"])
def test_full_memory_is_told_and_later_calls_work(
    what: str, folder: Path, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has ...")

    ours = TorchMouth(folder)
    features = ours.encode(faces(2, SIZE))
    with monkeypatch.context() as patch:
        patch.setattr(torch, what, full)
        with pytest.raises(KouboError, match=r"memory is full: .* 0\.0 MB .*48 px.*fewer presenters") as told:
            ours.decode(sounds(2), features)
    assert "\n" not in str(told.value)
    assert ours.decode(sounds(2), features).std() > 2


def test_a_card_that_this_pytorch_cannot_use_is_told(
    folder: Path, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA error: no kernel image is available for execution\nCUDA kernel errors ...")

    monkeypatch.setattr(torch, "ones", fail)
    with pytest.raises(MissingToolError, match=r"on cuda \(CUDA error: no kernel image .*\);") as caught:
        TorchMouth(folder)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def on_gpu() -> TorchMouth:
    try:
        return TorchMouth(SHIPPED)
    except MissingToolError as error:
        pytest.skip(str(error))


@pytest.mark.gpu
@pytest.mark.parametrize("count", [0, 1, 3, 5, 65])
def test_a_gpu_draws_what_the_processor_draws_in_fp32(on_gpu: TorchMouth, count: int) -> None:
    drawn = draw(on_gpu, count)
    assert len(drawn) == count
    if count:
        check_close(drawn, reference(SHIPPED, count))


@pytest.mark.gpu
def test_graphs_draw_what_the_gpu_draws_without(on_gpu: TorchMouth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_cuda._Slot, "capture", lambda *_: None)
    eager = TorchMouth(SHIPPED)
    for count in (1, 5, 64, 5):
        difference = np.abs(draw(on_gpu, count, count).astype(int) - draw(eager, count, count))
        assert difference.max() <= 1


@pytest.mark.gpu
def test_threads_share_a_gpu(on_gpu: TorchMouth) -> None:
    check_threads(on_gpu)


@pytest.mark.gpu
def test_two_mouths_capture_at_the_same_time(on_gpu: TorchMouth) -> None:
    mouths = [TorchMouth(SHIPPED) for _ in range(2)]
    drawn: dict[int, list[Picture]] = {}

    def work(number: int) -> None:
        drawn[number] = [draw(mouths[number], count) for count in LADDER]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for size, first, second in zip(LADDER, drawn[0], drawn[1], strict=True):
        check_close(first, draw(on_gpu, size))
        check_close(second, draw(on_gpu, size))


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore")  # the compiler's own notes
def test_compiled_on_a_gpu_it_draws_the_same(on_gpu: TorchMouth) -> None:
    compiled = TorchMouth(SHIPPED, compiled=True)
    for count in (1, 3):
        check_close(draw(compiled, count), draw(on_gpu, count))


@pytest.mark.gpu
def test_memory_is_free_again_when_features_are_dropped(on_gpu: TorchMouth) -> None:
    draw(on_gpu, 1)
    gc.collect()
    before = torch.cuda.memory_allocated()
    features = on_gpu.encode(faces(8, on_gpu.size))
    held = torch.cuda.memory_allocated() - before
    del features[1:]
    one = torch.cuda.memory_allocated() - before
    assert one <= held / 8 * 1.1
    features.clear()
    assert torch.cuda.memory_allocated() == before
