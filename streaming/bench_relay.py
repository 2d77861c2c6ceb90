"""A bad network on this machine: a UDP relay that loses, delays, reorders and repeats packets.

It stands between a WebRTC client and the server: the candidates in offer and answer are replaced by its own
(RFC 8445 knows it as a NAT), so that neither learns of a direct way. One relay for one connection.
"""

import asyncio
import random
import re
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Self, cast

from streaming.webrtc.client import Exchange

Address = tuple[str, int]

_CANDIDATE = re.compile(r"^a=candidate:\S+ (\d) udp \d+ (\S+) (\d+) typ host.*\r?\n", re.MULTILINE | re.I)
_ANY_CANDIDATE = re.compile(r"^a=(candidate:.*|end-of-candidates)\r?\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Weather:
    """What happens to each packet, each way, drawn independently: `loss` and `twice` are shares, 0 to 1.

    It takes `delay_s`, and up to `jitter_s` more; packets overtake each other so, unless they are `in_order`.
    """

    loss: float = 0.0
    delay_s: float = 0.0
    jitter_s: float = 0.0
    twice: float = 0.0
    in_order: bool = False


_APART_S = 1e-6
"""Between packets in order: timers of the same moment may go off in any."""

FAIR = Weather()


class Relay:
    """Takes packets of the client at one address and of the server at another; a context of an event loop.

    `weather` may be changed at any time. `counts`: packets "taken", "lost", "passed".
    """

    def __init__(self, weather: Weather = FAIR, seed: int = 0, host: str = "127.0.0.1") -> None:
        self.weather = weather
        self.counts: Counter[str] = Counter()
        self._host = host
        self._dice = random.Random(seed)
        self._client = _Side(self)
        self._server = _Side(self)
        self._client.other, self._server.other = self._server, self._client
        self._loop = asyncio.get_running_loop()

    async def __aenter__(self) -> Self:
        for side in (self._client, self._server):
            await self._loop.create_datagram_endpoint(partial(_itself, side), local_addr=(self._host, 0))
        return self

    async def __aexit__(self, *_: object) -> None:
        for side in (self._client, self._server):
            if side.transport is not None:
                side.transport.close()

    def between(self, exchange: Exchange) -> Exchange:
        """The exchange of an offer for an answer, after which everything goes through this relay."""

        async def post(offer: str) -> str:
            answer = await exchange(self.offer(offer))
            return self.answer(answer)

        return post

    def offer(self, sdp: str) -> str:
        """A client's offer as the server should see it."""
        return _with_candidate(sdp, self._server.address)

    def answer(self, sdp: str) -> str:
        """A server's answer as the client should see it. Raises ValueError when it has no candidate."""
        found = _CANDIDATE.search(sdp)
        if found is None:
            raise ValueError("the answer has no candidate of the server's own")
        self._server.peer = found[2], int(found[3])
        return _with_candidate(sdp, self._client.address)

    def carry(self, data: bytes, way: "_Side") -> None:
        """Take a packet that is to leave by a side."""
        self.counts["taken"] += 1
        weather, dice = self.weather, self._dice
        if dice.random() < weather.loss:
            self.counts["lost"] += 1
            return
        for _ in range(2 if dice.random() < weather.twice else 1):
            due = self._loop.time() + weather.delay_s + dice.random() * weather.jitter_s
            if weather.in_order:
                due = way.last = max(due, way.last + _APART_S)
            self._loop.call_at(due, way.send, data)

    def passed(self) -> None:
        """Count a packet that left."""
        self.counts["passed"] += 1


class _Side(asyncio.DatagramProtocol):
    """One of the two addresses. It speaks to whoever spoke to it first: others are further ways of ICE."""

    other: "_Side"

    def __init__(self, relay: Relay) -> None:
        self.transport: asyncio.DatagramTransport | None = None
        self.peer: Address | None = None
        self.last = 0.0
        self._relay = relay

    @property
    def address(self) -> Address:
        """Where it listens."""
        assert self.transport is not None
        host, port = self.transport.get_extra_info("sockname")[:2]
        return str(host), int(port)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        if self.peer is None:
            self.peer = addr
        if self.peer == addr:
            self._relay.carry(data, self.other)

    def send(self, data: bytes) -> None:
        """Now."""
        if self.peer is not None and self.transport is not None and not self.transport.is_closing():
            self._relay.passed()
            self.transport.sendto(data, self.peer)


def _itself(side: _Side) -> _Side:
    return side


def _with_candidate(sdp: str, address: Address) -> str:
    """The description with one candidate instead of its own, in each of its sections that has any."""
    host, port = address
    candidate = f"a=candidate:1 1 udp 2130706431 {host} {port} typ host\r\na=end-of-candidates\r\n"
    head, *sections = re.split(r"(?m)^(?=m=)", sdp)
    return head + "".join(_ANY_CANDIDATE.sub("", section) + candidate for section in sections)
