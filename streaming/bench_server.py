"""A server in a process of its own, for benchmarks: started, asked over HTTP, stopped."""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from engine.errors import KouboError
from streaming.webrtc.client import Exchange

_ROOT = Path(__file__).resolve().parents[1]
"""Where the server starts: the package may be run from a checkout that is not installed."""

_OPEN: dict[str, object] = {"operate_tokens": (), "watch_tokens": (), "sessions_at_once": 1000}
"""Whatever the environment says: it listens on loopback, and all its clients are this process."""

_START_S = 60.0
_READY_S = 60.0
_LOOK_S = 0.02
_HTTP_TIMEOUT_S = 20.0


def server_command(port: int, runtime: str = "auto", **settings: object) -> list[str]:
    """What starts a server on loopback whose mouths run on `runtime`, with these settings besides."""
    given = _OPEN | settings | {"runtime": runtime}
    start = f"serve('127.0.0.1', {port}, Settings(**{given!r}))"
    imports = "from streaming.server import serve; from streaming.settings import Settings"
    return [sys.executable, "-c", f"{imports}; {start}"]


@dataclass(frozen=True, slots=True)
class Server:
    """A running server, by its port and its process."""

    port: int
    process: subprocess.Popen[bytes]

    async def request(self, method: str, path: str, body: str | None = None, kind: str = "") -> str:
        """The body of a successful response. Raises KouboError with the server's sentence otherwise."""
        return await asyncio.to_thread(self._request, method, path, body, kind)

    def _request(self, method: str, path: str, body: str | None, kind: str) -> str:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=_HTTP_TIMEOUT_S)
        with contextlib.closing(connection):
            connection.request(method, path, body, {"Content-Type": kind} if kind else {})
            response = connection.getresponse()
            text = response.read().decode()
        if response.status >= 400:
            raise KouboError(f"The server refused {method} {path}: {json.loads(text)['detail']}")
        return text

    def exchange(self, path: str) -> Exchange:
        """Posts offers to this endpoint."""

        async def post(offer: str) -> str:
            return await self.request("POST", path, offer, "application/sdp")

        return post

    def rss_mb(self) -> float:
        """Resident memory of the server in MiB, from /proc; 0 where there is none."""
        status = Path(f"/proc/{self.process.pid}/status")
        if not status.is_file():
            return 0.0
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS:"))
        return round(int(line.split()[1]) / 1024, 1)


@contextlib.asynccontextmanager
async def running_server(
    sessions: int, command: Callable[[int], list[str]], environment: Mapping[str, str] | None = None
) -> AsyncIterator[Server]:
    """A server of so many sessions that answers; `command(port)` starts it, with more in its `environment`.

    Raises KouboError.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    told = os.environ | {"KOUBO_MAX_SESSIONS": str(sessions)} | dict(environment or {})
    process = subprocess.Popen(command(port), env=told, cwd=_ROOT)  # noqa: ASYNC220
    server = Server(port, process)
    try:
        await _until_healthy(server)
        yield server
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)


async def until_ready(server: Server) -> None:
    """Wait until the server has loaded its default presenter, which takes both cores. Raises KouboError."""
    for _ in range(round(_READY_S / _LOOK_S)):
        try:
            await server.request("GET", "/readyz")
        except KouboError:
            await asyncio.sleep(_LOOK_S)
        else:
            return
    raise KouboError(f"The server was not ready within {_READY_S:g} s; check its log.")


async def _until_healthy(server: Server) -> None:
    try:
        async with asyncio.timeout(_START_S):
            while server.process.poll() is None:
                with contextlib.suppress(OSError, HTTPException):
                    await server.request("GET", "/healthz")
                    return
                await asyncio.sleep(0.1)
    except TimeoutError as error:
        raise KouboError("The server did not start within a minute; start it by hand to see why.") from error
    raise KouboError(
        f"The server ended with status {server.process.returncode}; start it by hand to see why."
    )
