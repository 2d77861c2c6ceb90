"""WHEP: a viewer of the presenter."""

from typing import Any

from aiortc import RTCRtpSender
from aiortc.sdp import SessionDescription

from streaming.encoding.base import Codec
from streaming.encoding.hub import Attachment, EncodeHub
from streaming.settings import IceServer
from streaming.webrtc.peer import Peer
from streaming.webrtc.sdp import Offer
from streaming.webrtc.sending import hear_receiver
from streaming.webrtc.tracks import Tracks

MIME_TYPES: dict[Codec, str] = {"h264": "video/h264", "vp8": "video/vp8"}


class Viewer(Peer):
    """Gets pictures and sound from the moment its connection stands, beginning with a key frame.

    Both tracks begin with the same tick. Sound is always Opus. The picture takes a codec that is being
    encoded for others, else H.264, which costs half of what VP8 does, else VP8. With `alpha`, pictures have
    twice the height, the matte below.
    """

    def __init__(
        self,
        ice_servers: tuple[IceServer, ...],
        connect_timeout_s: float,
        encoders: EncodeHub,
        *,
        alpha: bool = False,
    ) -> None:
        super().__init__(ice_servers, connect_timeout_s)
        self._encoders = encoders
        self._alpha = alpha
        self._attachment: Attachment | None = None
        self._tracks = Tracks(self._request_keyframe)
        self._kinds: frozenset[str] = frozenset()

    def _prepare(self, offer: Offer) -> None:
        self._kinds = offer.kinds
        if "video" in offer.kinds:
            picture = self.pc.addTransceiver(self._tracks.pictures, direction="sendonly")
            picture.setCodecPreferences(_cheapest_first(self._encoders.running(alpha=self._alpha)))
        if "audio" in offer.kinds:
            sound = self.pc.addTransceiver(self._tracks.sounds, direction="sendonly")
            codecs = RTCRtpSender.getCapabilities("audio").codecs
            sound.setCodecPreferences([codec for codec in codecs if codec.mimeType.lower() == "audio/opus"])

    def _start(self) -> None:
        video = agreed_codec(self.pc.localDescription.sdp)
        audio = "audio" in self._kinds
        self._attachment = self._encoders.attach(
            self._tracks, video=video, audio="opus" if audio else None, alpha=self._alpha
        )
        if video is None:
            self._tracks.sounds.begin(0)
            return
        sender = next(sender for sender in self.pc.getSenders() if sender.kind == "video")
        hear_receiver(
            sender,
            video,
            request_keyframe=self._attachment.request_keyframe,
            report_bitrate=self._attachment.report_bitrate,
        )

    async def _stop(self) -> None:
        if self._attachment is not None:
            self._attachment.detach()
        self._tracks.stop()

    def _request_keyframe(self) -> None:
        if self._attachment is not None:
            self._attachment.request_keyframe()


def agreed_codec(description: str) -> Codec | None:
    """The codec of the picture in an answer: the first of its section; None without a picture."""
    for media in SessionDescription.parse(description).media:
        if media.kind == "video" and media.port:
            mime_type = media.rtp.codecs[0].mimeType.lower()
            return next((codec for codec, name in MIME_TYPES.items() if name == mime_type), None)
    return None


def _cheapest_first(running: tuple[Codec, ...]) -> list[Any]:
    """The codecs we know: those that are being encoded, then H.264."""
    known = RTCRtpSender.getCapabilities("video").codecs
    names = [MIME_TYPES[codec] for codec in (*running, "h264")]
    return sorted(
        known,
        key=lambda codec: names.index(codec.mimeType.lower()) if codec.mimeType.lower() in names else 9,
    )
