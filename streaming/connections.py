"""TCP connections of the HTTP server: how many an address may hold, and how long it may take to ask."""

import asyncio
import ssl
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from uvicorn.protocols.http.h11_impl import H11Protocol

from engine.errors import KouboError
from streaming.limits import client_key, is_loopback

TURN_S = 0.002
"""What reading data that begin no request may take at a time, while others wait."""

PAUSE_S = 0.002
"""From one request to the next while others wait: about what one takes, twice. The rest is for ticks."""

HEADERS_S = 10.0
"""A connection that has begun a request, or just opened, is closed unless its headers come by then."""


class Reader(Protocol):
    """A connection whose data wait at a `Gate`."""

    def read(self, data: bytes) -> bool:
        """Read what has come; whether a request has begun with it."""
        ...


class Gate:
    """Lets requests begin one after another, however many come at once, and ticks go in between.

    One that finds nobody before it begins at once. Data that begin no request, of connections that send byte
    by byte, are read as they come, a little at a time.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[Reader, bytes]] = deque()
        self._closed = False

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def enter(self, reader: Reader, data: bytes) -> bool:
        """Have data read, now or in one of the next turns; whether they have been read."""
        if self._closed:
            self._waiting.append((reader, data))
            return False
        self._close(began=reader.read(data))
        return True

    def _close(self, *, began: bool) -> None:
        self._closed = True
        loop = asyncio.get_running_loop()
        if began:
            loop.call_later(PAUSE_S, self._turn)
        else:
            loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._closed, began = False, False
        end = time.perf_counter() + TURN_S
        while self._waiting and not began and time.perf_counter() < end:
            reader, data = self._waiting.popleft()
            began = reader.read(data)
        if began or self._waiting:
            self._close(began=began)


def bounded_protocol(connections_at_once: int, headers_s: float = HEADERS_S) -> type[H11Protocol]:
    """uvicorn's HTTP/1.1 protocol that closes connections beyond what one address may hold, and slow ones.

    Requests of all connections begin one after another, through one `Gate`.
    """
    gate = Gate()

    class BoundedProtocol(H11Protocol):
        _patience: asyncio.TimerHandle | None = None
        _held = False

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            host = self.client[0] if self.client else None
            # Proxies on this machine speak for many, whom only the requests' headers tell apart.
            if not is_loopback(host) and self._mine(host) > connections_at_once:
                transport.abort()
                return
            self._wait()

        def data_received(self, data: bytes) -> None:
            if self.cycle is not None and not self.cycle.response_complete:
                self.read(data)  # of a request that has begun
            elif not gate.enter(self, data):
                self._held = True
                self.transport.pause_reading()

        def read(self, data: bytes) -> bool:
            """What has come, at its turn; whether a request has begun with it."""
            if self.transport.is_closing():
                return False
            if self._held:
                self._held = False
                self.transport.resume_reading()
            before = self.cycle
            super().data_received(data)
            self._keep_patience()
            return self.cycle is not before

        def _keep_patience(self) -> None:
            if self.cycle is not None and not self.cycle.response_complete:
                self._stop_waiting()
            elif self._patience is None:
                self._wait()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_waiting()
            super().connection_lost(exc)

        def handle_websocket_upgrade(self, event: Any) -> None:
            self._stop_waiting()
            super().handle_websocket_upgrade(event)

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._stop_waiting()

        def send_400_response(self, msg: str) -> None:
            # The body of a request went wrong while the app was at it: what the app answers is too late.
            cycle = self.cycle
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
                if cycle.response_started:
                    self.transport.close()
                    return
            super().send_400_response(msg)

        def _mine(self, host: str | None) -> int:
            """Connections of this client, WebSockets included, this one too."""
            peers = (one.transport.get_extra_info("peername") for one in self.connections)
            mine = client_key(host)
            return sum(client_key(peer[0]) == mine for peer in peers if peer)

        def _wait(self) -> None:
            self._patience = self.loop.call_later(headers_s, self.transport.close)

        def _stop_waiting(self) -> None:
            if self._patience is not None:
                self._patience.cancel()
                self._patience = None

    return BoundedProtocol


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM files for TLS: the certificate with its chain, and the unencrypted key that belongs to it."""

    chain: Path
    key: Path


def check_certificate(certificate: Certificate) -> None:
    """Raise KouboError with what is wrong when a certificate cannot be used for TLS."""
    for path in (certificate.chain, certificate.key):
        if not path.is_file():
            raise KouboError(f"There is no file {path}; --tls-cert and --tls-key name PEM files.")
    try:
        # Without the empty password, an encrypted key would be asked for at the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate.chain, certificate.key, "")
    except OSError as error:
        raise KouboError(
            f"The certificate {certificate.chain} and the key {certificate.key} cannot be used together; "
            "give the PEM chain and the unencrypted PEM key that belongs to it."
        ) from error
