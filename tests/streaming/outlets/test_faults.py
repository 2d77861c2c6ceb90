"""Peers that are killed, stuck, full or lying, through the server's own API."""

import asyncio
import os
import shutil
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest

from streaming.outlets import muxing
from streaming.settings import Settings
from tests.streaming.conftest import eventually
from tests.streaming.outlets.conftest import Receiver, free_port, listening

Receive = Callable[..., Awaitable[Receiver]]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        default_avatar="fake",
        max_outlets=3,
        outlet_networks=(IPv4Network("127.0.0.0/8"),),
        recordings=tmp_path / "recordings",
        recordings_min_free_mb=1,
        label="en",
    )


@pytest.fixture
async def outlets(http: httpx.AsyncClient, session: dict[str, str]) -> "Outlets":
    return Outlets(http, f"/v1/sessions/{session['id']}")


class Outlets:
    """The outlets of a session, as a client sees them."""

    def __init__(self, http: httpx.AsyncClient, session: str) -> None:
        self.http = http
        self.session = session

    async def add(self, **fields: str) -> str:
        response = await self.http.post(f"{self.session}/outlets", json=fields)
        assert response.status_code == 201, response.text
        location: str = response.headers["location"]
        assert location == f"{self.session}/outlets/{response.json()['id']}"
        return location

    async def get(self, location: str) -> dict[str, Any]:
        found: dict[str, Any] = (await self.http.get(location)).json()
        return found

    async def until(self, location: str, state: str, timeout_s: float = 15) -> dict[str, Any]:
        async def reached() -> bool:
            return bool((await self.get(location))["state"] == state)

        await eventually(reached, timeout_s)
        return await self.get(location)

    async def ticks(self) -> dict[str, Any]:
        shown: dict[str, Any] = (await self.http.get(self.session)).json()
        return shown


async def test_a_killed_rtmp_server_comes_back_while_the_recording_goes_on(
    outlets: Outlets, receive: Receive, tmp_path: Path
) -> None:
    port = free_port()
    url = f"rtmp://127.0.0.1:{port}/live/very-secret-key"
    first = await receive(url, tmp_path / "first.mkv", "listen=1")
    await listening(port)
    recording = await outlets.add(url="mp4:")
    rtmp = await outlets.add(url=url)
    shown = await outlets.until(rtmp, "live")
    assert shown["url"] == f"rtmp://127.0.0.1:{port}/…"
    await first.until(25)
    await first.kill()
    shown = await outlets.until(rtmp, "waiting")
    assert shown["error"].endswith(".")
    assert "very-secret-key" not in str(shown)
    assert shown["retry_in_s"] is not None
    second = await receive(url, tmp_path / "second.mkv", "listen=1")
    shown = await outlets.until(rtmp, "live", 40)
    assert shown["reconnects"] == 1
    await second.until(25)
    assert second.pictures >= 25

    shown = await outlets.until(recording, "live")
    name = shown["place"]
    ticks = await outlets.ticks()
    assert ticks["state"] == "live"
    assert (await outlets.http.delete(recording)).status_code == 204
    assert (await outlets.http.delete(rtmp)).status_code == 204
    assert (await outlets.http.get(f"{outlets.session}/outlets")).json() == []
    times = pictures(tmp_path / "recordings" / name)
    assert np.diff(times).max() < 1
    # It holds what the session showed while the server was gone.
    assert times[-1] > 4


def pictures(path: Path) -> list[float]:
    """Times of the pictures of a file, decoded to its end."""
    with av.open(str(path)) as container:
        return [frame.time for frame in container.decode(video=0) if frame.time is not None]


async def test_a_stuck_peer_stalls_nobody_and_is_left_within_three_seconds(
    outlets: Outlets, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        stuck = await outlets.add(url=f"rtmp://127.0.0.1:{mute.getsockname()[1]}/live/key")
        recording = await outlets.add(url="mp4:")
        await outlets.until(recording, "live")
        await asyncio.sleep(2)
        assert (await outlets.get(stuck))["state"] == "connecting"
        assert (await outlets.ticks())["tick_lateness_ms"]["p50"] < 40
        began = asyncio.get_running_loop().time()
        assert (await outlets.http.delete(stuck)).status_code == 204
        assert asyncio.get_running_loop().time() - began < 3


@pytest.mark.slow
async def test_a_peer_that_stops_reading_is_given_up(
    outlets: Outlets, receive: Receive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(muxing, "STALL_S", 1.0)
    recording = await outlets.add(url="mp4:")
    shown = await outlets.until(recording, "live")
    worker = children()[0]
    os.kill(worker, signal.SIGSTOP)
    try:
        # The pipe has room for some time.
        shown = await outlets.until(recording, "waiting", 60)
    finally:
        os.kill(worker, signal.SIGCONT) if worker in children() else None
    assert "taken nothing" in shown["error"]
    shown = await outlets.until(recording, "live")
    assert shown["reconnects"] == 1
    assert worker not in children()


def children() -> list[int]:
    """Muxing processes of this one."""
    path = Path(f"/proc/{os.getpid()}/task")
    pids = [int(pid) for task in path.iterdir() for pid in (task / "children").read_text().split()]
    return [pid for pid in pids if b"streaming.outlets.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@pytest.mark.slow
async def test_a_killed_muxing_process_leaves_a_file_that_plays_and_a_new_one_begins(
    outlets: Outlets, tmp_path: Path
) -> None:
    recording = await outlets.add(url="mp4:")
    first = (await outlets.until(recording, "live"))["place"]
    await asyncio.sleep(4.5)
    os.kill(children()[0], signal.SIGKILL)
    await outlets.until(recording, "waiting")
    second = (await outlets.until(recording, "live"))["place"]
    assert second != first
    assert pictures(tmp_path / "recordings" / first)[-1] >= 1.5
    await outlets.http.delete(recording)
    assert not children()


async def test_a_full_disk_ends_a_recording_in_a_sentence(
    outlets: Outlets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 10 << 30

    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage)
    recording = await outlets.add(url="mp4:")
    shown = await outlets.until(recording, "live")
    await asyncio.sleep(1)
    Usage.free = 1 << 19
    shown = await outlets.until(recording, "ended")
    assert "free" in shown["error"]
    assert pictures(tmp_path / "recordings" / shown["place"])
    # What ended stays in the list, with its reason, until it is removed.
    assert (await outlets.http.delete(recording)).status_code == 204


async def test_playlists_are_served_and_nothing_else(outlets: Outlets, tmp_path: Path) -> None:
    (tmp_path / "recordings").mkdir(exist_ok=True)
    (tmp_path / "recordings" / "private.mp4").write_bytes(b"no")
    hls = await outlets.add(url="hls:")
    shown = await outlets.until(hls, "live")

    async def listed() -> bool:
        return (await outlets.http.get(shown["place"])).status_code == 200

    await eventually(listed, 15)
    playlist = await outlets.http.get(shown["place"])
    assert playlist.headers["content-type"] == "application/vnd.apple.mpegurl"
    base = shown["place"].rpartition("/")[0]
    segment = next(line for line in playlist.text.splitlines() if line.endswith(".m4s"))
    got = await outlets.http.get(f"{base}/{segment}")
    assert got.headers["content-type"] == "video/iso.segment"
    first = await outlets.http.get(f"{base}/init.mp4")
    assert b"AIGC" in first.content
    (tmp_path / "whole.mp4").write_bytes(first.content + got.content)
    assert len(pictures(tmp_path / "whole.mp4")) >= 45
    for path in (
        "%2e%2e/private.mp4",
        "..%2fprivate.mp4/x.ts",
        "x/%2e%2e%2fprivate.mp4",
        "nothing/index.m3u8",
    ):
        assert (await outlets.http.get(f"/hls/{path}")).status_code == 404


async def test_what_cannot_be_an_outlet_is_refused(outlets: Outlets) -> None:
    url = f"{outlets.session}/outlets"
    for given, word in (
        ("ftp://example.com/x", "ftp"),
        ("rtmp://10.0.0.1/live/secret-key", "public"),
        ("not a url", "URL"),
        ("udp://127.0.0.1", "port"),
        ("camera://host/dev", "camera"),
    ):
        response = await outlets.http.post(url, json={"url": given})
        assert response.status_code == 422, given
        assert word in response.json()["detail"]
        assert "secret-key" not in response.text
    response = await outlets.http.post(url, json={"url": "mp4:", "video_codec": "vp8"})
    assert response.status_code == 422
    assert (await outlets.http.get(f"{url}/nothing")).status_code == 404
    assert (await outlets.http.delete(f"{url}/nothing")).status_code == 404
    assert (await outlets.http.get(url)).json() == []


async def test_there_is_a_limit(outlets: Outlets) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", 0))
        address = f"udp://127.0.0.1:{sink.getsockname()[1]}"
        for _ in range(3):
            await outlets.add(url=address)
        response = await outlets.http.post(f"{outlets.session}/outlets", json={"url": address})
    assert response.status_code == 503
    assert "3 outlets" in response.json()["detail"]


@pytest.mark.slow
async def test_the_end_of_a_session_finishes_its_files(outlets: Outlets, tmp_path: Path) -> None:
    recording = await outlets.add(url="mp4:")
    shown = await outlets.until(recording, "live")
    await asyncio.sleep(1)
    assert (await outlets.http.delete(outlets.session)).status_code == 204
    assert pictures(tmp_path / "recordings" / shown["place"])
    assert not children()


@pytest.mark.slow
async def test_figures_count_outlets(outlets: Outlets) -> None:
    recording = await outlets.add(url="mp4:")
    await outlets.until(recording, "live")
    text = (await outlets.http.get("/metrics")).text
    assert 'koubo_outlets{kind="mp4",state="live"} 1.0' in text
    await asyncio.sleep(1.5)
    await outlets.http.delete(recording)
    text = (await outlets.http.get("/metrics")).text
    line = next(
        line for line in text.splitlines() if line.startswith('koubo_outlet_sent_bytes_total{kind="mp4"')
    )
    assert float(line.split()[1]) > 1000


async def test_a_server_killed_at_once_leaves_recordings_that_play_to_the_end(
    avatars: Path, tmp_path: Path
) -> None:
    port = free_port()
    server = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.streaming.fake_server",
        str(port),
        str(avatars),
        env=os.environ | {"KOUBO_RECORDINGS": str(tmp_path / "kept"), "KOUBO_RECORDINGS_MIN_FREE_MB": "1"},
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:

            async def up() -> bool:
                try:
                    return (await http.get("/healthz")).status_code == 200
                except httpx.TransportError:
                    return False

            await eventually(up, 30)
            opened = (await http.post("/v1/sessions")).json()
            outlets = Outlets(http, f"/v1/sessions/{opened['id']}")
            shown = await outlets.until(await outlets.add(url="mp4:"), "live")
            await asyncio.sleep(3.3)
    finally:
        server.kill()
        await server.wait()
    path = tmp_path / "kept" / shown["place"]
    await asyncio.sleep(1)
    assert pictures(path)[-1] > 2.8


async def whip_endpoint(port: int) -> asyncio.subprocess.Process:
    """A WHIP endpoint in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.streaming.outlets.whip_door", str(port),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    await listening(port)
    return process


@pytest.mark.slow
async def test_peers_that_are_gone_for_thirty_seconds_are_found_again(
    outlets: Outlets, receive: Receive, tmp_path: Path
) -> None:
    rtmp_port, whip_port = free_port(), free_port()
    url = f"rtmp://127.0.0.1:{rtmp_port}/live/key"
    server = await receive(url, tmp_path / "first.mkv", "listen=1")
    await listening(rtmp_port)
    endpoint = await whip_endpoint(whip_port)
    try:
        recording = await outlets.add(url="mp4:")
        rtmp = await outlets.add(url=url)
        whip = await outlets.add(url=f"http://127.0.0.1:{whip_port}/whip/here")
        for outlet in (recording, rtmp, whip):
            await outlets.until(outlet, "live")
        await server.until(25)
        await server.kill()
        endpoint.kill()
        await endpoint.wait()
        gone = asyncio.get_running_loop().time()
        for outlet in (rtmp, whip):
            await outlets.until(outlet, "waiting", 25)
        await asyncio.sleep(max(0.0, gone + 30 - asyncio.get_running_loop().time()))
        server = await receive(url, tmp_path / "second.mkv", "listen=1")
        endpoint = await whip_endpoint(whip_port)
        # The longest wait between two attempts is 30 s.
        for outlet in (rtmp, whip):
            shown = await outlets.until(outlet, "live", 60)
            assert shown["reconnects"] >= 1
        await server.until(25)
        shown = await outlets.until(recording, "live")
        assert shown["reconnects"] == 0
        ticks = await outlets.ticks()
        assert ticks["state"] == "live"
        assert (await outlets.http.delete(recording)).status_code == 204
        times = pictures(tmp_path / "recordings" / shown["place"])
        assert times[-1] > 30
        assert np.diff(times).max() < 1
    finally:
        if endpoint.returncode is None:
            endpoint.kill()
        await endpoint.wait()
