"""Where a muxing process writes to. All of it may block."""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from io import RawIOBase
from typing import Any, BinaryIO, cast

from streaming.outlets.wire import Job

TS_DATAGRAM = 7 * 188
"""Packets of MPEG-TS that fit into a datagram."""


@dataclass(frozen=True, slots=True)
class Sink:
    """What a muxer opens: a file object, or something that FFmpeg opens by itself, in a container."""

    file: str | BinaryIO
    format: str
    close: Callable[[], None] = lambda: None
    buffer_size: int = 32768


class Datagrams(RawIOBase):
    """A file object that sends MPEG-TS in datagrams of seven packets."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any) -> int:
        """Send everything."""
        block = bytes(data)
        for at in range(0, len(block), TS_DATAGRAM):
            self._send(block[at : at + TS_DATAGRAM])
        return len(block)

    def sink(self, close: Callable[[], None]) -> Sink:
        """A sink of MPEG-TS."""
        return Sink(cast("BinaryIO", self), "mpegts", close, TS_DATAGRAM)


def open_file(job: Job) -> Sink:
    """A file or a playlist, by its path."""
    return Sink(job.target, job.format)


def open_rtmp(job: Job) -> Sink:
    """RTMP or RTMPS by FFmpeg, `job.options` being its options.

    PyAV does not hand options to the protocol of an output; the tee muxer does.
    """
    options = ":".join(f"{name}={_quoted(_quoted(value))}" for name, value in job.options.items())
    return Sink(f"[f={job.format}:{options}]{_quoted(job.target)}", "tee")


def open_udp(job: Job) -> Sink:
    """MPEG-TS in plain datagrams to an address and a port."""
    address, port = job.options["address"], int(job.options["port"])
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sender = socket.socket(family, socket.SOCK_DGRAM)
    sender.connect((address, port))

    def send(data: bytes) -> None:
        try:
            sender.send(data)
        except ConnectionRefusedError:
            # Nobody listens just now (ICMP says so); with UDP that is no fault.
            return

    return Datagrams(send).sink(sender.close)


def _quoted(text: str) -> str:
    """Escaped for one level of FFmpeg's tee syntax."""
    return "".join(f"\\{letter}" if letter in "\\':|[]" else letter for letter in text)
