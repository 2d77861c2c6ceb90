"""A session in this process, as the adapters of agents open one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streaming.agents.in_process import open_session
from streaming.cast import EngineCast
from streaming.sessions import Session
from streaming.settings import Settings
from tests.fakes import FakeMouth


@pytest.fixture
async def session(avatars: Path) -> AsyncIterator[Session]:
    async with open_session("fake", Settings(), EngineCast(lambda folder: FakeMouth())) as session:
        yield session
