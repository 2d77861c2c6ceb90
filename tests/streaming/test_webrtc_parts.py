"""The parts below the connections: jitter buffers, the sound encoder, tracks."""

import asyncio
from fractions import Fraction

import av
import numpy as np
import pytest
from aiortc import RTCPeerConnection
from aiortc.mediastreams import MediaStreamError
from aiortc.rtp import RtpPacket

from engine.live import Tick
from engine.speech.audio import SAMPLE_RATE, SAMPLES_PER_TICK, to_pcm16
from streaming.webrtc.client import MarkedFrames
from streaming.webrtc.opus import OpusEncoder
from streaming.webrtc.receive import ArrivalOrder, replace_jitter_buffer
from streaming.webrtc.tracks import PICTURES_WAITING, Beat, PictureTrack, SoundTrack
from tests.fakes import speech_like


def packet(number: int, *, marker: int = 0, stamp: int | None = None, data: bytes = b"x") -> RtpPacket:
    made = RtpPacket(
        sequence_number=number & 0xFFFF, timestamp=960 * number if stamp is None else stamp, marker=marker
    )
    made._data = data  # type: ignore[attr-defined]
    return made


def test_every_packet_in_order_comes_out_at_once_across_the_wrap() -> None:
    buffer = ArrivalOrder()
    for number in range(65_500, 65_600):
        _, frame = buffer.add(packet(number))
        assert frame is not None
        assert frame.timestamp == 960 * number


def test_a_lost_packet_delays_nothing() -> None:
    buffer = ArrivalOrder()
    given = [buffer.add(packet(number))[1] for number in (1, 2, 4, 5, 9)]
    assert [frame.timestamp // 960 for frame in given if frame] == [1, 2, 4, 5, 9]


def test_late_repeated_and_empty_packets_are_dropped() -> None:
    buffer = ArrivalOrder()
    order = (1, 2, 2, 5, 3, 6)
    assert [buffer.add(packet(n))[1] is not None for n in order] == [True, True, False, True, False, True]
    assert buffer.add(packet(7, data=b""))[1] is None


def test_a_sender_that_starts_anew_is_heard() -> None:
    buffer = ArrivalOrder()
    buffer.add(packet(30_000))
    assert buffer.add(packet(5))[1] is not None


async def test_the_installed_aiortc_has_the_jitter_buffer_that_is_replaced() -> None:
    pc = RTCPeerConnection()
    receiver = pc.addTransceiver("audio", direction="recvonly").receiver
    assert replace_jitter_buffer(receiver, ArrivalOrder())
    await pc.close()


async def test_a_picture_is_complete_with_its_marker_and_broken_by_a_hole() -> None:
    frames = MarkedFrames()
    assert frames.add(packet(1, stamp=0)) == (False, None)
    _, frame = frames.add(packet(2, stamp=0, marker=1))
    assert frame is not None
    assert frame.data == b"xx"
    frames.add(packet(3, stamp=3600))
    assert frames.add(packet(5, stamp=3600, marker=1)) == (True, None)
    _, frame = frames.add(packet(6, stamp=7200, marker=1))
    assert frame is not None
    assert list(frames.arrived) == [0, 7200]


def test_sound_survives_opus_and_is_timed_by_slot() -> None:
    speech = speech_like(2.0)
    encoder = OpusEncoder()
    decoder = av.CodecContext.create("libopus", "r")
    decoder.sample_rate = 48_000
    decoder.layout = "mono"
    heard, times = [], []
    for slot in range(100, 150):
        part = speech[(slot - 100) * SAMPLES_PER_TICK : (slot - 99) * SAMPLES_PER_TICK]
        for made in encoder.encode(to_pcm16(part), slot):
            times.append(made.pts)
            assert made.time_base == Fraction(1, 48_000)
            heard += [frame.to_ndarray().reshape(-1) for frame in decoder.decode(av.Packet(bytes(made)))]
    assert times == [1920 * 100 + 960 * number for number in range(100)]
    found = np.concatenate(heard).astype(np.float32)[::3]
    found = found / np.abs(found).max()
    match = np.correlate(found[SAMPLE_RATE // 2 :], speech[SAMPLE_RATE // 2 : -3200], "valid")
    delay = int(np.argmax(match))
    # Opus looks ahead by 6.5 ms; anything more would pull sound and lips apart.
    assert delay <= 0.01 * SAMPLE_RATE


def beat(slot: int) -> Beat:
    sound = np.zeros(SAMPLES_PER_TICK, np.int16)
    tick = Tick(slot, np.full((24, 16), 128, np.uint8), sound, speaking=False, mouth_late=False)
    return Beat(slot, tick, tuple(OpusEncoder().encode(sound, slot)))


async def test_a_slow_viewer_misses_pictures_but_not_the_time() -> None:
    track = PictureTrack()
    for slot in range(10):
        track.beats.put(beat(slot))
    frame = await track.recv()
    assert frame.pts == 3600 * (10 - PICTURES_WAITING)
    assert frame.time_base == Fraction(1, 90_000)
    assert frame.format.name == "yuv420p"


async def test_sound_leaves_evenly_and_not_at_all_once_revoked() -> None:
    track = SoundTrack()
    clock = asyncio.get_running_loop().time
    began = clock()
    track.put(beat(0), began)
    assert (await track.recv()).pts == 0
    assert (await track.recv()).pts == 960
    assert clock() - began >= 0.019
    track.put(beat(1), clock() + 0.05)
    waiting = asyncio.create_task(track.recv())
    await asyncio.sleep(0.01)
    track.packets.clear()
    track.put(beat(2), clock())
    assert (await waiting).pts == 3840


async def test_a_stopped_track_ends_who_receives_from_it() -> None:
    for track in (PictureTrack(), SoundTrack()):
        waiting = asyncio.create_task(track.recv())
        await asyncio.sleep(0)
        track.stop()
        with pytest.raises(MediaStreamError):
            await waiting
