"""The virtual camera, against pyvirtualcam with a backend of our own; there is no device here."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from engine.errors import MissingToolError
from engine.picture.yuv import Frame
from streaming.errors import Unprocessable
from streaming.outlets.base import Assignment
from streaming.outlets.camera import CameraOutlet, Device, open_camera
from streaming.outlets.errors import OutletError
from tests.streaming.conftest import eventually
from tests.streaming.outlets.conftest import Ear, stop
from tests.streaming.outlets.station import SIZE, card
from tests.streaming.outlets.test_muxed_outlets import begin

Assign = Callable[..., Assignment]
Show = Callable[[int, Frame], None]


class Ticks:
    """A session's raw pictures."""

    def __init__(self) -> None:
        self.listeners: list[Show] = []

    def __call__(self, show: Show) -> Callable[[], None]:
        self.listeners.append(show)
        return lambda: self.listeners.remove(show)

    def show(self, slot: int) -> None:
        for listener in tuple(self.listeners):
            listener(slot, card(slot))


class FakeCamera:
    """A device that can be slow or break; it checks what pyvirtualcam checks."""

    def __init__(self, width: int, height: int, delay_s: float = 0) -> None:
        self.shape = (height * 3 // 2, width)
        self.frames: list[Frame] = []
        self.closed = False
        self.broken = False
        self._delay_s = delay_s

    def send(self, frame: Frame) -> None:
        import time

        if self.broken:
            raise RuntimeError("device is gone")
        if frame.dtype != np.uint8 or frame.shape != self.shape:
            raise ValueError(f"unexpected frame {frame.dtype} {frame.shape}")
        time.sleep(self._delay_s)
        self.frames.append(frame.copy())

    def close(self) -> None:
        self.closed = True


def opened(camera: FakeCamera) -> Callable[[int, int, str | None], Device]:
    return lambda width, height, device: camera


async def test_it_shows_every_picture_and_gives_the_device_back() -> None:
    ticks, camera = Ticks(), FakeCamera(*SIZE)
    task, ear = begin(CameraOutlet(SIZE, ticks, None, opened(camera)))
    await ear.on_live.wait()
    for slot in range(10):
        ticks.show(slot)
        await eventually(lambda slot=slot: len(camera.frames) == slot + 1)  # type: ignore[misc]
    assert all(np.array_equal(frame, card(slot)) for slot, frame in enumerate(camera.frames))
    assert await stop(task) < 3
    assert camera.closed
    assert not ticks.listeners
    assert ear.bytes == 10 * card(0).nbytes


async def test_a_slow_device_misses_pictures_and_delays_none() -> None:
    ticks, camera = Ticks(), FakeCamera(*SIZE, delay_s=0.05)
    task, ear = begin(CameraOutlet(SIZE, ticks, None, opened(camera)))
    await ear.on_live.wait()
    for slot in range(50):
        ticks.show(slot)
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.2)
    assert 3 <= len(camera.frames) < 20
    assert np.array_equal(camera.frames[-1], card(49))
    await stop(task)


async def test_a_device_that_breaks_is_a_fault_in_a_sentence() -> None:
    ticks, camera = Ticks(), FakeCamera(*SIZE)
    task, ear = begin(CameraOutlet(SIZE, ticks, None, opened(camera)))
    await ear.on_live.wait()
    camera.broken = True
    ticks.show(1)
    with pytest.raises(OutletError, match="device is gone"):
        await task
    assert camera.closed


async def test_without_the_package_it_says_how_to_install_it() -> None:
    def missing(width: int, height: int, device: str | None) -> Device:
        raise ModuleNotFoundError("No module named 'pyvirtualcam'")

    with pytest.raises(MissingToolError, match="pip install pyvirtualcam"):
        await CameraOutlet(SIZE, Ticks(), None, missing).run(Ear())


@pytest.mark.parametrize("url", ["camera://host", "camera:/dev/video0?x=1", "camera://host/dev/video0"])
async def test_other_forms_are_refused(assign: Assign, url: str) -> None:
    with pytest.raises(Unprocessable, match="camera"):
        open_camera(assign(url))


@pytest.fixture
def backend() -> Iterator[list[Any]]:
    """The real pyvirtualcam with one more backend, which keeps what it is sent."""
    pyvirtualcam = pytest.importorskip("pyvirtualcam", reason="pyvirtualcam is not installed")
    from pyvirtualcam.camera import BACKENDS

    made: list[Any] = []

    class Kept:
        def __init__(self, *, width: int, height: int, fps: float, fourcc: int, device: str | None) -> None:
            if device not in (None, "/dev/video42"):
                raise RuntimeError(f"Device {device} does not exist.")
            self.size, self.fps, self.fourcc, self.asked = (width, height), fps, fourcc, device
            self.frames: list[Any] = []
            self.closed = False
            made.append(self)

        def close(self) -> None:
            self.closed = True

        def send(self, frame: Any) -> None:
            self.frames.append(frame.copy())

        def device(self) -> str:
            return "/dev/video42"

        def native_fourcc(self) -> int:
            return self.fourcc

    pyvirtualcam.register_backend("kept", Kept)
    yield made
    del BACKENDS["kept"]


async def test_pyvirtualcam_takes_what_it_is_given(backend: list[Any], assign: Assign) -> None:
    from pyvirtualcam import PixelFormat
    from pyvirtualcam.util import encode_fourcc

    ticks = Ticks()
    task, ear = begin(open_camera(replace(assign("camera:/dev/video42"), pictures=ticks)))
    await ear.on_live.wait()
    for slot in range(5):
        ticks.show(slot)
        await eventually(lambda slot=slot: len(backend[0].frames) == slot + 1)  # type: ignore[misc]
    await stop(task)
    one = backend[0]
    assert (one.size, one.fps, one.asked) == (SIZE, 25, "/dev/video42")
    assert one.fourcc == encode_fourcc(PixelFormat.I420.value)
    assert np.array_equal(one.frames[4], card(4).reshape(-1))
    assert one.closed


async def test_pyvirtualcam_without_a_device_is_told(backend: list[Any], assign: Assign) -> None:
    with pytest.raises(OutletError, match=r"video43.*does not exist"):
        await open_camera(assign("camera:/dev/video43")).run(Ear())
