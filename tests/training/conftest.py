"""What several tests of training share."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine.mouth.sheet import read_sheet, write_sheet
from tests.training.personal import BLIND, SMALL, small_presets
from trt_build import check
from trt_build.export import export_untrained


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Threads that wait for one another are slow on a busy machine, and these networks are small."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def small_mouths(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of untrained mouths of SMALL and BLIND, as every runtime takes them."""
    root = tmp_path_factory.mktemp("mouths")
    with small_presets(tmp_path_factory.mktemp("presets")), pytest.MonkeyPatch.context() as patch:
        patch.setattr(check, "TOLERANCE", 0.03)  # random weights are wilder than trained ones
        export_untrained(SMALL.name, root / SMALL.name)
    blind = shutil.copytree(root / SMALL.name, root / BLIND.name)  # its weights have the same shapes
    write_sheet(blind, replace(read_sheet(blind), preset=BLIND.name))
    return root


@pytest.fixture
def presets_known(tmp_path: Path) -> Iterator[None]:
    """SMALL and BLIND by their names."""
    with small_presets(tmp_path / "presets"):
        yield
