"""What viewers ask for reaches the encoders, and what is encoded reaches viewers unchanged."""

import asyncio
import random
from collections.abc import AsyncIterator

import av
import httpx
import pytest
from aiortc import RTCPeerConnection, RTCRtpReceiver, RTCRtpSender
from aiortc.codecs.h264 import h264_depayload
from aiortc.codecs.vpx import vp8_depayload
from aiortc.rtp import RTCP_PSFB_APP, RTCP_PSFB_FIR, RTCP_PSFB_PLI, RtcpPsfbPacket, pack_remb_fci
from fastapi import FastAPI

from streaming.encoding.base import Codec, EncodedPicture, EncodedSound
from streaming.sessions import Session
from streaming.webrtc.client import Watcher
from streaming.webrtc.sending import PacketSender, hear_receiver, picture_packet, sound_packet
from streaming.webrtc.tracks import PictureTrack
from tests.streaming.conftest import eventually, exchange


def picture(slot: int = 7, size: int = 5000) -> EncodedPicture:
    """Two NAL units: a small one and one that takes several packets."""
    noise = random.Random(slot).randbytes(size).replace(b"\0", b"\1")
    return EncodedPicture(b"\0\0\0\1\x67abc\0\0\0\1\x65" + noise, slot, keyframe=True)


@pytest.fixture
async def sender() -> AsyncIterator[RTCRtpSender]:
    pc = RTCPeerConnection()
    yield pc.addTransceiver(PictureTrack(lambda: None), direction="sendonly").sender
    await pc.close()


def test_h264_is_cut_once_for_all_viewers() -> None:
    made = picture()
    first, second = PacketSender("h264", print), PacketSender("h264", print)
    payloads, stamp = first.pack(picture_packet(made))
    assert second.pack(picture_packet(made))[0] is payloads
    assert stamp == 7 * 3600
    assert b"".join(h264_depayload(payload) for payload in payloads) == made.data
    assert max(map(len, payloads)) <= 1300


def test_vp8_carries_numbers_without_a_gap_for_each_viewer() -> None:
    packer = PacketSender("vp8", print)
    numbers = []
    for slot in (5, 6, 20):
        made = picture(slot)
        payloads, stamp = packer.pack(picture_packet(made))
        assert stamp == 3600 * slot
        assert b"".join(vp8_depayload(payload) for payload in payloads) == made.data
        numbers.append(int.from_bytes(payloads[0][2:4], "big") & 0x7FFF)
    assert [(number - numbers[0]) & 0x7FFF for number in numbers] == [0, 1, 2]


def test_a_packet_sender_encodes_nothing() -> None:
    with pytest.raises(TypeError, match="before they are sent"):
        PacketSender("h264", print).encode(av.VideoFrame(16, 16, "yuv420p"))


def test_sound_is_timed_at_48_khz() -> None:
    packet = sound_packet(EncodedSound(b"sound", "opus", 1920 * 3 + 960, 960))
    assert (bytes(packet), packet.pts, packet.time_base.denominator) == (b"sound", 6720, 48_000)


@pytest.mark.parametrize("fmt", [RTCP_PSFB_PLI, RTCP_PSFB_FIR])
async def test_the_installed_aiortc_tells_of_key_frame_requests(sender: RTCRtpSender, fmt: int) -> None:
    asked: list[str] = []
    assert hear_receiver(
        sender, "h264", request_keyframe=lambda: asked.append("key"), report_bitrate=lambda kbps: None
    )
    await sender._handle_rtcp_packet(RtcpPsfbPacket(fmt=fmt, ssrc=1, media_ssrc=sender._ssrc))
    assert asked == ["key"]


async def test_the_installed_aiortc_tells_of_bit_rates(sender: RTCRtpSender) -> None:
    heard: list[int] = []
    assert hear_receiver(sender, "vp8", request_keyframe=lambda: None, report_bitrate=heard.append)
    for ssrc in (sender._ssrc, sender._ssrc + 1):
        fci = pack_remb_fci(1_234_000, [ssrc])
        await sender._handle_rtcp_packet(RtcpPsfbPacket(fmt=RTCP_PSFB_APP, ssrc=1, media_ssrc=0, fci=fci))
    # REMB has a mantissa of 18 bits; that of another stream is not ours.
    assert heard == [pytest.approx(1234, abs=1)]


def test_an_aiortc_that_hides_them_elsewhere_still_sends(caplog: pytest.LogCaptureFixture) -> None:
    class Other:
        kind = "video"

    told = hear_receiver(
        Other(),  # type: ignore[arg-type]
        "h264",
        request_keyframe=lambda: None,
        report_bitrate=lambda kbps: None,
    )
    assert not told
    assert "aiortc" in caplog.text


def the_session(app: FastAPI, opened: dict[str, str]) -> Session:
    session: Session = app.state.table.get(opened["id"])
    return session


def prefer(watcher: Watcher, *names: str) -> None:
    for transceiver in watcher.pc.getTransceivers():
        if transceiver.kind == "video":
            known = RTCRtpReceiver.getCapabilities("video")
            assert known is not None
            transceiver.setCodecPreferences(
                sorted(
                    (codec for codec in known.codecs if codec.mimeType in names),
                    key=lambda codec: names.index(codec.mimeType),
                )
            )


async def test_viewers_share_one_encoder(
    app: FastAPI, http: httpx.AsyncClient, session: dict[str, str]
) -> None:
    watchers = [Watcher() for _ in range(3)]
    for watcher in watchers:
        prefer(watcher, "video/VP8")
        await watcher.connect(exchange(http, session["whep"]))
    for watcher in watchers:
        await asyncio.wait_for(watcher.pictures.recv(), 10)
    assert the_session(app, session).encoders.codecs == ("vp8",)
    for watcher in watchers:
        await watcher.close()
    await eventually(lambda: the_session(app, session).encoders.codecs == ())


async def test_who_joins_takes_the_codec_that_is_already_being_encoded(
    app: FastAPI, http: httpx.AsyncClient, session: dict[str, str]
) -> None:
    first, second = Watcher(), Watcher()
    prefer(first, "video/H264")
    await first.connect(exchange(http, session["whep"]))
    await asyncio.wait_for(first.pictures.recv(), 10)
    # It would rather have VP8, and knows both.
    prefer(second, "video/VP8", "video/H264")
    await second.connect(exchange(http, session["whep"]))
    await asyncio.wait_for(second.pictures.recv(), 10)
    assert the_session(app, session).encoders.codecs == ("h264",)
    await first.close()
    await second.close()


@pytest.mark.parametrize(("name", "codec"), [("video/VP8", "vp8"), ("video/H264", "h264")])
async def test_a_lost_picture_brings_a_key_frame(
    app: FastAPI, http: httpx.AsyncClient, session: dict[str, str], name: str, codec: Codec
) -> None:
    keys: list[int] = []

    class Spy:
        def picture(self, picture: EncodedPicture) -> None:
            if picture.keyframe:
                keys.append(picture.slot)

        def sound(self, sound: EncodedSound) -> None:
            pass

        def clear(self) -> None:
            pass

    the_session(app, session).encoders.attach(Spy(), video=codec, audio=None)
    watcher = Watcher()
    prefer(watcher, name)
    await watcher.connect(exchange(http, session["whep"]))
    for _ in range(30):
        await asyncio.wait_for(watcher.pictures.recv(), 10)
    before = len(keys)
    receiver = next(t.receiver for t in watcher.pc.getTransceivers() if t.kind == "video")
    await receiver._send_rtcp_pli(next(iter(watcher_sources(receiver))))
    await eventually(lambda: len(keys) == before + 1)
    for _ in range(30):
        await asyncio.wait_for(watcher.pictures.recv(), 10)
    assert len(keys) == before + 1
    await watcher.close()


def watcher_sources(receiver: RTCRtpReceiver) -> list[int]:
    """The SSRCs that a receiver gets pictures from."""
    return [source.source for source in receiver.getSynchronizationSources()]
