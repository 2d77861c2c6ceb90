"""What the tests of every room share: a small avatar, its mouth, and the folder of real data."""

import os
from pathlib import Path

import pytest

from engine.anchor.package import Avatar
from tests.fakes import make_avatar


@pytest.fixture(scope="session")
def avatar_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package named "fake" in an avatars folder of its own; copy it before changing it."""
    return make_avatar(tmp_path_factory.mktemp("avatars"))


@pytest.fixture(scope="session")
def avatar(avatar_folder: Path) -> Avatar:
    """The loaded fake avatar."""
    return Avatar.load(avatar_folder)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real clips and speech (KOUBO_DATA, default ../shared/data)."""
    folder = Path(os.environ.get("KOUBO_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"needs real clips and speech in {folder}; set KOUBO_DATA")
    return folder
