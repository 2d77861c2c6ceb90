"""One WebRTC connection of a session, from its offer to its end."""

import asyncio
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AsyncExitStack

from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCSessionDescription
from aiortc.exceptions import InvalidAccessError, InvalidStateError, OperationError

from streaming.errors import (
    BadRequest,
    NotAcceptable,
    PreconditionFailed,
    PreconditionRequired,
    Unprocessable,
)
from streaming.settings import IceServer
from streaming.webrtc.ending import close_connection
from streaming.webrtc.sdp import MAX_CANDIDATES, PARSE_ERRORS, Fragment, Offer
from streaming.webrtc.steady_clock import keep_steady

_ENDED = ("failed", "closed")

keep_steady()


class Peer(ABC):
    """A connection with an unguessable id, an entity tag for its ICE session, and one task that ends it.

    Subclasses prepare `pc` in `_prepare` (tracks before the offer is applied) and `_applied` (after it).
    """

    def __init__(self, ice_servers: tuple[IceServer, ...], connect_timeout_s: float) -> None:
        servers = [RTCIceServer(s.url, s.username, s.credential) for s in ice_servers]
        # Not max-bundle: aiortc drops the common transport when an offer names our second track first.
        self.pc = RTCPeerConnection(RTCConfiguration(servers))
        self.id = secrets.token_urlsafe(16)
        self.etag = f'"{secrets.token_hex(8)}"'
        self.connected = False
        self._timeout_s = connect_timeout_s
        self._ufrag = ""
        self._trickled = 0
        self._changed = asyncio.Event()
        self._ending = False
        self._life: asyncio.Task[None] | None = None
        self.pc.on("connectionstatechange", self._on_state)

    async def answer(self, offer: Offer, on_end: Callable[["Peer"], None]) -> str:
        """Answer an offer and start connecting; `on_end(self)` is called once when the connection is over.

        The answer holds every candidate of the server. Raises BadRequest or NotAcceptable and leaves nothing
        open then.
        """
        self._ufrag = offer.ufrag
        async with AsyncExitStack() as undo:
            undo.push_async_callback(close_connection, self.pc)
            await self._agree(offer)
            undo.pop_all()
        self._life = asyncio.create_task(self._live(on_end), name=f"peer-{self.id}")
        return self.pc.localDescription.sdp

    async def trickle(self, fragment: Fragment, if_match: str | None) -> None:
        """Add candidates that the client found later (RFC 9725 section 4.3).

        Raises PreconditionRequired without an entity tag, PreconditionFailed with another one, Unprocessable
        for an ICE restart, which aiortc cannot do; the connection goes on in each case.
        """
        if if_match is None:
            raise PreconditionRequired(
                "The request needs an If-Match header with the ETag of this connection."
            )
        tags = [tag.strip() for tag in if_match.split(",")]
        if "*" not in tags and self.etag not in tags:
            raise PreconditionFailed("The If-Match header is not the ETag of this connection's ICE session.")
        if fragment.ufrag is not None and fragment.ufrag != self._ufrag:
            raise Unprocessable(
                "ICE restarts are not supported; DELETE this connection and POST a new offer."
            )
        taken = fragment.candidates[: max(0, MAX_CANDIDATES - self._trickled)]
        self._trickled += len(taken)
        for candidate in taken:
            try:
                await self.pc.addIceCandidate(candidate)
            except (InvalidStateError, ValueError):
                # RFC 9725: a candidate that cannot be used is left out, the rest goes on.
                continue

    def hang_up(self) -> None:
        """Begin to end the connection."""
        self._ending = True
        self._changed.set()

    async def close(self) -> None:
        """End the connection and wait until nothing of it is left."""
        self.hang_up()
        if self._life is not None and self._life is not asyncio.current_task():
            await asyncio.wait([self._life])

    async def _agree(self, offer: Offer) -> None:
        try:
            self._prepare(offer)
            await self.pc.setRemoteDescription(RTCSessionDescription(offer.text, "offer"))
            self._applied()
            await self.pc.setLocalDescription()
        except (OperationError, InvalidAccessError) as error:
            raise NotAcceptable(
                "The offer has no codec in common with this server; offer Opus, and VP8 or H.264."
            ) from error
        except PARSE_ERRORS as error:
            raise BadRequest(
                f"The body is not a usable SDP offer ({str(error) or 'it cannot be applied'}); "
                "send the offer of an RTCPeerConnection."
            ) from error

    @abstractmethod
    def _prepare(self, offer: Offer) -> None:
        """Before the offer is applied: check it, set the tracks up."""

    def _applied(self) -> None:
        """After the offer has been applied, before the answer is made."""

    def _start(self) -> None:
        """Once, when the connection stands."""

    async def _stop(self) -> None:
        """Once, before the connection is closed."""

    def _on_state(self) -> None:
        self._changed.set()

    async def _live(self, on_end: Callable[["Peer"], None]) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._until("connected")
            if self.pc.connectionState == "connected" and not self._ending:
                self.connected = True
                self._start()
                await self._until()
        except TimeoutError:
            # A client that never came: nothing to say to anyone.
            self._ending = True
        finally:
            self.connected = False
            on_end(self)
            await self._stop()
            await close_connection(self.pc)

    async def _until(self, *states: str) -> None:
        """Wait for one of these states, for the end of the connection, or for `close`."""
        while self.pc.connectionState not in (*states, *_ENDED) and not self._ending:
            self._changed.clear()
            await self._changed.wait()
