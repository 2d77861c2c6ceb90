"""`koubo build` as it is typed, on a fake GPU and on none."""

import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
import typer
from typer.testing import CliRunner, Result

import trt_build.build
from commands import build as command
from engine.anchor import package
from engine.errors import AvatarError, KouboError, MissingToolError
from engine.mouth import gpu
from engine.mouth.gpu import Gpu
from engine.mouth.sheet import FACE_ENCODER
from tests.fake_builder import FakeBuilding
from tests.fake_cuda import A10
from tests.fake_gpu import FakeDevice
from tests.tiny_mouth import write_tiny_mouth

app = typer.Typer()
app.command()(command.build)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KOUBO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    logger = logging.getLogger("engine.mouth.tensorrt")
    monkeypatch.setattr(logger, "setLevel", lambda level: None)
    return tmp_path / "cache" / "engines"


@pytest.fixture
def mouth(tmp_path: Path) -> Path:
    return write_tiny_mouth(tmp_path / "tiny", 32)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> FakeBuilding:
    """A machine with an A10 and TensorRT."""
    trt = FakeBuilding()
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    monkeypatch.setattr(gpu, "find_gpu", lambda: A10)
    monkeypatch.setattr(trt_build.build, "CudaDevice", lambda card: FakeDevice(trt.cuda, card))
    return trt


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without either."""

    def none() -> Gpu:
        raise MissingToolError("This machine has no NVIDIA driver.")

    monkeypatch.setattr(gpu, "find_gpu", none)
    monkeypatch.setitem(sys.modules, "tensorrt", None)


def koubo_build(*words: Any) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


def test_build_and_keep(machine: FakeBuilding, mouth: Path, cache: Path) -> None:
    first = koubo_build("--mouth", mouth)
    assert first.exit_code == 0
    assert "tiny on NVIDIA A10, TensorRT 10.16.1.11" in first.output
    assert first.output.count("built in") == 2
    assert "There is no engine of the face encoder" in first.output
    assert "koubo build" not in first.output
    assert "1 f16, 1 f32, 1 unknown" in first.output
    assert len(list(cache.glob("*.engine"))) == 2
    second = koubo_build("--mouth", mouth)
    assert second.output.count("kept") == 2
    assert "There is no engine" not in second.output
    assert len(machine.built) == 2


def test_force_and_level(machine: FakeBuilding, mouth: Path) -> None:
    koubo_build("--mouth", mouth)
    assert "A new one was asked for." in koubo_build("--mouth", mouth, "--force").output
    koubo_build("--mouth", mouth, "--level", 1)
    assert [config.builder_optimization_level for config in machine.built] == [3, 3, 3, 3, 1, 1]
    assert koubo_build("--mouth", mouth, "--level", 6).exit_code == 2


def test_notes_are_told(machine: FakeBuilding, mouth: Path) -> None:
    machine.refuses = "out of [memory]"
    output = koubo_build("--mouth", mouth).output
    assert "could not load the engine to report on it (out of [memory])" in output
    assert "unknown" in output


def test_the_mouth_of_a_presenter(machine: FakeBuilding, avatar_folder: Path) -> None:
    output = koubo_build("--avatar", avatar_folder).output
    assert f"{package.Avatar.load(avatar_folder).mouth.name} on NVIDIA A10" in output
    assert output.count("built in") == 2


def test_every_shipped_mouth(machine: FakeBuilding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("small", "large"):
        write_tiny_mouth(tmp_path / "mouths" / name, 32)
    monkeypatch.setattr(package, "avatar_roots", lambda: [tmp_path])
    monkeypatch.setattr(package, "_PACKAGED", tmp_path)
    output = koubo_build().output
    assert "small on NVIDIA A10" in output
    assert "large on NVIDIA A10" in output
    assert "small on" not in koubo_build("--model", "large").output


@pytest.mark.usefixtures("machine")
def test_an_unknown_model() -> None:
    with pytest.raises(KouboError, match="no mouth called nothing; shipped: "):
        koubo_build("--model", "nothing")


@pytest.mark.parametrize("words", [("--model", "a", "--mouth", "b"), ("--avatar", "a", "--model", "b")])
def test_only_one_can_be_named(words: tuple[str, ...]) -> None:
    with pytest.raises(KouboError, match="Give one of --avatar, --mouth and --model"):
        koubo_build(*words)


@pytest.mark.usefixtures("bare")
def test_without_a_gpu(mouth: Path) -> None:
    with pytest.raises(MissingToolError, match="no NVIDIA driver"):
        koubo_build("--mouth", mouth)


def test_without_tensorrt(machine: FakeBuilding, mouth: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingToolError, match="pip install"):
        koubo_build("--mouth", mouth)


@pytest.mark.usefixtures("bare")
def test_a_dry_run_needs_nothing(mouth: Path, cache: Path) -> None:
    done = koubo_build("--mouth", mouth, "--dry-run")
    assert done.exit_code == 0
    for text in (
        "tiny: face_encoder",
        "tiny: mouth_decoder",
        "mel float (n x 80 x 16)",
        "n from 32 to 64, best 64",
        "unknown here",
        "tiny: checked by Koubo's rules",
        "no NVIDIA driver",
        "pip install",
    ):
        assert text in done.output
    assert not cache.exists()


@pytest.mark.usefixtures("bare")
def test_a_dry_run_of_what_is_shipped() -> None:
    assert "lite192: checked by Koubo's rules" in koubo_build("--dry-run").output


def test_a_dry_run_asks_the_parser_that_is_there(machine: FakeBuilding, mouth: Path) -> None:
    output = koubo_build("--mouth", mouth, "--dry-run").output
    assert "tiny: checked by the parser of TensorRT 10.16.1.11" in output
    assert "NVIDIA A10, compute capability 8.6" in output
    assert "There is no engine of the face encoder" in output
    assert machine.built == []
    machine.refused_nodes = {"Clip"}
    with pytest.raises(AvatarError, match="cannot read"):
        koubo_build("--mouth", mouth, "--dry-run")


def test_a_dry_run_with_tensorrt_and_no_gpu(
    machine: FakeBuilding, mouth: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> Gpu:
        raise MissingToolError("This machine has no NVIDIA driver.")

    monkeypatch.setattr(gpu, "find_gpu", none)
    machine.has_gpu = False
    output = koubo_build("--mouth", mouth, "--dry-run").output
    assert "tiny: checked by Koubo's rules" in output
    assert "TensorRT 10.16.1.11 does not start here" in output


def test_a_dry_run_tells_why_an_engine_does_not_fit(
    machine: FakeBuilding, mouth: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    koubo_build("--mouth", mouth)
    assert "kept in" in koubo_build("--mouth", mouth, "--dry-run").output
    monkeypatch.setattr(gpu, "find_gpu", lambda: replace(A10, driver="590.1"))
    output = "".join(koubo_build("--mouth", mouth, "--dry-run").output.split())
    assert "builtwithdriver580.65.06,thisisdriver590.1" in output


@pytest.mark.usefixtures("bare")
def test_a_dry_run_finds_what_is_wrong(mouth: Path) -> None:
    model = onnx.load(mouth / FACE_ENCODER)
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, mouth / FACE_ENCODER)
    with pytest.raises(
        AvatarError, match=r"cannot become an engine: skip0 float16 \(1 x 3 x 32 x 32\) should"
    ):
        koubo_build("--mouth", mouth, "--dry-run")
