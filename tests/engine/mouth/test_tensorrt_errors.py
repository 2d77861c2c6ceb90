"""What can be missing or wrong for the TensorRT runtime, each told in a sentence; TensorRT's messages."""

import logging
import sys
from pathlib import Path

import pytest

from engine.errors import AvatarError, MissingToolError
from engine.mouth import tensorrt as module
from engine.mouth.batches import PROFILES
from engine.mouth.cuda import GpuError
from engine.mouth.engines import EngineStore, EngineUnusable, engine_key
from engine.mouth.gpu import Gpu
from engine.mouth.tensorrt import TensorRtMouth, load_tensorrt, logger_for
from engine.mouth.tensors import DECODER, ENCODER
from tests.engine.mouth.gpu_rig import NOTHING, SIZE, Reference, Rig, check_pictures, faces, mels
from tests.fake_cuda import A10, FakeCuda
from tests.fake_gpu import FakeTensorRt, fake_plan, save_fake_engines
from tests.tiny_mouth import write_tiny_mouth


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
    del sys.modules["tensorrt"]


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
