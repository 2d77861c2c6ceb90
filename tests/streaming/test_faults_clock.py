"""The wall clock is set, and the machine sleeps: a real server in a process of its own, a real viewer."""

import asyncio
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import streaming.webrtc.peer  # noqa: F401, whoever imports it has the clock
from engine.errors import KouboError
from streaming.bench_server import Server, running_server, until_ready
from streaming.bench_stamps import StampViewer
from streaming.encoding.base import SOUND_CLOCK
from streaming.webrtc.sending import VIDEO_CLOCK
from streaming.webrtc.steady_clock import steady_datetime
from tests.streaming.conftest import eventually

HOUR = 3600
SOURCE = Path(__file__).with_name("stepped_clock.c")

Start = Callable[..., AbstractAsyncContextManager[Server]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Starts a server with fake mouths, with these settings in its environment."""

    @asynccontextmanager
    async def begin(**settings: str) -> AsyncIterator[Server]:
        def command(port: int) -> list[str]:
            return [sys.executable, "-m", "tests.streaming.fake_server", str(port), str(tmp_path / "avatars")]

        given = {f"KOUBO_{name.upper()}": value for name, value in settings.items() if name.islower()}
        given |= {name: value for name, value in settings.items() if name.isupper()}
        async with running_server(4, command, given) as server:
            await until_ready(server)
            yield server

    return begin


class WallClock:
    """The wall clock of a server that was started with `environment`."""

    def __init__(self, folder: Path, library: Path) -> None:
        self._path = folder / "shift"
        self.set(0)
        self.environment = {"LD_PRELOAD": str(library), "STEPPED_CLOCK": str(self._path)}

    def set(self, seconds: int) -> None:
        """So far from the true time, from now on."""
        with self._path.open("r+b" if self._path.exists() else "wb") as file:
            file.write(struct.pack("q", seconds))


@pytest.fixture(scope="module")
def clock_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that shifts the clock, built here."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("shifting the clock of a process needs Linux and a C compiler")
    library = tmp_path_factory.mktemp("clock") / "stepped_clock.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"], check=True)
    return library


@pytest.fixture
def wall(tmp_path: Path, clock_library: Path) -> WallClock:
    clock = WallClock(tmp_path, clock_library)
    code = "import time, datetime; print(time.time(), datetime.datetime.now().timestamp(), time.monotonic())"
    clock.set(HOUR)
    told = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | clock.environment, capture_output=True, check=True
    )
    clock.set(0)
    true = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    shifted, now = ([float(part) for part in one.stdout.split()] for one in (told, true))
    if abs(shifted[0] - now[0] - HOUR) > 60 or abs(shifted[1] - now[1] - HOUR) > 60:
        pytest.skip("this Python's clock cannot be shifted from outside")
    assert abs(shifted[2] - now[2]) < 60
    return clock


async def opened(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(await server.request("POST", "/v1/sessions"))
    return found | {"path": f"/v1/sessions/{found['id']}"}


async def status(server: Server, path: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(await server.request("GET", path))
    found["skipped"] = 0.0
    for line in (await server.request("GET", "/metrics")).splitlines():
        if line.startswith("koubo_skipped_ticks_total"):
            found["skipped"] = float(line.split()[-1])
    return found


def apart(viewer: StampViewer) -> float:
    """Seconds of media by which the picture is ahead of the sound, by their RTP times."""
    pictures, sounds = viewer.pictures.media / VIDEO_CLOCK, viewer.sounds.media / SOUND_CLOCK
    return pictures - sounds


async def test_a_clock_that_is_set_changes_nothing_that_is_live(
    start: Start, wall: WallClock, tmp_path: Path
) -> None:
    folder = tmp_path / "recordings"
    settings = {"recordings": str(folder), "recordings_min_free_mb": "0", "idle_close_s": "6"}
    async with start(**settings, **wall.environment) as server:
        watched = await opened(server)
        viewer = StampViewer()
        try:
            await viewer.connect(server.exchange(watched["whep"]), 60)
            body = json.dumps({"url": "mp4:"})
            place = f"{watched['path']}/outlets"
            recording = json.loads(await server.request("POST", place, body, "application/json"))
            before = await status(server, watched["path"])
            unwatched = await opened(server)
            wall.set(HOUR)
            await asyncio.sleep(0.5)
            # An hour without a viewer, by the wall clock; half a second, in truth.
            await server.request("GET", unwatched["path"])
            for shift in (HOUR, 0, -HOUR):
                wall.set(shift)
                count = viewer.pictures.count
                # Not one of them is an hour from the one before it.
                await asyncio.wait_for(viewer.pictures.until(count + 30), 60)
            after = await status(server, watched["path"])
            outlet = json.loads(await server.request("GET", f"{place}/{recording['id']}"))
            await server.request("DELETE", f"{place}/{recording['id']}")

            async def closed() -> bool:
                try:
                    await server.request("GET", unwatched["path"])
                except KouboError:
                    return True
                return False

            # Idle sessions are still closed, while the wall clock is an hour behind.
            await eventually(closed, 30)
        finally:
            await viewer.close()
            await server.request("DELETE", watched["path"])
    elapsed = after["uptime_s"] - before["uptime_s"]
    made = after["ticks"] - before["ticks"] + after["skipped"] - before["skipped"]
    assert 1 < elapsed < 200
    assert abs(made - 25 * elapsed) <= 5
    assert viewer.pictures.longest_step < 60
    assert viewer.sounds.longest_step < 60
    assert abs(apart(viewer)) < 10
    assert outlet["state"] == "live"
    assert outlet["reconnects"] == 0
    assert len(list(folder.glob("*.mp4"))) == 1


@pytest.mark.parametrize("asleep_s", [2.0, pytest.param(20.0, marks=pytest.mark.slow)])
async def test_a_machine_that_slept_goes_on_where_the_clock_is(start: Start, asleep_s: float) -> None:
    async with start() as server:
        session = await opened(server)
        viewer = StampViewer()
        clock = asyncio.get_running_loop().time
        try:
            await viewer.connect(server.exchange(session["whep"]), 60)
            await asyncio.wait_for(viewer.pictures.until(50), 60)
            usual = viewer.pictures.least_delay()
            assert usual is not None
            before = await status(server, session["path"])
            media = viewer.pictures.media
            os.kill(server.process.pid, signal.SIGSTOP)
            await asyncio.sleep(asleep_s)
            os.kill(server.process.pid, signal.SIGCONT)
            woken = clock()
            viewer.pictures.least_delay()

            def usual_again() -> bool:
                delay = viewer.pictures.least_delay()
                return delay is not None and delay < usual + 0.04

            await eventually(usual_again, 60)
            normal_ms = 1000 * (clock() - woken)
            count = viewer.pictures.count
            await asyncio.wait_for(viewer.pictures.until(count + 50), 60)
            after = await status(server, session["path"])
        finally:
            await viewer.close()
            await server.request("DELETE", session["path"])
    skipped = after["skipped"] - before["skipped"]
    print(f"asleep for {asleep_s:g} s: {normal_ms:.0f} ms until normal, {skipped:.0f} ticks skipped")
    # Skipped, not piled up: what was missed is gone, and the media clock stands where the wall clock does.
    elapsed = after["uptime_s"] - before["uptime_s"]
    assert skipped >= 25 * asleep_s - 10
    assert abs(after["ticks"] - before["ticks"] + skipped - 25 * elapsed) <= 5
    assert (viewer.pictures.media - media) / VIDEO_CLOCK > asleep_s
    assert abs(apart(viewer)) < 1
    assert after["viewers"] == 1
    assert normal_ms < 20_000


def test_rtp_reads_a_clock_that_does_not_step() -> None:
    import aiortc.clock

    assert aiortc.clock.current_datetime is steady_datetime
    first, second = aiortc.clock.current_ntp_time(), aiortc.clock.current_ntp_time()
    assert first <= second < first + (60 << 32)
