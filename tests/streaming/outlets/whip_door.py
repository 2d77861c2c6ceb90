"""A WHIP endpoint that looks at what it gets: `python -m tests.streaming.outlets.whip_door PORT [TOKEN]`."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import av
import numpy as np
import uvicorn
from aiortc import RTCBundlePolicy, RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from fastapi import FastAPI, Request, Response
from numpy.typing import NDArray

from streaming.webrtc.client import MarkedFrames
from streaming.webrtc.ending import close_connection
from streaming.webrtc.receive import ArrivalOrder, replace_jitter_buffer
from tests.streaming.conftest import eventually
from tests.streaming.outlets.station import beeps, read_card


@dataclass
class Door:
    """What the endpoint was asked and what it saw; times are the event loop's."""

    token: str | None = None
    moved: str = ""
    """Where /old/away redirects to."""
    codec: str | None = None
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """(method and path, Authorization) of each request."""
    pictures: list[tuple[float, int]] = field(default_factory=list)
    sounds: list[tuple[float, NDArray[np.float32]]] = field(default_factory=list)
    peers: dict[str, RTCPeerConnection] = field(default_factory=dict)
    links: list[str] = field(default_factory=list)
    mime_types: list[str] = field(default_factory=list)
    saw: Callable[[int], None] = lambda slot: None
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def beeps(self) -> list[float]:
        """When beeps arrived."""
        return beeps([block for _, block in self.sounds], [time for time, _ in self.sounds])

    @property
    def offsets(self) -> list[float]:
        """For each beep, how much later it arrived than its picture."""
        starts = [time for time, slot in self.pictures if slot % 25 == 0]
        nearest = [(min(starts, key=lambda s: abs(s - beep), default=-9.0), beep) for beep in self.beeps]
        return [beep - start for start, beep in nearest if abs(beep - start) < 0.4]

    async def answer(self, offer: str) -> str:
        pc = RTCPeerConnection(RTCConfiguration([], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
        name = f"peer{len(self.peers)}"
        self.peers[name] = pc
        if self.codec:
            known = RTCRtpSender.getCapabilities("video").codecs
            picture = pc.addTransceiver("video", direction="recvonly")
            picture.setCodecPreferences([codec for codec in known if codec.mimeType.lower() == self.codec])
        await pc.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        for transceiver in pc.getTransceivers():
            video = transceiver.kind == "video"
            replace_jitter_buffer(transceiver.receiver, MarkedFrames() if video else ArrivalOrder())
            task = asyncio.create_task(self._look(transceiver.receiver.track))
            self.tasks.add(task)
        await pc.setLocalDescription()
        self.mime_types.append(
            next(line for line in pc.localDescription.sdp.splitlines() if "90000" in line).split()[1]
        )
        return str(pc.localDescription.sdp)

    async def close(self) -> None:
        for pc in self.peers.values():
            await close_connection(pc)
        # Tracks of a connection that never stood do not end by themselves.
        for task in self.tasks:
            task.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks)

    async def _look(self, track: MediaStreamTrack) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            if isinstance(frame, av.VideoFrame):
                slot = read_card(frame)
                self.pictures.append((clock(), slot))
                self.saw(slot)
            elif isinstance(frame, av.AudioFrame):
                block = frame.to_ndarray().reshape(-1, len(frame.layout.channels))[:, 0]
                self.sounds.append((clock(), np.asarray(block / 32768, np.float32)))


def create_door(door: Door) -> FastAPI:
    """The endpoint is /whip/here, and /old redirects to it."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await door.close()

    app = FastAPI(lifespan=lifespan)

    @app.middleware("http")
    async def note(request: Request, go_on):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        door.asked.append((f"{request.method} {request.url.path}", request.headers.get("authorization")))
        return await go_on(request)

    @app.options("/whip/here")
    async def options() -> Response:
        response = Response()
        for link in door.links:
            response.headers.append("Link", link)
        return response

    @app.post("/whip/here")
    async def post(request: Request) -> Response:
        if door.token and request.headers.get("authorization") != f"Bearer {door.token}":
            return Response(status_code=401)
        answer = await door.answer((await request.body()).decode())
        location = f"../session/peer{len(door.peers) - 1}"
        return Response(answer, 201, {"Location": location}, "application/sdp")

    @app.post("/old/{way}")
    async def old(way: str) -> Response:
        target = {"relative": "/whip/here", "circle": "/old/circle", "away": door.moved}[way]
        return Response(status_code=307, headers={"Location": target})

    @app.delete("/session/{name}")
    async def delete(name: str) -> Response:
        await close_connection(door.peers[name])
        return Response()

    return app


class _Door(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the test run's."""
        yield


@contextlib.asynccontextmanager
async def open_door(door: Door, port: int) -> AsyncIterator[str]:
    """The endpoint on loopback; its base address."""
    config = uvicorn.Config(create_door(door), port=port, log_config=None, timeout_graceful_shutdown=1)
    server = _Door(config)
    running = asyncio.create_task(server.serve())
    await eventually(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await running


def main(port: int, token: str | None) -> None:
    """Serve until killed; a line of JSON for each picture."""
    door = Door(token, saw=lambda slot: print(json.dumps(slot), flush=True))
    uvicorn.run(create_door(door), port=port, log_config=None)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)
