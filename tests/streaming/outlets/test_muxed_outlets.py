"""What leaves through RTMP, UDP and SRT, into files and playlists, is what went in, and in time."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest

from streaming.outlets.base import Assignment, Outlet
from streaming.outlets.hls import open_hls
from streaming.outlets.mp4 import open_mp4
from streaming.outlets.rtmp import open_rtmp
from streaming.outlets.udp import open_udp
from tests.streaming.outlets.conftest import Ear, Receiver, free_port, listening, stop
from tests.streaming.outlets.station import Seen, Station, look

Assign = Callable[..., Assignment]
Receive = Callable[..., Awaitable[Receiver]]
FRAME_S = 0.04


def check(seen: Seen, least: int) -> None:
    """Every picture in order, none missing, each at its time; sound with its picture."""
    assert len(seen.slots) >= least
    assert np.all(np.diff(seen.slots) == 1), seen.slots
    times = np.array([time for time, _ in seen.pictures])
    assert np.abs(np.diff(times) - FRAME_S).max() < 0.0015
    assert len(seen.offsets) >= 2
    assert np.abs(seen.offsets).max() <= FRAME_S, seen.offsets


def begin(outlet: Outlet) -> tuple[asyncio.Task[None], Ear]:
    ear = Ear()
    return asyncio.ensure_future(outlet.run(ear)), ear


async def test_rtmp(station: Station, assign: Assign, receive: Receive, tmp_path: Path) -> None:
    port = free_port()
    url = f"rtmp://127.0.0.1:{port}/live/key"
    peer = await receive(url, tmp_path / "got.mkv", "listen=1")
    await listening(port)
    task, ear = begin(open_rtmp(assign(url)))
    await peer.until(90)
    assert await stop(task) < 3
    await peer.finish()
    check(look(tmp_path / "got.mkv"), 85)
    assert ear.lives == 1
    assert ear.bytes > 5_000


async def test_udp(station: Station, assign: Assign, receive: Receive, tmp_path: Path) -> None:
    port = free_port(socket.SOCK_DGRAM)
    url = f"udp://127.0.0.1:{port}"
    task, _ = begin(open_udp(assign(url)))
    peer = await receive(url, tmp_path / "got.mkv", "timeout=2000000", "fflags=nobuffer")
    await peer.until(90)
    assert await stop(task) < 3
    await peer.finish()
    # It joins in the middle: pictures before its first key frame cannot be shown.
    check(look(tmp_path / "got.mkv"), 40)


async def test_mp4(station: Station, assign: Assign, tmp_path: Path) -> None:
    outlet = open_mp4(assign("mp4:"))
    task, _ = begin(outlet)
    await asyncio.sleep(4)
    assert await stop(task) < 3
    assert outlet.place == "session-now.mp4"
    seen = look(tmp_path / "recordings" / "session-now.mp4")
    check(seen, 70)
    assert seen.metadata["AIGC"] == "{}"


async def test_hls(station: Station, assign: Assign, tmp_path: Path) -> None:
    outlet = open_hls(assign("hls:"))
    task, _ = begin(outlet)
    await asyncio.sleep(5)
    assert await stop(task) < 3
    assert outlet.place is not None
    folder = tmp_path / "recordings" / outlet.place.strip("/")
    check(look(folder), 90)
