"""A voice's service that hangs, stalls, trickles or dies, while presenters speak."""

import asyncio
import contextlib
import json
import math
from collections.abc import AsyncIterator

from streaming.bench_faults import (
    Command,
    Figure,
    Opened,
    Show,
    at_most,
    open_session,
    running_show,
    speak,
    status,
    told,
    until,
)
from streaming.bench_server import server_command
from streaming.pacing import TICK_S
from streaming.process_figures import need_proc, read_process

_RATE = 24_000
_PATIENCE_S = 1.0
_LONG_S = 20.0
_SENTENCE = "Nobody knows how this will end."
_WAYS = {
    "hangs": "voice hangs before its first sound",
    "stalls": "voice hangs amid a sentence",
    "trickles": "voice slower than speech",
    "dies": "voice's connection dies",
}


class BadService:
    """OpenAI's speech endpoint by HTTP/1.1, on loopback; the voice's name says how it misbehaves.

    `open` counts requests that are being answered.
    """

    def __init__(self) -> None:
        self.open = 0
        self.url = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        self.open += 1
        gone = asyncio.create_task(self._until_gone(reader, writer))
        try:
            await asyncio.wait([gone])
        finally:
            gone.cancel()
            self.open -= 1
            writer.close()

    async def _until_gone(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line
            )
            way = json.loads(await reader.readexactly(length))["voice"]
            talk = asyncio.create_task(self._talk(way, writer))
            # The server gives a voice up by closing the connection, which is read as its end.
            over = asyncio.create_task(reader.read(1))
            await asyncio.wait([talk, over], return_when=asyncio.FIRST_COMPLETED)
            talk.cancel()
            over.cancel()

    async def _talk(self, way: str, writer: asyncio.StreamWriter) -> None:
        if way == "hangs":
            await asyncio.sleep(math.inf)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: audio/pcm\r\nTransfer-Encoding: chunked\r\n\r\n")
        half_s = b"\x10\x00" * (_RATE // 2)
        writer.write(b"%x\r\n%b\r\n" % (len(half_s), half_s))
        await writer.drain()
        if way == "dies":
            writer.transport.abort()
        while way == "trickles":  # at a fifth of the speed of speech
            await asyncio.sleep(0.1)
            writer.write(b"%x\r\n%b\r\n" % (_RATE // 25, b"\x10\x00" * (_RATE // 50)))
        await asyncio.sleep(math.inf)


@contextlib.asynccontextmanager
async def bad_service() -> AsyncIterator[BadService]:
    """A service that listens."""
    service = BadService()
    server = await asyncio.start_server(service.answer, "127.0.0.1", 0)
    service.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield service
    finally:
        server.close()


async def bad_voice(command: Command = server_command) -> list[Figure]:
    """Each way a voice fails in a session of its own, one after another; two others speak on."""
    need_proc()
    async with (
        bad_service() as service,
        running_show(
            2,
            command,
            most=3,
            openai_voice_url=service.url,
            openai_voices=tuple(_WAYS),
            voice_patience_s=_PATIENCE_S,
            fallback_voice="espeak",
        ) as show,
    ):
        stretch = show.stretch(more=1)
        session = await open_session(show.server)
        await stretch.begin()
        await asyncio.sleep(4)
        before = await stretch.end()
        held = read_process(show.server.process.pid).descriptors
        await stretch.begin()
        figures = [one for way in _WAYS for one in await _one(show, session, service, way)]
        during = await stretch.end()
        await asyncio.sleep(1)
        left = read_process(show.server.process.pid).descriptors - held
    fault = "bad voices, together"
    return [
        *figures,
        told(fault, "tick lateness p99, before", before.p99_ms, "ms"),
        told(fault, "tick lateness p99, during", during.p99_ms, "ms"),
        at_most(fault, "late ticks, share more than before", during.late_share - before.late_share, 0.01),
        at_most(fault, "requests left open", service.open, 0),
        at_most(fault, "descriptors left", left, 2),
    ]


async def _one(show: Show, session: Opened, service: BadService, way: str) -> list[Figure]:
    server, fault = show.server, _WAYS[way]
    clock = asyncio.get_running_loop().time

    async def asked() -> bool:
        return service.open > 0

    async def over() -> bool:
        return service.open == 0

    error = (await status(server, session))["voice_error"]
    await speak(server, session, _SENTENCE, f"openai:{way}")
    await until(asked, _PATIENCE_S)
    await asyncio.sleep(_PATIENCE_S / 4)
    cut = clock()
    await server.request("POST", f"{session.path}/interrupt")
    cut_s = clock() - cut
    over_s = await until(over, 5)
    await speak(server, session, _SENTENCE, f"openai:{way}")
    began = clock()

    async def failed() -> bool:
        found = (await status(server, session))["voice_error"]
        return found is not None and found != error

    async def fallback_speaks() -> bool:
        found = await status(server, session)
        return bool(found["backlog_ms"] > 1000)

    told_s = await until(failed, _LONG_S)
    await until(fallback_speaks, _LONG_S)
    spoken_s = clock() - began
    await server.request("POST", f"{session.path}/interrupt")
    return [
        at_most(fault, "told after", 1000 * told_s, 2500 * _PATIENCE_S, "ms"),
        at_most(fault, "the other voice speaks after", 1000 * spoken_s, 3000 * _PATIENCE_S, "ms"),
        at_most(fault, "interrupt meanwhile obeyed within", 1000 * cut_s, 2000 * TICK_S, "ms"),
        at_most(fault, "its request closed within", 1000 * over_s, 1000, "ms"),
    ]
