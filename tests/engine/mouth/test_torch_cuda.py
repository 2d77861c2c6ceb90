"""The PyTorch runtime: on the processor, over a fake CUDA device, and on a GPU where there is one."""

import functools
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

import engine.mouth
from engine.errors import AvatarError, KouboError, MissingToolError
from engine.mouth import torch_cuda
from engine.mouth.batches import LADDER
from engine.mouth.sheet import FACE_ENCODER, MOUTH_DECODER, read_sheet
from engine.mouth.torch_cuda import TorchMouth
from engine.speech.mel import Mel
from tests.mouth_drawing import SHIPPED, check_close, check_threads, draw, faces, reference, sounds
from tests.tiny_mouth import write_tiny_mouth
from tests.training.footage import use_presets
from trt_build.export import export_untrained

SIZE = 48
LOUD: Mel = np.full((1, 80, 16), 0.0, np.float32)
SILENT: Mel = np.full((1, 80, 16), -4.0, np.float32)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_mouth(tmp_path_factory.mktemp("tiny"), SIZE)


@pytest.fixture(scope="module")
def mouth(folder: Path) -> TorchMouth:
    return TorchMouth(folder, device="cpu")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The seed's shape at 48 px, random weights."""
    scratch = tmp_path_factory.mktemp("seed")
    with pytest.MonkeyPatch.context() as patch:
        use_presets(patch, scratch / "presets")
        export_untrained("tiny", scratch / "mouth")
    return scratch / "mouth"


def test_says_what_it_is(mouth: TorchMouth) -> None:
    assert (mouth.name, mouth.precision, mouth.size) == ("torch", "f16", SIZE)


@pytest.mark.parametrize("count", [1, 3, 5])
def test_the_shipped_mouth_is_drawn_as_by_onnx_runtime(count: int) -> None:
    check_close(draw(TorchMouth(SHIPPED, device="cpu"), count), reference(SHIPPED, count))


@pytest.mark.parametrize("count", [1, 3, 5, 65])
def test_the_seed_s_shape_is_drawn_as_by_onnx_runtime(count: int, exported: Path) -> None:
    check_close(draw(TorchMouth(exported, device="cpu"), count), reference(exported, count))


@pytest.mark.parametrize("count", [1, 64, 65])
def test_the_tiny_mouth_is_drawn_as_by_onnx_runtime(count: int, folder: Path, mouth: TorchMouth) -> None:
    check_close(draw(mouth, count), reference(folder, count))


def test_nothing_to_draw_is_no_picture(mouth: TorchMouth) -> None:
    assert mouth.encode(faces(0, SIZE)) == []
    assert mouth.decode(sounds(0), []).shape == (0, SIZE, SIZE, 3)


def test_silence_leaves_the_face_and_sound_opens_it(mouth: TorchMouth) -> None:
    idle = faces(1, SIZE)
    features = mouth.encode(idle)
    silent, loud = mouth.decode(SILENT, features)[0], mouth.decode(LOUD, features)[0]
    assert np.abs(silent.astype(int) - idle[0]).max() <= 1
    assert loud[20:24, 22:26].max() == 0
    np.testing.assert_array_equal(loud[:10], silent[:10])


def test_features_are_half_precision_maps_of_their_own_memory(exported: Path) -> None:
    maps = read_sheet(exported).maps
    for features in TorchMouth(exported, device="cpu").encode(faces(3, SIZE)):
        assert [tuple(tensor.shape) for tensor in features] == [(1, *shape) for shape in maps]
        for tensor in features:
            assert tensor.dtype == torch.float16
            assert tensor.is_contiguous(memory_format=torch.channels_last)
            assert tensor.untyped_storage().nbytes() == 2 * tensor.numel()


def test_a_batch_gives_what_each_gives_alone(exported: Path) -> None:
    mouth = TorchMouth(exported, device="cpu")
    features, mels = mouth.encode(faces(5, SIZE)), sounds(5)
    together = mouth.decode(mels, features)
    for number in range(5):
        alone = mouth.decode(mels[number : number + 1], features[number : number + 1])
        assert np.abs(alone[0].astype(int) - together[number]).max() <= 1


def test_a_small_batch_shows_nothing_of_a_large_one_before(mouth: TorchMouth) -> None:
    before = draw(mouth, 3)
    draw(mouth, 4, seed=9)
    np.testing.assert_array_equal(draw(mouth, 3), before)


def test_pictures_stay_as_they_were_given_out(mouth: TorchMouth) -> None:
    given = draw(mouth, 2)
    kept = given.copy()
    draw(mouth, 2, seed=5)
    np.testing.assert_array_equal(given, kept)


def test_faces_that_may_not_be_written_are_taken(mouth: TorchMouth) -> None:
    idle = faces(4, SIZE)
    idle.flags.writeable = False
    turned = mouth.decode(sounds(2), mouth.encode(idle[::-2]))
    np.testing.assert_array_equal(turned, mouth.decode(sounds(2), mouth.encode(idle[[3, 1]])))


def test_unequal_lengths_are_refused(mouth: TorchMouth) -> None:
    with pytest.raises(ValueError, match="1 mel windows for 2 faces"):
        mouth.decode(LOUD, mouth.encode(faces(2, SIZE)))


def test_threads_do_not_mix_their_pictures(mouth: TorchMouth) -> None:
    check_threads(mouth)


def test_one_caller_draws_at_a_time(mouth: TorchMouth, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, most = 0, 0
    honest = torch_cuda._Slot.draw

    def slow(*given: Any) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.02)
        honest(*given)
        inside -= 1

    features = mouth.encode(faces(1, SIZE))
    monkeypatch.setattr(torch_cuda._Slot, "draw", slow)
    threads = [threading.Thread(target=mouth.decode, args=(LOUD, features)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_compiled_it_draws_the_same_in_every_size(
    folder: Path, mouth: TorchMouth, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Traced as on a GPU, without a C++ compiler. A second mouth, because PyTorch gives up on code that it
    # has compiled too often.
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    for _ in range(2):
        compiled = TorchMouth(folder, device="cpu", compiled=True)
        features, mels = compiled.encode(faces(64, SIZE)), sounds(64)
        for size in LADDER:
            drawn = compiled.decode(mels[:size], features[:size])
            np.testing.assert_array_equal(drawn, mouth.decode(mels[:size], features[:size]))


def test_what_cannot_be_compiled_is_told_in_one_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("backend='inductor' raised:\nCannot find a working triton.\nMore.")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: fail)
    with pytest.raises(KouboError, match=r"could not compile .*\(Cannot find a working triton\)") as caught:
        draw(TorchMouth(folder, device="cpu", compiled=True), 1)
    assert "\n" not in str(caught.value)


def test_importing_loads_no_pytorch() -> None:
    code = (
        "import sys, engine.mouth.torch_cuda; "
        "sys.exit(' '.join({'torch', 'onnx', 'tensorrt'} & sys.modules.keys()) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_settings_of_the_process_stay_as_they_are(folder: Path) -> None:
    def settings() -> tuple[object, ...]:
        cudnn = torch.backends.cudnn
        return cudnn.benchmark, cudnn.deterministic, torch.get_default_dtype(), torch.is_grad_enabled()

    before = settings()
    draw(TorchMouth(folder, device="cpu"), 1)
    assert settings() == before


def test_without_pytorch_the_sentence_says_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingToolError, match="pip install torch onnx"):
        TorchMouth(folder)


def test_without_onnx_the_sentence_says_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "engine.mouth.onnx_torch")
    monkeypatch.delattr(engine.mouth, "onnx_torch")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingToolError, match="pip install torch onnx"):
        TorchMouth(folder, device="cpu")


@pytest.mark.parametrize(
    ("version", "words"), [(None, "built for the CPU alone"), ("13.0", "driver is new enough for CUDA 13.0")]
)
def test_without_a_gpu_the_sentence_says_why(
    version: str | None, words: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", version)
    with pytest.raises(MissingToolError, match=words):
        TorchMouth(folder)


@pytest.mark.parametrize("name", [FACE_ENCODER, MOUTH_DECODER])
@pytest.mark.parametrize("content", [b"", b"no network", None])
def test_a_damaged_network_is_told_in_one_sentence(tmp_path: Path, name: str, content: bytes | None) -> None:
    write_tiny_mouth(tmp_path, SIZE)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(AvatarError, match=f"damaged .*{name}") as caught:
        TorchMouth(tmp_path, device="cpu")
    assert "\n" not in str(caught.value)


def test_halves_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    write_tiny_mouth(tmp_path / "small", SIZE)
    write_tiny_mouth(tmp_path / "large", 2 * SIZE)
    (tmp_path / "large" / MOUTH_DECODER).replace(tmp_path / "small" / MOUTH_DECODER)
    with pytest.raises(AvatarError, match=r"skip0 is not float16 \(n, 3, 48, 48\)"):
        TorchMouth(tmp_path / "small", device="cpu")


def test_other_names_than_the_contract_are_refused(tmp_path: Path) -> None:
    write_tiny_mouth(tmp_path, SIZE)
    model = onnx.load(str(tmp_path / MOUTH_DECODER))
    model.graph.input[0].name = model.graph.node[0].input[0] = "sound"
    onnx.save(model, str(tmp_path / MOUTH_DECODER))
    with pytest.raises(AvatarError, match="it takes sound"):
        TorchMouth(tmp_path, device="cpu")


def test_a_mouth_without_its_sheet_is_refused(tmp_path: Path) -> None:
    (write_tiny_mouth(tmp_path, SIZE) / "model.json").unlink()
    with pytest.raises(AvatarError, match="missing or damaged"):
        TorchMouth(tmp_path, device="cpu")
