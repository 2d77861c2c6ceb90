"""The parts below the connections: jitter buffers and tracks."""

import asyncio
from fractions import Fraction

import pytest
from aiortc import RTCPeerConnection
from aiortc.mediastreams import MediaStreamError
from aiortc.rtp import RtpPacket

from streaming.encoding.base import EncodedPicture, EncodedSound
from streaming.webrtc.client import MarkedFrames
from streaming.webrtc.receive import ArrivalOrder, replace_jitter_buffer
from streaming.webrtc.tracks import PICTURES_WAITING, PictureTrack, SoundTrack


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


def coded(slot: int, *, keyframe: bool = False) -> EncodedPicture:
    return EncodedPicture(f"picture {slot}".encode(), slot, keyframe)


def two_sounds(slot: int) -> list[EncodedSound]:
    return [EncodedSound(b"sound", "opus", 1920 * slot + half, 960) for half in (0, 960)]


async def test_pictures_leave_as_they_are_timed_by_slot() -> None:
    track = PictureTrack(unasked)
    track.put(coded(7, keyframe=True))
    packet = await track.recv()
    assert bytes(packet) == b"picture 7"
    assert (packet.pts, packet.time_base) == (7 * 3600, Fraction(1, 90_000))


def unasked() -> None:
    raise AssertionError("no key frame is needed")


async def test_a_viewer_that_cannot_keep_up_goes_on_with_a_key_frame() -> None:
    asked: list[bool] = []
    track = PictureTrack(lambda: asked.append(True))
    for slot in range(PICTURES_WAITING + 3):
        track.put(coded(slot, keyframe=slot == 0))
    assert asked == [True]
    track.put(coded(20, keyframe=True))
    track.put(coded(21))
    assert [(await track.recv()).pts for _ in range(2)] == [20 * 3600, 21 * 3600]
    assert track.dropped == PICTURES_WAITING + 3


async def test_a_key_frame_that_finds_the_queue_full_needs_no_other() -> None:
    track = PictureTrack(unasked)
    for slot in range(PICTURES_WAITING):
        track.put(coded(slot, keyframe=slot == 0))
    track.put(coded(30, keyframe=True))
    assert (await track.recv()).pts == 30 * 3600


async def test_sound_leaves_evenly_and_not_at_all_once_revoked() -> None:
    track = SoundTrack()
    track.begin(0)
    clock = asyncio.get_running_loop().time
    began = clock()
    for sound in two_sounds(0):
        track.put(sound, began)
    assert (await track.recv()).pts == 0
    assert (await track.recv()).pts == 960
    assert clock() - began >= 0.019
    for sound in two_sounds(1):
        track.put(sound, clock() + 0.05)
    waiting = asyncio.create_task(track.recv())
    await asyncio.sleep(0.01)
    track.clear()
    track.put(two_sounds(2)[0], clock())
    assert (await waiting).pts == 3840


async def test_sound_begins_with_the_tick_of_the_first_picture() -> None:
    track = SoundTrack()
    now = asyncio.get_running_loop().time()
    for slot in range(5):
        for sound in two_sounds(slot):
            track.put(sound, now - 1)
    track.begin(3 * 1920)
    track.put(two_sounds(5)[0], now - 1)
    times = [(await track.recv()).pts for _ in range(5)]
    assert times == [3 * 1920, 3 * 1920 + 960, 4 * 1920, 4 * 1920 + 960, 5 * 1920]


async def test_an_interrupt_before_the_first_picture_revokes_the_sound_that_waits() -> None:
    track = SoundTrack()
    now = asyncio.get_running_loop().time()
    track.put(two_sounds(1)[0], now)
    track.clear()
    track.put(two_sounds(2)[0], now)
    track.begin(0)
    assert (await track.recv()).pts == 3840


async def test_a_stopped_track_ends_who_receives_from_it() -> None:
    for track in (PictureTrack(unasked), SoundTrack()):
        waiting = asyncio.create_task(track.recv())
        await asyncio.sleep(0)
        track.stop()
        with pytest.raises(MediaStreamError):
            await waiting
