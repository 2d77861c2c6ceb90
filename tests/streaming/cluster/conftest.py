"""A cluster without Ray: real replicas in threads, on real ports, behind a gateway on another."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from streaming.cast import EngineCast
from streaming.cluster_gateway import gateway_app
from streaming.cluster_placement import holder, new_name
from streaming.cluster_replica import Replica
from streaming.cluster_settings import Plan
from streaming.settings import Settings
from tests.fakes import FakeMouth
from tests.streaming.conftest import eventually


class FakeDirectory:
    """Knows the replicas that a test tells it."""

    def __init__(self) -> None:
        self.urls: dict[str, str] = {}
        self.away = False
        self.waiting: dict[str, int] = {}

    async def replicas(self, gateway: str, waiting: int) -> Mapping[str, str]:
        if self.away:
            raise OSError("away")
        self.waiting[gateway] = waiting
        return dict(self.urls)


@dataclass
class SmallCluster:
    """Replicas and gateways of one plan."""

    settings: Settings
    plan: Plan
    stack: AsyncExitStack
    directory: FakeDirectory = field(default_factory=FakeDirectory)
    replicas: dict[str, Replica] = field(default_factory=dict)

    async def add(self) -> Replica:
        """One more replica, ready."""
        cast = EngineCast(lambda folder: FakeMouth(), "fake")
        replica = Replica(new_name(), self.settings, self.plan, cast=cast)
        self.stack.push_async_callback(replica.stop)
        await replica.until_ready()
        self.replicas[replica.name] = replica
        self.directory.urls[replica.name] = replica.url
        return replica

    async def lose(self, name: str) -> None:
        """A replica ends without a word to its gateways."""
        del self.directory.urls[name]
        await self.replicas.pop(name).stop()

    def app(self) -> Any:
        """A gateway, not begun."""
        return gateway_app(self.settings, self.plan, self.directory)

    @asynccontextmanager
    async def gateway(self) -> AsyncIterator[httpx.AsyncClient]:
        """A gateway that knows all replicas, on a port of its own."""
        app = self.app()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            config = uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1)
            server = uvicorn.Server(config)
            task = asyncio.create_task(server.serve(sockets=[listener]))
            try:
                await eventually(lambda: len(app.gateway.links.remotes) == len(self.replicas))
                url = f"http://127.0.0.1:{listener.getsockname()[1]}"
                async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=20) as http:
                    yield http
            finally:
                server.should_exit = True
                await task


@pytest.fixture
def settings() -> Settings:
    return Settings(default_avatar="fake", max_viewers=3, drain_s=1)


@pytest.fixture
def plan() -> Plan:
    return Plan(sessions=2, wait_s=0.3, drain_s=5)


@pytest.fixture
async def cluster(avatars: Path, settings: Settings, plan: Plan) -> AsyncIterator[SmallCluster]:
    """A cluster without a replica."""
    async with AsyncExitStack() as stack:
        yield SmallCluster(settings, plan, stack)


@pytest.fixture
async def two(cluster: SmallCluster) -> SmallCluster:
    """A cluster of two replicas."""
    await asyncio.gather(cluster.add(), cluster.add())
    return cluster


@pytest.fixture
async def http(two: SmallCluster) -> AsyncIterator[httpx.AsyncClient]:
    async with two.gateway() as client:
        yield client


def home(session: dict[str, str]) -> str:
    """The replica that holds a session."""
    name = holder(session["id"])
    assert name is not None
    return name


async def end_of(socket: ClientConnection) -> tuple[int, str]:
    """How a WebSocket is closed by its server, whatever it says before."""
    async with asyncio.timeout(15):
        try:
            while True:
                await socket.recv()
        except ConnectionClosed as closed:
            if closed.rcvd is None:
                raise
            return closed.rcvd.code, closed.rcvd.reason
