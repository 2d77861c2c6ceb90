"""Speech services on loopback that do what a test tells them: OpenAI's speech endpoint, Edge's WebSocket."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

RATE = 24_000


def tone(seconds: float, hertz: float = 220.0, rate: int = RATE) -> NDArray[np.int16]:
    """A sine of half the full scale."""
    time = np.arange(round(seconds * rate)) / rate
    samples: NDArray[np.int16] = np.rint(16_384 * np.sin(2 * np.pi * hertz * time)).astype(np.int16)
    return samples


@dataclass
class SpeechServer:
    """An HTTP server with chunked answers, written out so that they can stop, stall and break anywhere."""

    url: str
    answer: "Callable[[Answer], Awaitable[None]]"
    requests: list[dict[str, Any]] = field(default_factory=list)
    """The body of each request, and its headers under "headers" and path under "path"."""
    broken_off: int = 0
    """Connections that the client closed before the answer was over."""


class Answer:
    """One answer under way."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    async def head(self, status: int = 200, kind: str = "audio/pcm") -> None:
        self._writer.write(
            f"HTTP/1.1 {status} Whatever\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        await self._writer.drain()

    async def send(self, data: bytes) -> None:
        self._writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        await self._writer.drain()

    async def end(self) -> None:
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()

    async def pcm(self, samples: NDArray[np.int16], parts: int = 4) -> None:
        """A whole answer, cut at places that are not those of samples."""
        await self.head()
        data = samples.tobytes()
        step = len(data) // parts | 1
        for start in range(0, len(data), step):
            await self.send(data[start : start + step])
        await self.end()

    def hang_up(self) -> None:
        self._writer.transport.abort()


@asynccontextmanager
async def speech_server(answer: Callable[[Answer], Awaitable[None]]) -> AsyncIterator[SpeechServer]:
    """A server that answers each request as `answer` does."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await _head(reader):
                first, *lines = head.split("\r\n")
                headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines if line)}
                body = json.loads(await reader.readexactly(int(headers["content-length"])))
                server.requests.append({**body, "headers": headers, "path": first.split(" ")[1]})
                answering = asyncio.create_task(_answered(server.answer, Answer(writer)))
                gone = asyncio.create_task(reader.read(1))
                await asyncio.wait([answering, gone], return_when=asyncio.FIRST_COMPLETED)
                if not answering.done():
                    server.broken_off += 1
                    answering.cancel()
                    await asyncio.wait([answering])
                    return
                # A connection a request: whatever came after it would be lost here.
                gone.cancel()
                return
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    server = SpeechServer(f"http://127.0.0.1:{port}/v1", answer)
    try:
        yield server
    finally:
        listening.close()
        await listening.wait_closed()


async def _head(reader: asyncio.StreamReader) -> str:
    try:
        return (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return ""


async def _answered(answer: Callable[[Answer], Awaitable[None]], to: Answer) -> None:
    try:
        await answer(to)
    except ConnectionError:
        return
