"""A virtual camera: raw pictures for any program on the same computer, without sound."""

import asyncio
from collections.abc import Callable
from typing import Protocol
from urllib.parse import unquote, urlsplit

from engine.errors import MissingToolError
from engine.picture.yuv import Frame
from engine.speech.audio import FRAME_RATE
from streaming.errors import Unprocessable
from streaming.mailbox import Mailbox
from streaming.outlets.base import Assignment, Outlet, Pictures, Report
from streaming.outlets.errors import OutletError

_WAITING = 2
_SEND_S = 5.0


class Device(Protocol):
    """`pyvirtualcam.Camera`, as far as it is used. Its methods may block, and raise RuntimeError."""

    def send(self, frame: Frame) -> None:
        """Show a picture, I420 uint8 (h * 3 // 2, w)."""
        ...

    def close(self) -> None:
        """Give the device back."""
        ...


OpenDevice = Callable[[int, int, str | None], Device]
"""Opens a camera by width, height and device (None: any). Raises RuntimeError, ImportError, OSError."""


def open_device(width: int, height: int, device: str | None) -> Device:
    """A camera of pyvirtualcam: v4l2loopback on Linux, that of OBS on macOS and Windows."""
    import pyvirtualcam

    camera: Device = pyvirtualcam.Camera(
        width, height, FRAME_RATE, fmt=pyvirtualcam.PixelFormat.I420, device=device, print_fps=False
    )
    return camera


class CameraOutlet:
    """Shows the session's pictures on a virtual camera; pictures that it has no time for are left out."""

    def __init__(
        self, size: tuple[int, int], pictures: Pictures, device: str | None, opener: OpenDevice = open_device
    ) -> None:
        self.place: str | None = device
        self._size = size
        self._pictures = pictures
        self._device = device
        self._opener = opener

    async def run(self, report: Report) -> None:
        """One connection; see `Outlet`. Raises MissingToolError without pyvirtualcam."""
        camera = await self._open()
        waiting: Mailbox[Frame] = Mailbox(_WAITING)
        stop = self._pictures(lambda _slot, picture: waiting.put(picture))
        try:
            report.live()
            while True:
                picture = await waiting.get()
                await self._send(camera, picture)
                report.sent(picture.nbytes)
        finally:
            stop()
            await asyncio.to_thread(camera.close)

    async def _open(self) -> Device:
        try:
            return await asyncio.to_thread(self._opener, *self._size, self._device)
        except ImportError as error:
            raise MissingToolError(
                "A virtual camera needs the package pyvirtualcam; install it: pip install pyvirtualcam."
            ) from error
        except (RuntimeError, OSError) as error:
            raise OutletError(
                f"No virtual camera can be opened ({error}); load v4l2loopback, or start the virtual "
                "camera of OBS once."
            ) from error

    async def _send(self, camera: Device, picture: Frame) -> None:
        try:
            async with asyncio.timeout(_SEND_S):
                await asyncio.to_thread(camera.send, picture)
        except (RuntimeError, OSError) as error:
            raise OutletError(f"The virtual camera takes no picture ({error}); open it again.") from error


def open_camera(given: Assignment) -> Outlet:
    """Shows on camera: (any) or camera:/dev/video4. Raises Unprocessable for another form."""
    parts = urlsplit(given.url)
    if parts.netloc or parts.query:
        raise Unprocessable("A virtual camera is camera: or camera:/dev/video4.")
    return CameraOutlet(given.hub.size, given.pictures, unquote(parts.path) or None)
