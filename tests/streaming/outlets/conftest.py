"""Outlets against real peers on loopback."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import pytest

from streaming.address_policy import Target, check_outlet
from streaming.encoding.base import Codec
from streaming.outlets.base import Assignment
from streaming.settings import Settings
from tests.streaming.conftest import eventually
from tests.streaming.outlets.station import Station

LOOPBACK = Settings(outlet_networks=(IPv4Network("127.0.0.0/8"), IPv6Network("::1/128")))


@dataclass
class Ear:
    """A report that remembers."""

    lives: int = 0
    bytes: int = 0
    on_live: asyncio.Event = field(default_factory=asyncio.Event)

    def live(self) -> None:
        self.lives += 1
        self.on_live.set()

    def sent(self, size: int) -> None:
        self.bytes += size


@pytest.fixture
async def station() -> AsyncIterator[Station]:
    """Faster than life, as nothing on the way looks at a clock."""
    async with Station(speed=3) as running:
        yield running


async def allow(url: str) -> Target:
    """The policy of a server that may send to its own machine."""
    return await asyncio.to_thread(check_outlet, url, LOOPBACK)


@pytest.fixture
def assign(station: Station, tmp_path: Path) -> Callable[..., Assignment]:
    """Makes assignments of the station's hub."""

    def make(
        url: str,
        token: str | None = None,
        codec: Codec | None = None,
        check: Callable[[str], Awaitable[Target]] = allow,
        **settings: object,
    ) -> Assignment:
        chosen = {"recordings": tmp_path / "recordings", "recordings_min_free_mb": 0, **settings}
        return Assignment(
            url=url,
            token=token,
            codec=codec,
            hub=station.hub,
            pictures=lambda show: lambda: None,
            name="session-now",
            settings=LOOPBACK.model_copy(update=chosen),
            check=check,
        )

    return make


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Receiver:
    """A running `tests.streaming.outlets.receiver`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.pictures = 0
        self._reading = asyncio.create_task(self._read(), name="receiver")

    @classmethod
    async def start(cls, url: str, path: Path, *options: str) -> "Receiver":
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.streaming.outlets.receiver",
                url,
                str(path),
                *options,
                stdout=asyncio.subprocess.PIPE,
            )
        )

    async def until(self, pictures: int, timeout_s: float = 20) -> None:
        """Wait until so many pictures have come."""
        await eventually(lambda: self.pictures >= pictures or self.process.returncode is not None, timeout_s)

    async def finish(self, timeout_s: float = 5) -> None:
        """Wait for its end; kill it when that does not come."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.process.wait()
        await self.kill()

    async def kill(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()
        await self._reading

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            if line.strip().isdigit():
                self.pictures = int(line)


@pytest.fixture
async def receive() -> AsyncIterator[Callable[..., Awaitable[Receiver]]]:
    """Starts receivers; none outlives the test."""
    running: list[Receiver] = []

    async def start(url: str, path: Path, *options: str) -> Receiver:
        running.append(await Receiver.start(url, path, *options))
        return running[-1]

    yield start
    for receiver in running:
        await receiver.kill()


async def listening(port: int, timeout_s: float = 10) -> None:
    """Wait until somebody listens, without connecting: an RTMP server takes one client only."""
    await eventually(lambda: _is_listening(port), timeout_s)


def _is_listening(port: int) -> bool:
    lines = Path("/proc/net/tcp").read_text().splitlines()
    return any(f":{port:04X} " in line and " 0A " in line for line in lines)


async def stop(task: asyncio.Task[None]) -> float:
    """Cancel an outlet; returns the seconds it took to leave."""
    clock = asyncio.get_running_loop().time
    began = clock()
    task.cancel()
    await asyncio.wait([task])
    return clock() - began
