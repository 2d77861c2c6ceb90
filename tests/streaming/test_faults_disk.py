"""A disk that is full, while a presenter is being recorded: the recording ends, the show goes on."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest

from streaming.outlets import muxing
from streaming.sessions import Session
from streaming.settings import Settings
from tests.streaming.conftest import eventually
from tests.streaming.spectator import watch

DISK_KB = 2048


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of two megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_KB}k", "koubo-test", str(folder)]
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def settings(disk: Path) -> Settings:
    return Settings(default_avatar="fake", recordings=disk, recordings_min_free_mb=0, label="en")


class Recorder:
    """Recordings of one session, as a client sees them."""

    def __init__(self, http: httpx.AsyncClient, session: dict[str, str]) -> None:
        self._http = http
        self._path = f"/v1/sessions/{session['id']}/outlets"

    async def begin(self, url: str) -> str:
        response = await self._http.post(self._path, json={"url": url})
        assert response.status_code == 201, response.text
        return str(response.headers["location"])

    async def show(self, location: str) -> dict[str, Any]:
        found: dict[str, Any] = (await self._http.get(location)).json()
        return found

    async def until(self, location: str, *states: str) -> dict[str, Any]:
        async def reached() -> bool:
            return (await self.show(location))["state"] in states

        await eventually(reached, 40)
        return await self.show(location)

    async def end(self, location: str) -> None:
        assert (await self._http.delete(location)).status_code == 204


@pytest.fixture
def recorder(http: httpx.AsyncClient, session: dict[str, str]) -> Recorder:
    return Recorder(http, session)


def fill(disk: Path, leave_kb: int) -> Path:
    """Take all space but this much."""
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    filler = disk / "filler"
    filler.write_bytes(bytes(max(0, free - leave_kb * 1024)))
    return filler


def names(disk: Path) -> list[str]:
    """Recordings on a disk."""
    return sorted(path.name for path in disk.glob("*.mp4"))


def seconds_in(path: Path) -> float:
    """How long a file plays, decoded to where it ends or is torn."""
    seen = 0.0
    with av.open(str(path)) as container:
        try:
            for frame in container.decode(video=0):
                seen = float(frame.time or 0.0)
        except av.FFmpegError:
            return seen
    return seen


@pytest.mark.parametrize("url", ["mp4:", pytest.param("hls:", marks=pytest.mark.slow)])
async def test_a_full_disk_ends_the_recording_and_nothing_else(
    recorder: Recorder, disk: Path, live: Session, url: str
) -> None:
    first = await recorder.begin(url)
    await recorder.until(first, "live")
    spectator = watch(live)
    await eventually(lambda: sum(path.stat().st_size > 0 for path in disk.rglob("*.m[p4]*")) > 0, 20)
    await asyncio.sleep(3)  # a fragment is two seconds
    filler = fill(disk, leave_kb=0)
    shown = await recorder.until(first, "ended")
    assert "disk is full" in shown["error"]
    assert shown["error"].count(".") == 2
    assert "plays" in shown["error"]
    # Whatever the machine does meanwhile: no tick is lost, and none waits for the disk.
    ticks = len(spectator.ticks)
    await eventually(lambda: len(spectator.ticks) >= ticks + 25)
    assert [tick.index for tick in spectator.ticks] == list(
        range(spectator.ticks[0].index, spectator.ticks[0].index + len(spectator.ticks))
    )
    print("a full disk: ticks late by", live.figures.percentiles_ms(), "ms")
    if url == "mp4:":
        assert seconds_in(disk / shown["place"]) >= 1.5
        # It is not tried again and again, with an empty file each time.
        assert names(disk) == [shown["place"]]

    filler.unlink()
    await recorder.end(first)
    second = await recorder.begin("mp4:")
    shown = await recorder.until(second, "live")
    await asyncio.sleep(3)
    await recorder.end(second)
    assert seconds_in(disk / shown["place"]) >= 1.5


async def test_a_disk_that_was_full_before_gets_no_empty_files(recorder: Recorder, disk: Path) -> None:
    fill(disk, leave_kb=0)
    location = await recorder.begin("mp4:")
    shown = await recorder.until(location, "ended")
    assert "disk is full" in shown["error"]
    await eventually(lambda: not names(disk))


class TestStalledDisk:
    """A disk that answers nothing any more: who writes to it cannot even be killed."""

    @pytest.fixture
    def disk(self, tmp_path: Path) -> Iterator[Path]:
        """A real file system that the kernel can be told to freeze."""
        tools = [shutil.which(name) for name in ("mkfs.ext4", "fsfreeze", "mount")]
        if not all(tools) or os.geteuid() != 0:
            pytest.skip("freezing a file system needs root, mkfs.ext4 and fsfreeze")
        folder, image = tmp_path / "stalled", tmp_path / "image"
        folder.mkdir()
        with image.open("wb") as file:
            file.truncate(16 << 20)
        subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
        done = subprocess.run(
            ["mount", "-o", "loop", str(image), str(folder)], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip("no file system can be mounted here")
        # Whatever becomes of the test, nothing stays frozen.
        guard = subprocess.Popen(["sh", "-c", f"sleep 90; fsfreeze -u {folder}"], stderr=subprocess.DEVNULL)
        try:
            yield folder
        finally:
            thaw(folder)
            guard.kill()
            guard.wait()
            subprocess.run(["umount", "--lazy", str(folder)], check=True)

    @pytest.mark.slow
    async def test_ticks_go_on_and_nobody_waits_for_it(
        self, recorder: Recorder, disk: Path, live: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(muxing, "STALL_S", 2.0)
        first = await recorder.begin("mp4:")
        await recorder.until(first, "live")
        spectator = watch(live)
        subprocess.run(["fsfreeze", "-f", str(disk)], check=True)  # noqa: ASYNC221
        second = await recorder.begin("mp4:")
        await eventually(lambda: len(spectator.ticks) >= 50)
        gaps = np.diff(spectator.slots)
        assert gaps.max() <= 25, "the loop stood still"
        assert (await recorder.show(second))["state"] == "connecting"
        clock = asyncio.get_running_loop().time
        began = clock()
        await recorder.end(first)
        await recorder.end(second)
        assert clock() - began < 10
        ticks = len(spectator.ticks)
        await eventually(lambda: len(spectator.ticks) >= ticks + 25)
        thaw(disk)


def thaw(disk: Path) -> None:
    """Let a file system go on; nothing when it does."""
    subprocess.run(["fsfreeze", "-u", str(disk)], check=False, stderr=subprocess.DEVNULL)
