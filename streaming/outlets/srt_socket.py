"""SRT by libsrt, the library of the protocol's makers: FFmpeg as PyAV ships it speaks no SRT."""

import ctypes
import ctypes.util
import socket
import struct
import sys
from functools import cache
from ipaddress import IPv6Address, ip_address

from engine.errors import MissingToolError
from streaming.outlets.errors import OutletError
from streaming.outlets.sinks import Datagrams, Sink
from streaming.outlets.wire import Job

_NAMES = ("srt-gnutls", "srt-openssl", "srt")
_FAILED = -1
# Of enum SRT_SOCKOPT in srt.h.
_SNDTIMEO, _LATENCY, _PASSPHRASE, _PBKEYLEN, _CONNTIMEO, _STREAMID = 13, 23, 26, 27, 36, 46
_SEND_MS = 5000
_CONNECT_MS = 5000


@cache
def load_srt() -> ctypes.CDLL:
    """The library; looking for it takes a moment. Raises MissingToolError."""
    for name in _NAMES:
        found = ctypes.util.find_library(name)
        if found is not None:
            library = ctypes.CDLL(found)
            library.srt_getlasterror_str.restype = ctypes.c_char_p
            return library
    raise MissingToolError(
        "SRT needs the library libsrt; install it (Debian: apt install libsrt1.5-gnutls, "
        "macOS: brew install srt)."
    )


class SrtSocket:
    """A socket of libsrt in live mode. Every method may block, and raises OutletError."""

    def __init__(self, library: ctypes.CDLL, handle: int | None = None) -> None:
        self._library = library
        self._handle = library.srt_create_socket() if handle is None else handle

    def set_number(self, option: int, value: int) -> None:
        """Set an option that is an int32."""
        self._set(option, struct.pack("=i", value))

    def set_text(self, option: int, value: str) -> None:
        """Set an option that is a text."""
        self._set(option, value.encode())

    def connect(self, address: str, port: int) -> None:
        """Call a listener."""
        where = _sockaddr(address, port)
        self._check(self._library.srt_connect(self._handle, where, len(where)))

    def accept(self, address: str, port: int) -> "SrtSocket":
        """Listen, and wait for the first caller, for however long it takes."""
        where = _sockaddr(address, port)
        self._check(self._library.srt_bind(self._handle, where, len(where)))
        self._check(self._library.srt_listen(self._handle, 1))
        return SrtSocket(self._library, self._check(self._library.srt_accept(self._handle, None, None)))

    def send(self, data: bytes) -> None:
        """Send one message of at most 1316 bytes."""
        self._check(self._library.srt_send(self._handle, data, len(data)))

    def receive(self, size: int = 1456) -> bytes:
        """The next message; empty when the connection has ended."""
        buffer = ctypes.create_string_buffer(size)
        count = self._library.srt_recv(self._handle, buffer, size)
        return buffer.raw[: max(0, count)]

    def close(self) -> None:
        """Close it."""
        self._library.srt_close(self._handle)

    def _set(self, option: int, value: bytes) -> None:
        self._check(self._library.srt_setsockflag(self._handle, option, value, len(value)))

    def _check(self, result: int) -> int:
        if result == _FAILED:
            said = self._library.srt_getlasterror_str()
            raise OutletError(said.decode(errors="replace").strip().rstrip("."))
        return result


def open_srt(job: Job) -> Sink:
    """MPEG-TS over SRT; `job.options`: address, port, mode, latency (ms), streamid, passphrase, pbkeylen."""
    options = job.options
    library = load_srt()
    library.srt_startup()
    door = SrtSocket(library)
    for option, name in ((_LATENCY, "latency"), (_PBKEYLEN, "pbkeylen")):
        if name in options:
            door.set_number(option, int(options[name]))
    for option, name in ((_PASSPHRASE, "passphrase"), (_STREAMID, "streamid")):
        if name in options:
            door.set_text(option, options[name])
    door.set_number(_SNDTIMEO, _SEND_MS)
    door.set_number(_CONNTIMEO, _CONNECT_MS)
    address, port = options["address"], int(options["port"])
    if options["mode"] == "listener":
        line = door.accept(address, port)
    else:
        door.connect(address, port)
        line = door

    def close() -> None:
        line.close()
        if line is not door:
            door.close()
        library.srt_cleanup()

    return Datagrams(line.send).sink(close)


def _sockaddr(address: str, port: int) -> bytes:
    ip = ip_address(address)
    family = socket.AF_INET6 if isinstance(ip, IPv6Address) else socket.AF_INET
    tail = struct.pack("!H", port)
    tail += struct.pack("!I16sI", 0, ip.packed, 0) if isinstance(ip, IPv6Address) else ip.packed + bytes(8)
    if sys.platform == "darwin":
        return bytes([len(tail) + 2, family]) + tail
    return struct.pack("=H", family) + tail
