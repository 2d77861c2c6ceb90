"""The bad network of the benchmarks: what it does to packets, and that WebRTC goes through it."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import closing

import httpx
import pytest

from streaming.bench_relay import Relay, Weather
from streaming.webrtc.client import Watcher
from tests.streaming.conftest import eventually, exchange

OFFER = (
    "v=0\r\ns=-\r\nm=audio 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\n"
    "a=candidate:1 1 udp 2130706431 192.0.2.7 40000 typ host\r\n"
    "a=candidate:2 1 tcp 1518214911 192.0.2.7 9 typ host tcptype active\r\na=end-of-candidates\r\n"
    "m=video 9 UDP/TLS/RTP/SAVPF 97\r\na=mid:1\r\n"
)


class Ends:
    """A client and a server that speak UDP through a relay."""

    def __init__(self, relay: Relay) -> None:
        self.client, self.server = _listening(), _listening()
        host, port = self.server.getsockname()
        self.answer = relay.answer(OFFER.replace("192.0.2.7 40000", f"{host} {port}"))
        self.seen_by_client = _address(self.answer)
        self.seen_by_server = _address(relay.offer(OFFER))
        self.heard: list[bytes] = []

    def say(self, number: int) -> None:
        self.client.sendto(b"%d" % number, self.seen_by_client)

    def listen(self) -> list[int]:
        """What the server has heard."""
        while True:
            try:
                self.heard.append(self.server.recv(100))
            except BlockingIOError:
                return [int(packet) for packet in self.heard]


def _listening() -> socket.socket:
    end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    end.bind(("127.0.0.1", 0))
    end.setblocking(False)
    return end


def _address(sdp: str) -> tuple[str, int]:
    line = next(line for line in sdp.splitlines() if line.startswith("a=candidate"))
    return line.split()[4], int(line.split()[5])


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    async with Relay(seed=1) as relay:
        yield relay


async def said(relay: Relay, count: int) -> list[int]:
    """What the server hears of so many packets, once nothing is under way."""
    ends = Ends(relay)
    with closing(ends.client), closing(ends.server):
        for number in range(count):
            ends.say(number)
            if number % 20 == 19:
                await asyncio.sleep(0.001)
                ends.listen()  # sockets hold no more than some hundred
        await eventually(lambda: relay.counts["taken"] == count)
        under_way = [relay.counts["passed"], -1]
        while under_way[0] != under_way[1]:
            await asyncio.sleep(0.3)
            under_way = [relay.counts["passed"], under_way[0]]
        return ends.listen()


async def test_in_fair_weather_everything_arrives_as_it_was(relay: Relay) -> None:
    assert await said(relay, 200) == list(range(200))
    assert relay.counts == {"taken": 200, "passed": 200}


async def test_it_goes_both_ways_and_to_whoever_spoke_first(relay: Relay) -> None:
    ends = Ends(relay)
    with closing(ends.client), closing(ends.server), closing(_listening()) as stranger:
        ends.say(1)
        await eventually(lambda: ends.listen() == [1])
        stranger.sendto(b"2", ends.seen_by_client)
        ends.server.sendto(b"3", ends.seen_by_server)
        loop = asyncio.get_running_loop()
        assert await asyncio.wait_for(loop.sock_recv(ends.client, 100), 10) == b"3"
        assert ends.listen() == [1]


async def test_so_much_is_lost_and_the_same_again_by_the_same_seed(relay: Relay) -> None:
    relay.weather = Weather(loss=0.2)
    heard = await said(relay, 1000)
    assert 720 < len(heard) < 880
    assert heard == sorted(heard)
    async with Relay(relay.weather, seed=1) as again:
        assert await said(again, 1000) == heard


async def test_jitter_lets_packets_overtake_each_other_unless_told_otherwise(relay: Relay) -> None:
    relay.weather = Weather(jitter_s=0.1)
    heard = await said(relay, 200)
    assert heard != sorted(heard)
    assert sorted(heard) == list(range(200))
    async with Relay(Weather(jitter_s=0.1, in_order=True)) as straight:
        assert await said(straight, 200) == list(range(200))


async def test_packets_may_come_twice_and_late(relay: Relay) -> None:
    relay.weather = Weather(twice=0.5, delay_s=0.2)
    clock = asyncio.get_running_loop().time
    began = clock()
    heard = await said(relay, 100)
    assert clock() - began > 0.2
    assert set(heard) == set(range(100))
    assert 115 < len(heard) < 185


def test_offer_and_answer_name_the_relay_alone() -> None:
    async def rewritten() -> tuple[str, str]:
        async with Relay() as relay:
            return relay.offer(OFFER), relay.answer(OFFER)

    for text in asyncio.run(rewritten()):
        assert "192.0.2.7" not in text
        assert text.count("a=candidate") == text.count("a=end-of-candidates") == text.count("\r\nm=") == 2
        assert text.count("127.0.0.1") == 2


async def test_an_answer_without_candidates_is_refused(relay: Relay) -> None:
    with pytest.raises(ValueError, match="no candidate"):
        relay.answer("v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 96\r\n")


async def test_a_viewer_watches_through_it_and_no_other_way(
    http: httpx.AsyncClient, session: dict[str, str], relay: Relay
) -> None:
    watcher = Watcher()
    await watcher.connect(relay.between(exchange(http, session["whep"])))
    await watcher.pictures.recv()
    through = relay.counts["passed"]
    await watcher.pictures.recv()
    assert relay.counts["passed"] > through
    relay.weather = Weather(loss=1.0)
    await asyncio.sleep(0.1)  # what was decoded already
    arrived = len(watcher.frames.arrived)
    await asyncio.sleep(0.3)
    assert len(watcher.frames.arrived) == arrived
    await watcher.close()
