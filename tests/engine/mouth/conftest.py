"""The tiny mouth on a fake GPU."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.mouth.engines import EngineStore
from tests.engine.mouth.gpu_rig import SIZE, Reference, Rig, make_rig
from tests.fake_cuda import FakeCuda
from tests.fake_gpu import no_faults, save_fake_engines
from tests.tiny_mouth import write_tiny_mouth


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, EngineStore]:
    """A tiny mouth of SIZE pixels, and engines of it for two versions of TensorRT."""
    folder = write_tiny_mouth(tmp_path_factory.mktemp("built"), SIZE)
    store = EngineStore(tmp_path_factory.mktemp("engines"))
    for version in ("10.16.1.11", "11.4.0.106"):
        save_fake_engines(folder, store, version=version)
    return folder, store


@pytest.fixture(scope="session")
def reference(built: tuple[Path, EngineStore]) -> Reference:
    """The same mouth by ONNX Runtime."""
    return Reference(built[0])


@pytest.fixture
def rig(built: tuple[Path, EngineStore]) -> Iterator[Rig]:
    """A fake GPU on which nothing undefined may happen."""
    with no_faults(FakeCuda()) as cuda:
        yield make_rig(*built, cuda)
        gc.collect()


@pytest.fixture
def loose(built: tuple[Path, EngineStore]) -> Rig:
    """A fake GPU on which it may."""
    return make_rig(*built, FakeCuda())
