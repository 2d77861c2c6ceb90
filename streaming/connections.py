"""TCP connections of the HTTP server: how many an address may hold, and how long it may take to ask."""

import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from engine.errors import KouboError
from streaming.limits import client_key, is_loopback

HEADERS_S = 10.0
"""A connection that has begun a request, or just opened, is closed unless its headers come by then."""


def bounded_protocol(connections_at_once: int, headers_s: float = HEADERS_S) -> type[H11Protocol]:
    """uvicorn's HTTP/1.1 protocol that closes connections beyond what one address may hold, and slow ones."""

    class BoundedProtocol(H11Protocol):
        _patience: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            host = self.client[0] if self.client else None
            # Proxies on this machine speak for many, whom only the requests' headers tell apart.
            if not is_loopback(host) and self._held(host) > connections_at_once:
                transport.abort()
                return
            self._wait()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
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

        def _held(self, host: str | None) -> int:
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
