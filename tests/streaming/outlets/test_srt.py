"""SRT: called, calling, encrypted, and what its addresses may say."""

import asyncio
import ctypes
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import MissingToolError
from streaming.errors import Unprocessable
from streaming.outlets.base import Assignment
from streaming.outlets.errors import OutletError
from streaming.outlets.srt import open_srt
from streaming.outlets.srt_socket import SrtSocket, load_srt
from tests.streaming.outlets.conftest import Ear, free_port, stop
from tests.streaming.outlets.station import Station, look
from tests.streaming.outlets.test_muxed_outlets import begin, check, on_air

Assign = Callable[..., Assignment]

_RCVTIMEO, _PASSPHRASE, _STREAMID, _PBKEYLEN = 14, 26, 46, 27


@pytest.fixture(scope="module")
def library() -> ctypes.CDLL:
    try:
        found = load_srt()
    except MissingToolError as error:
        pytest.skip(str(error))
    found.srt_startup()
    return found


class Peer:
    """The other end: keeps what it receives."""

    def __init__(self, library: ctypes.CDLL, path: Path) -> None:
        self.library = library
        self.socket = SrtSocket(library)
        self.line: SrtSocket | None = None
        self.path = path
        self.streamid = ""
        self.bytes = 0
        self.socket.set_number(_RCVTIMEO, 3000)

    def listen(self, port: int) -> None:
        """Take one caller, and receive until it leaves."""
        self.line = self.socket.accept("127.0.0.1", port)
        name, size = ctypes.create_string_buffer(512), ctypes.c_int(512)
        self.library.srt_getsockflag(self.line._handle, _STREAMID, name, ctypes.byref(size))
        self.streamid = name.value.decode()
        self._receive(self.line)

    def call(self, port: int) -> None:
        """Call, and receive until the other end leaves."""
        for _ in range(20):
            try:
                self.socket.connect("127.0.0.1", port)
                break
            except OutletError:
                self.socket.close()
                self.socket = SrtSocket(self.library)
                self.socket.set_number(_RCVTIMEO, 3000)
        self._receive(self.socket)

    def _receive(self, line: SrtSocket) -> None:
        with self.path.open("wb") as file:
            while block := line.receive():
                file.write(block)
                self.bytes += len(block)

    def close(self) -> None:
        if self.line is not None:
            self.line.close()
        self.socket.close()


async def test_it_calls_a_listener(
    station: Station, assign: Assign, library: ctypes.CDLL, tmp_path: Path
) -> None:
    station.note_pictures()
    port = free_port(socket.SOCK_DGRAM)
    peer = Peer(library, tmp_path / "got.ts")
    hearing = asyncio.create_task(asyncio.to_thread(peer.listen, port))
    task, ear = begin(open_srt(assign(f"srt://127.0.0.1:{port}?streamid=publish/one&latency=200")))
    await on_air(ear, station, 90)
    assert await stop(task) < 3
    await hearing
    peer.close()
    assert peer.streamid == "publish/one"
    check(look(tmp_path / "got.ts"), station, 70)
    assert ear.lives == 1


@pytest.mark.slow
async def test_a_caller_may_come_late_and_come_back(
    station: Station, assign: Assign, library: ctypes.CDLL, tmp_path: Path
) -> None:
    station.note_pictures()
    port = free_port(socket.SOCK_DGRAM)
    task, ear = begin(open_srt(assign(f"srt://127.0.0.1:{port}?mode=listener")))
    await asyncio.sleep(1)
    assert not ear.lives
    peer = Peer(library, tmp_path / "got.ts")
    hearing = asyncio.create_task(asyncio.to_thread(peer.call, port))
    await on_air(ear, station, 90)
    peer.close()
    await hearing
    with pytest.raises(OutletError, match="caller"):
        await task
    check(look(tmp_path / "got.ts"), station, 50)


async def test_a_listener_that_nobody_calls_ends_at_once(
    station: Station, assign: Assign, library: ctypes.CDLL
) -> None:
    task, _ = begin(open_srt(assign(f"srt://127.0.0.1:{free_port(socket.SOCK_DGRAM)}?mode=listener")))
    await asyncio.sleep(0.7)
    assert await stop(task) < 3


@pytest.mark.slow
async def test_both_sides_must_know_the_passphrase(
    station: Station, assign: Assign, library: ctypes.CDLL, tmp_path: Path
) -> None:
    port = free_port(socket.SOCK_DGRAM)
    peer = Peer(library, tmp_path / "got.ts")
    peer.socket.set_text(_PASSPHRASE, "a long secret")
    hearing = asyncio.create_task(asyncio.to_thread(peer.listen, port))
    wrong, _ = begin(open_srt(assign(f"srt://127.0.0.1:{port}?passphrase=another+secret")))
    with pytest.raises(OutletError) as caught:
        await wrong
    assert "secret" not in str(caught.value)
    assert "passphrase" in str(caught.value)
    right, ear = begin(open_srt(assign(f"srt://127.0.0.1:{port}?passphrase=a+long+secret&pbkeylen=16")))
    await on_air(ear, station, 60)
    await stop(right)
    await hearing
    peer.close()
    assert len(look(tmp_path / "got.ts").slots) > 25


@pytest.mark.slow
async def test_nobody_there_is_told_in_a_sentence(
    station: Station, assign: Assign, library: ctypes.CDLL
) -> None:
    port = free_port(socket.SOCK_DGRAM)
    with pytest.raises(OutletError, match=rf"srt://127.0.0.1:{port}/…") as caught:
        await open_srt(assign(f"srt://127.0.0.1:{port}?streamid=hidden")).run(Ear())
    assert "hidden" not in str(caught.value)
    assert not caught.value.final


@pytest.mark.parametrize(
    ("address", "word"),
    [
        ("srt://127.0.0.1", "port"),
        ("srt://127.0.0.1:9?mode=rendezvous", "mode"),
        ("srt://127.0.0.1:9?latency=soon", "latency"),
        ("srt://127.0.0.1:9?latency=1", "latency"),
        ("srt://127.0.0.1:9?pbkeylen=17", "pbkeylen"),
        ("srt://127.0.0.1:9?passphrase=short", "passphrase"),
        ("srt://127.0.0.1:9?streamid=" + "x" * 600, "streamid"),
        ("srt://127.0.0.1:9?password=hello", "password"),
    ],
)
async def test_unusable_options_are_refused(assign: Assign, address: str, word: str) -> None:
    with pytest.raises(Unprocessable, match=word):
        open_srt(assign(address))
