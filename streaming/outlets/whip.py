"""WHIP (RFC 9725): the presenter published to a WebRTC service."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

import httpx
from aiortc import (
    RTCBundlePolicy,
    RTCConfiguration,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.exceptions import InvalidAccessError, OperationError

from streaming.address_policy import redact
from streaming.encoding.base import Codec
from streaming.encoding.hub import Attachment, EncodeHub
from streaming.outlets.base import Assignment, Outlet, Report
from streaming.outlets.errors import OutletError
from streaming.outlets.whip_client import WhipClient
from streaming.webrtc.ending import close_connection
from streaming.webrtc.sdp import PARSE_ERRORS
from streaming.webrtc.sending import hear_receiver
from streaming.webrtc.steady_clock import steady_datetime
from streaming.webrtc.tracks import Tracks
from streaming.webrtc.viewer import MIME_TYPES, agreed_codec

CONNECT_S = 15.0
SILENT_S = 8.0
"""Receivers report at least every five seconds (RFC 3550 section 6.2); one that stopped has gone. ICE would
notice after thirty (RFC 7675)."""

_LOOK_S = 1.0


@cache
def _trusted() -> ssl.SSLContext:
    """Reading all the certificates that are trusted takes a while, so it is done once, in a thread."""
    return httpx.create_ssl_context()


def open_whip(given: Assignment) -> Outlet:
    """Publishes to an http(s) endpoint with a bearer token."""
    return WhipOutlet(given)


class WhipOutlet:
    """Offers H.264 and VP8, H.264 first, unless a codec was chosen; each attempt is a new connection."""

    def __init__(self, given: Assignment, silent_s: float = SILENT_S) -> None:
        self.place: str | None = None
        self._given = given
        self._silent_s = silent_s
        self._ice_servers: tuple[RTCIceServer, ...] = ()

    async def run(self, report: Report) -> None:
        """One connection; see `Outlet`."""
        # A proxy would connect to where it likes, not to the address that was checked.
        async with httpx.AsyncClient(verify=await asyncio.to_thread(_trusted), trust_env=False) as http:
            client = WhipClient(self._given.url, self._given.token, http, self._given.check)
            # Those of the last answer serve where the endpoint does not tell them before.
            self._ice_servers = await client.ice_servers() or self._ice_servers
            publication = Publication(self._given.hub, self._given.codec, self._ice_servers)
            try:
                await publication.connect(self._exchange(client), redact(self._given.url))
                report.live()
                await self._watch(publication, report)
            finally:
                await asyncio.gather(publication.close(), client.delete())

    def _exchange(self, client: WhipClient) -> Callable[[str], Awaitable[str]]:
        async def exchange(offer: str) -> str:
            answer = await client.post(offer)
            self._ice_servers = answer.ice_servers or self._ice_servers
            return answer.sdp

        return exchange

    async def _watch(self, publication: "Publication", report: Report) -> None:
        shown = redact(self._given.url)
        counted = 0
        while True:
            await asyncio.sleep(_LOOK_S)
            sent = await publication.sent()
            report.sent(sent - counted)
            counted = sent
            if publication.over:
                raise OutletError(f"The WHIP endpoint {shown} ended the connection; it is published again.")
            if await publication.silent_s() > self._silent_s:
                raise OutletError(
                    f"The WHIP endpoint {shown} has reported nothing for {self._silent_s:.0f} seconds; "
                    "it is published again."
                )


class Publication:
    """One connection that sends the presenter."""

    def __init__(self, hub: EncodeHub, codec: Codec | None, ice_servers: tuple[RTCIceServer, ...]) -> None:
        self.pc = RTCPeerConnection(
            RTCConfiguration(list(ice_servers), bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)
        )
        self._hub = hub
        self._attachment: Attachment | None = None
        self._tracks = Tracks(self._request_keyframe)
        video = self.pc.addTransceiver(self._tracks.pictures, direction="sendonly")
        video.setCodecPreferences(_video_codecs(codec))
        audio = self.pc.addTransceiver(self._tracks.sounds, direction="sendonly")
        audio.setCodecPreferences(_known("audio", "audio/opus"))
        self._video: RTCRtpSender = video.sender
        self._audio: RTCRtpSender = audio.sender
        self._changed = asyncio.Event()
        self.pc.on("connectionstatechange", self._changed.set)

    @property
    def over(self) -> bool:
        """Whether the connection has ended."""
        return self.pc.connectionState in ("failed", "closed")

    async def connect(self, exchange: Callable[[str], Awaitable[str]], shown: str) -> None:
        """Offer, take the answer, and begin to send once the connection stands. Raises OutletError."""
        await self.pc.setLocalDescription()
        answer = await exchange(self.pc.localDescription.sdp)
        try:
            await self.pc.setRemoteDescription(RTCSessionDescription(answer, "answer"))
            codec = agreed_codec(answer)
        except (OperationError, InvalidAccessError, *PARSE_ERRORS) as error:
            raise OutletError(
                f"The WHIP endpoint {shown} gave an answer that cannot be used; check that it takes Opus, "
                "and H.264 or VP8."
            ) from error
        if codec is None:
            raise OutletError(
                f"The WHIP endpoint {shown} takes no picture in the offered codecs; "
                "choose another video_codec.",
                final=True,
            )
        try:
            async with asyncio.timeout(CONNECT_S):
                while self.pc.connectionState != "connected" and not self.over:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError as error:
            raise _unreachable(shown) from error
        if self.over:
            raise _unreachable(shown)
        self._begin(codec)

    async def sent(self) -> int:
        """Bytes of media sent so far."""
        stats = [stat for sender in self._senders for stat in (await sender.getStats()).values()]
        return sum(stat.bytesSent for stat in stats if stat.type == "outbound-rtp")

    async def silent_s(self) -> float:
        """Seconds since the receiver last reported; 0 as long as it never has."""
        stats = [stat for sender in self._senders for stat in (await sender.getStats()).values()]
        heard = [stat.timestamp for stat in stats if stat.type == "remote-inbound-rtp"]
        return float((steady_datetime() - max(heard)).total_seconds()) if heard else 0.0

    async def close(self) -> None:
        """End it; nothing of it is left."""
        if self._attachment is not None:
            self._attachment.detach()
        self._tracks.stop()
        await close_connection(self.pc)

    @property
    def _senders(self) -> tuple[RTCRtpSender, RTCRtpSender]:
        return self._video, self._audio

    def _begin(self, codec: Codec) -> None:
        # Platforms pass on what they get to many: nobody's report may lower it.
        self._attachment = self._hub.attach(self._tracks, video=codec, audio="opus", steady=True)
        hear_receiver(
            self._video,
            codec,
            request_keyframe=self._attachment.request_keyframe,
            report_bitrate=lambda kbps: None,
        )

    def _request_keyframe(self) -> None:
        if self._attachment is not None:
            self._attachment.request_keyframe()


def _unreachable(shown: str) -> OutletError:
    return OutletError(
        f"No connection to the WHIP endpoint {shown} came about; its media ports must be reachable over UDP, "
        "or it must name a TURN server."
    )


def _video_codecs(codec: Codec | None) -> list[Any]:
    chosen: tuple[Codec, ...] = (codec,) if codec else ("h264", "vp8")
    return [one for name in chosen for one in _known("video", MIME_TYPES[name])]


def _known(kind: str, mime_type: str) -> list[Any]:
    codecs = RTCRtpSender.getCapabilities(kind).codecs
    return [codec for codec in codecs if codec.mimeType.lower() == mime_type]
