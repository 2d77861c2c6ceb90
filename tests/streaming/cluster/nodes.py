"""Several Ray nodes on this machine, each with a loopback address of its own, and viewers who count ticks."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import httpx
from aiortc.jitterbuffer import JitterFrame
from aiortc.rtp import RtpPacket

from streaming.webrtc.client import Watcher
from streaming.webrtc.receive import replace_jitter_buffer
from tests.streaming.conftest import SDP, eventually

TICK = 3600
"""A tick of 40 ms on the clock of RTP video."""


@contextmanager
def ray_nodes(count: int, cpus: float = 1) -> Iterator[Any]:
    """A `ray.cluster_utils.Cluster`; its head, which nobody kills, has the resource `front`."""
    ray: Any = import_module("ray")
    nodes = import_module("ray.cluster_utils").Cluster()
    common = {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": 80 << 20}
    try:
        nodes.add_node(resources={"front": 10}, node_ip_address="127.0.0.2", **common)
        for number in range(1, count):
            nodes.add_node(node_ip_address=f"127.0.0.{2 + number}", **common)
        yield nodes
    finally:
        ray.shutdown()
        nodes.shutdown()


class Counted:
    """A jitter buffer that gives nothing out and keeps the RTP time of every picture."""

    def __init__(self) -> None:
        self.times: list[int] = []
        self.last_s = 0.0

    def add(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
        """Note a packet."""
        self.last_s = time.monotonic()
        if not self.times or packet.timestamp != self.times[-1]:
            self.times.append(packet.timestamp)
        return False, None

    @property
    def steps(self) -> set[int]:
        """Ticks from one picture to the next: {1} where none is missing."""
        pairs = zip(self.times, self.times[1:], strict=False)
        return {((after - before) & 0xFFFFFFFF) // TICK for before, after in pairs}


class CountingViewer:
    """Watches one session through a gateway, and counts its ticks."""

    def __init__(self, session: dict[str, str]) -> None:
        self.session = session
        self.counted = Counted()
        self._watcher = Watcher(decode=False)
        video = self._watcher.pc.getTransceivers()[0]
        assert video.kind == "video"
        assert replace_jitter_buffer(video.receiver, self.counted)

    async def connect(self, http: httpx.AsyncClient) -> None:
        """Watch, and wait until pictures come."""

        async def exchange(offer: str) -> str:
            response = await http.post(self.session["whep"], content=offer, headers=SDP)
            assert response.status_code == 201, response.text
            return response.text

        await self._watcher.connect(exchange)
        await eventually(lambda: len(self.counted.times) >= 5, timeout_s=30)

    async def close(self) -> None:
        """Stop watching."""
        await self._watcher.close()
