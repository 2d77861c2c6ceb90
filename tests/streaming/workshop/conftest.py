"""Workshops whose workers only act, in a folder of avatars of their own."""

import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from streaming.settings import Settings
from streaming.workshop import Patience, Workshop
from tests.streaming.workshop.jobs import MAKER, left_in

MakeWorkshop = Callable[..., Workshop]


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that finished avatars go to; it is not there yet."""
    folder = tmp_path / "own"
    monkeypatch.setenv("KOUBO_AVATARS", str(folder))
    return folder


@pytest.fixture
async def make_workshop(own: Path, avatar_folder: Path) -> AsyncIterator[MakeWorkshop]:
    """Makes workshops whose worker only acts; in the end they must leave nothing but avatars."""
    made: list[Workshop] = []

    def make(patience: Patience | None = None, **settings: Any) -> Workshop:
        command = (sys.executable, str(MAKER), str(avatar_folder))
        workshop = Workshop(Settings(uploads_min_free_mb=0, **settings), command=command, patience=patience)
        made.append(workshop)
        return workshop

    yield make
    for workshop in made:
        await workshop.close()
    assert left_in(own) == []


@pytest.fixture
def workshop(make_workshop: MakeWorkshop) -> Workshop:
    return make_workshop()
