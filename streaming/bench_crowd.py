"""Busy sessions of a benchmark: each with a microphone or texts and a viewer that costs little."""

import asyncio
import contextlib
import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from engine.errors import KouboError
from streaming.bench_clip import EncodedClip, EncodedMicrophone
from streaming.bench_delay import mic_to_mouth
from streaming.bench_server import Server
from streaming.encoding.base import Codec
from streaming.webrtc.client import publish
from streaming.webrtc.ending import close_connection
from streaming.webrtc.light import LightWatcher

_APART_S = 7
"""Clients begin so many seconds of the clip apart."""

_PACKETS_PER_SECOND = 50

_REFILL_S = 4.0
_TEXT = " ".join(f"This is sentence number {101 * n + 17}, and nobody interrupts." for n in range(10))

Source: TypeAlias = Literal["microphone", "text"]
SOURCES: tuple[Source, ...] = get_args(Source)
"""What makes presenters of a benchmark speak."""


@dataclass(frozen=True, slots=True)
class Client:
    """One session from outside; `path` is its address at the server, `microphone` None where texts speak."""

    path: str
    microphone: EncodedMicrophone | None
    watcher: LightWatcher


class Crowd:
    """All the busy sessions of a server, watched in one codec; `stack` ends them."""

    def __init__(
        self,
        server: Server,
        clip: EncodedClip,
        stack: AsyncExitStack,
        codec: Codec = "h264",
        source: Source = "microphone",
    ) -> None:
        self.clients: list[Client] = []
        self._server = server
        self._clip = clip
        self._stack = stack
        self._codec = codec
        self._source = source

    async def enter(self, avatar: str | None = None) -> None:
        """One session more, of the server's default presenter or another. Raises KouboError."""
        body = json.dumps({"avatar": avatar} if avatar else {})
        opened = json.loads(await self._server.request("POST", "/v1/sessions", body, "application/json"))
        watcher = LightWatcher(self._codec)
        self._stack.push_async_callback(watcher.close)
        await watcher.connect(self._server.exchange(opened["whep"]))
        path, microphone = f"/v1/sessions/{opened['id']}", None
        if self._source == "microphone":
            first = len(self.clients) * _APART_S * _PACKETS_PER_SECOND % len(self._clip.packets)
            microphone = EncodedMicrophone(self._clip, first)
            sender = await publish(microphone, self._server.exchange(opened["whip"]))
            self._stack.push_async_callback(close_connection, sender)
        else:
            texts = asyncio.create_task(self._dictate(path))
            self._stack.push_async_callback(_end, texts)
        self.clients.append(Client(path, microphone, watcher))

    async def _dictate(self, path: str) -> None:
        """Keep a session's queue of texts full."""
        body = json.dumps({"text": _TEXT})
        while True:
            with contextlib.suppress(KouboError):  # enough texts wait
                await self._server.request("POST", f"{path}/speak", body, "application/json")
            await asyncio.sleep(_REFILL_S)

    def delays_ms(self, spans: Sequence[tuple[float, float]]) -> list[list[float]]:
        """How long sounds took to the mouth in each (since, until) of the loop's clock, in milliseconds.

        Once, when all is measured: it is work that would disturb. Empty where texts speak. Raises KouboError
        when no sound came back.
        """
        if self._source == "text":
            return [[] for _ in spans]
        heard = [client.watcher.heard() for client in self.clients]
        found = [
            [
                1000 * delay
                for client, sounds in zip(self.clients, heard, strict=True)
                if client.microphone is not None
                for delay in mic_to_mouth(client.microphone, client.watcher.arrived, sounds, since, until)
            ]
            for since, until in spans
        ]
        if not all(found):
            raise KouboError("No sound came back from the server; check its log.")
        return found


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
