"""WHEP: a viewer of the presenter."""

from aiortc import RTCRtpSender
from aiortc.codecs import h264, vpx

from streaming.webrtc.peer import Peer
from streaming.webrtc.sdp import Offer
from streaming.webrtc.tracks import Beat, PictureTrack, SoundTrack


class Viewer(Peer):
    """Gets every tick from the moment its connection stands, beginning with a key frame.

    Both tracks begin with the same tick. Sound is always Opus; the picture takes the codec that the client
    prefers (VP8 or H.264).
    """

    def _prepare(self, offer: Offer) -> None:
        self._picture = PictureTrack()
        self._sound = SoundTrack()
        if "video" in offer.kinds:
            self.pc.addTransceiver(self._picture, direction="sendonly")
        if "audio" in offer.kinds:
            sound = self.pc.addTransceiver(self._sound, direction="sendonly")
            codecs = RTCRtpSender.getCapabilities("audio").codecs
            sound.setCodecPreferences([codec for codec in codecs if codec.mimeType.lower() == "audio/opus"])

    def show(self, beat: Beat, now: float) -> None:
        """Queue a tick; `now` is the event loop's clock. Before the connection stands, ticks pass by."""
        if self.connected:
            self._picture.beats.put(beat)
            self._sound.put(beat, now)

    def clear(self) -> None:
        """Drop every tick that has not left yet."""
        self._picture.beats.clear()
        self._sound.packets.clear()

    async def _stop(self) -> None:
        self._picture.stop()
        self._sound.stop()


def set_picture_bitrate(kbps: int) -> None:
    """Set what viewers' encoders start with; receivers' reports (REMB) move it between a third and 1.5 times.

    aiortc's own limits, made for video calls, blur a presenter of 720x720. They are module constants, so this
    holds for the whole process.
    """
    h264.DEFAULT_BITRATE = vpx.DEFAULT_BITRATE = 1000 * kbps
    h264.MIN_BITRATE = vpx.MIN_BITRATE = 1000 * kbps // 3
    h264.MAX_BITRATE = vpx.MAX_BITRATE = 1000 * kbps * 3 // 2
