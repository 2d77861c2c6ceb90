"""What leaves through RTMP, UDP and SRT, into files and playlists, is what went in, and in time."""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address
from pathlib import Path

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from engine.errors import KouboError
from streaming.address_policy import Target
from streaming.errors import Unprocessable
from streaming.outlets.base import Assignment, Outlet, Report
from streaming.outlets.errors import OutletError
from streaming.outlets.hls import open_hls
from streaming.outlets.mp4 import Signed, open_mp4
from streaming.outlets.rtmp import open_rtmp
from streaming.outlets.udp import open_udp
from tests.certificates import self_signed
from tests.streaming.conftest import eventually
from tests.streaming.outlets.conftest import Ear, Receiver, free_port, listening, stop
from tests.streaming.outlets.station import Seen, Station, look

Assign = Callable[..., Assignment]
Receive = Callable[..., Awaitable[Receiver]]
FRAME_S = 0.04
CHUNK = b"\xc3"
"""Between two parts of an RTMP message."""


def check(seen: Seen, station: Station, least: int) -> None:
    """Every picture that was made, in order, each at its time; sound with its picture."""
    assert len(seen.slots) >= least
    assert seen.slots == station.made_between(seen.slots[0], seen.slots[-1])
    times = np.array([time for time, _ in seen.pictures])
    assert np.abs(np.diff(times) - FRAME_S * np.diff(seen.slots)).max() < 0.0015
    assert len(seen.offsets) >= 2
    assert np.abs(seen.offsets).max() <= FRAME_S, seen.offsets


def begin(outlet: Outlet) -> tuple[asyncio.Task[None], Ear]:
    ear = Ear()
    return asyncio.ensure_future(outlet.run(ear)), ear


async def on_air(ear: Ear, station: Station, pictures: int) -> None:
    """Wait until it is live, and for so many pictures more."""
    async with asyncio.timeout(20):
        await ear.on_live.wait()
        began = station.slot
        await eventually(lambda: station.slot > began + pictures, 20)


async def test_rtmp(station: Station, assign: Assign, receive: Receive, tmp_path: Path) -> None:
    station.note_pictures()
    port = free_port()
    url = f"rtmp://127.0.0.1:{port}/live/key"
    peer = await receive(url, tmp_path / "got.mkv", "listen=1")
    await listening(port)
    task, ear = begin(open_rtmp(assign(url)))
    await peer.until(90)
    assert await stop(task) < 3
    await peer.finish()
    check(look(tmp_path / "got.mkv"), station, 85)
    assert ear.lives == 1
    assert ear.bytes > 5_000


async def test_udp(station: Station, assign: Assign, receive: Receive, tmp_path: Path) -> None:
    station.note_pictures()
    port = free_port(socket.SOCK_DGRAM)
    url = f"udp://127.0.0.1:{port}"
    task, _ = begin(open_udp(assign(url)))
    peer = await receive(url, tmp_path / "got.mkv", "timeout=2000000", "fflags=nobuffer")
    await peer.until(90)
    assert await stop(task) < 3
    await peer.finish()
    # It joins in the middle: pictures before its first key frame cannot be shown.
    check(look(tmp_path / "got.mkv"), station, 40)


async def test_mp4(station: Station, assign: Assign, tmp_path: Path) -> None:
    station.note_pictures()
    outlet = open_mp4(assign("mp4:"))
    task, ear = begin(outlet)
    await on_air(ear, station, 90)
    assert await stop(task) < 3
    assert outlet.place == "session-now.mp4"
    seen = look(tmp_path / "recordings" / "session-now.mp4")
    check(seen, station, 70)
    assert json.loads(seen.metadata["AIGC"])["ProduceID"] == "session-now"


@pytest.mark.slow
async def test_hls(station: Station, assign: Assign, tmp_path: Path) -> None:
    station.note_pictures()
    outlet = open_hls(assign("hls:"))
    task, ear = begin(outlet)
    await on_air(ear, station, 110)
    assert await stop(task) < 3
    assert outlet.place is not None
    folder = tmp_path / "recordings" / outlet.place.strip("/")
    check(look(folder), station, 90)


async def test_rtmps_asks_for_a_certificate_that_can_be_trusted(
    station: Station, assign: Assign, receive: Receive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    station.note_pictures()
    certificate, key = certificate_files(tmp_path, "localhost")
    behind = free_port()
    async with tls_before(behind, certificate, key) as port:
        url = f"rtmps://localhost:{port}/live/hidden-key"
        with pytest.raises(OutletError) as caught:
            await open_rtmp(assign(url)).run(Ear())
        assert "hidden-key" not in str(caught.value)
        # FFmpeg's server takes one client only, so it comes after the one that was turned away.
        peer = await receive(f"rtmp://127.0.0.1:{behind}/live/key", tmp_path / "got.mkv", "listen=1")
        await listening(behind)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        task, _ = begin(open_rtmp(assign(f"rtmps://localhost:{port}/live/key")))
        await peer.until(60)
        assert await stop(task) < 3
        await peer.finish()
    check(look(tmp_path / "got.mkv"), station, 50)


@asynccontextmanager
async def tls_before(port: int, certificate: Path, key: Path) -> AsyncIterator[int]:
    """A TLS server in front of a TCP server; its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    pumps: set[asyncio.Task[None]] = set()

    async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while block := await source.read(65536):
                target.write(block)
                await target.drain()
        target.close()
        with suppress(OSError):
            await target.wait_closed()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            writer.close()
            return
        for source, target in ((reader, inner_writer), (inner_reader, writer)):
            pumps.add(asyncio.create_task(pump(source, target)))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        if pumps:
            await asyncio.wait(pumps)
        await server.wait_closed()


def certificate_files(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate for a host name, and its key."""
    certificate, key = self_signed(x509.DNSName(name))
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return paths


async def test_nobody_there_is_told_without_the_key(station: Station, assign: Assign) -> None:
    url = f"rtmp://127.0.0.1:{free_port()}/live/hidden-key"
    with pytest.raises(OutletError, match=r"(?i)refused") as caught:
        await open_rtmp(assign(url)).run(Ear())
    assert "hidden-key" not in str(caught.value)
    assert not caught.value.final


async def test_an_address_is_checked_before_each_connection(station: Station, assign: Assign) -> None:
    asked = []

    async def refuse(url: str) -> Target:
        asked.append(url)
        raise Unprocessable("The name has got another address.")

    outlet = open_udp(assign("udp://name.example:5000", check=refuse))
    for _ in range(2):
        with pytest.raises(Unprocessable):
            await outlet.run(Ear())
    assert len(asked) == 2
    # Nothing is left attached.
    assert not station.hub.codecs


async def test_platforms_see_the_name_and_the_checked_address_is_connected_to(
    station: Station, assign: Assign, receive: Receive, tmp_path: Path
) -> None:
    port = free_port()
    got = bytearray()
    seen = asyncio.Event()

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1537)
        writer.write(bytes([3]) + bytes(1536) + bytes(1536))
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                while block := await reader.read(4096):
                    got.extend(block)
        writer.close()
        seen.set()

    async def here(url: str) -> Target:
        return Target(url, "rtmp", "tenant.example", port, (ip_address("127.0.0.1"),))

    server = await asyncio.start_server(hear, "127.0.0.1", port)
    async with server:
        with pytest.raises(OutletError):
            await open_rtmp(assign(f"rtmp://tenant.example:{port}/live/key", check=here)).run(Ear())
        await seen.wait()
    assert f"rtmp://tenant.example:{port}/live".encode() in bytes(got).replace(CHUNK, b"")


async def test_a_folder_is_needed_for_files(assign: Assign) -> None:
    given = assign("mp4:", recordings=None)
    for opener in (open_mp4, open_hls):
        with pytest.raises(Unprocessable, match="KOUBO_RECORDINGS"):
            opener(given)


async def test_too_little_space_is_told_before_anything_is_written(assign: Assign, tmp_path: Path) -> None:
    outlet = open_mp4(assign("mp4:", recordings_min_free_mb=1 << 50))
    with pytest.raises(OutletError, match="free") as caught:
        await outlet.run(Ear())
    assert caught.value.final
    assert not list((tmp_path / "recordings").iterdir())


async def test_three_outlets_cost_one_encode(station: Station, assign: Assign, tmp_path: Path) -> None:
    running = [begin(open_mp4(assign("mp4:"))) for _ in range(2)]
    for _, ear in running:
        await ear.on_live.wait()
    assert list(station.hub.codecs) == ["h264"]
    for task, _ in running:
        await stop(task)
    assert len(list((tmp_path / "recordings").iterdir())) == 2


async def test_a_finished_recording_is_signed_once(tmp_path: Path) -> None:
    signed: list[Path] = []
    outlet = Signed(Written("one.mp4"), tmp_path, signed.append)
    task, ear = begin(outlet)
    await ear.on_live.wait()
    assert not signed
    await stop(task)
    assert signed == [tmp_path / "one.mp4"]


async def test_a_recording_that_never_began_is_not_signed(tmp_path: Path) -> None:
    signed: list[Path] = []
    task, ear = begin(Signed(Written(None), tmp_path, signed.append))
    await ear.on_live.wait()
    await stop(task)
    assert not signed


async def test_a_signature_that_fails_leaves_a_word_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(path: Path) -> None:
        raise KouboError("The certificate is over.")

    task, ear = begin(Signed(Written("one.mp4"), tmp_path, fail))
    await ear.on_live.wait()
    await stop(task)
    assert "The certificate is over." in caplog.text


class Written:
    """An outlet that writes a file until it is stopped."""

    def __init__(self, name: str | None) -> None:
        self._name = name
        self.place: str | None = None

    async def run(self, report: Report) -> None:
        self.place = self._name
        report.live()
        await asyncio.Event().wait()
