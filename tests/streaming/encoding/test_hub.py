"""One encoder a codec, whoever attaches, detaches, joins late or interrupts."""

import asyncio
import errno
import logging
from collections.abc import AsyncIterator, Callable

import av
import numpy as np
import pytest

from engine.picture.yuv import Frame
from engine.speech.audio import SAMPLES_PER_TICK
from streaming.drawing import Workers
from streaming.encoding.base import Codec
from streaming.encoding.hub import EncodeHub
from streaming.encoding.keyframes import LEAST_SLOTS
from streaming.encoding.stream import RAW_WAITING
from tests.streaming.conftest import eventually, no_task_is_left
from tests.streaming.encoding.fake_encoder import GREY, Collector, FakeEncoder, Opener

SILENCE = np.zeros(SAMPLES_PER_TICK, np.int16)


class Counts:
    """Figures of encoders."""

    def __init__(self) -> None:
        self.encoded: list[str] = []
        self.left_out: list[str] = []
        self.late: list[float] = []

    def encode(self, codec: str, seconds: float) -> None:
        assert seconds >= 0
        self.encoded.append(codec)

    def not_encoded(self, codec: str) -> None:
        self.left_out.append(codec)

    def picture(self, lateness_s: float) -> None:
        self.late.append(lateness_s)


class Show:
    """A hub with fake encoders, and a hand that gives it ticks."""

    def __init__(self, prepare: Callable[[FakeEncoder], None] = lambda _: None) -> None:
        self.opener = Opener(prepare)
        self.counts = Counts()
        self.lateness: list[float] = []
        self.workers = Workers(2)
        self.hub = EncodeHub((16, 16), 2400, self.workers, self.opener, self.counts, self.lateness.append)
        self.slot = 0
        self.given = 0
        """Pictures given to encoders."""

    async def ticks(self, count: int) -> None:
        """Give ticks as fast as they are encoded."""
        for _ in range(count):
            self.tick()
            await self.settled()

    def tick(self) -> None:
        """Give one tick and do not wait."""
        sounds = self.hub.encode_sound(SILENCE, self.slot)
        self.hub.show(self.slot, GREY, sounds)
        self.given += len(self.hub.codecs)
        self.slot += 1

    async def close(self) -> None:
        await self.hub.close()
        self.workers.close()

    async def settled(self) -> None:
        """Wait until everything that was given is encoded or left out."""
        for _ in range(10_000):
            if len(self.counts.encoded) + len(self.counts.left_out) == self.given:
                return
            await asyncio.sleep(0.0005)
        raise AssertionError("the encoders did not keep up")


@pytest.fixture
async def show() -> AsyncIterator[Show]:
    before = asyncio.all_tasks()
    show = Show()
    yield show
    await show.close()
    assert show.hub.codecs == ()
    await no_task_is_left(before)


async def test_nothing_is_encoded_for_nobody(show: Show) -> None:
    await show.ticks(5)
    assert show.opener.opened == []
    assert show.hub.encode_sound(SILENCE, 9) == []


async def test_many_receivers_share_one_encoder(show: Show) -> None:
    crowd = [Collector() for _ in range(20)]
    for one in crowd:
        show.hub.attach(one, video="h264", audio="opus")
    await show.ticks(10)
    assert [codec for codec, _ in show.opener.opened] == ["h264"]
    assert show.counts.encoded == ["h264"] * 10
    assert all(one.slots == list(range(10)) for one in crowd)
    assert all(one.pictures[3] is crowd[0].pictures[3] for one in crowd)
    assert all(len(one.sounds) == 20 for one in crowd)


async def test_each_codec_has_its_own(show: Show) -> None:
    one, other = Collector(), Collector()
    show.hub.attach(one, video="vp8", audio="opus")
    attached = show.hub.attach(other, video="h264", audio="aac")
    await show.ticks(10)
    assert show.hub.codecs == ("vp8", "h264")
    assert {sound.codec for sound in one.sounds} == {"opus"}
    assert {sound.codec for sound in other.sounds} == {"aac"}
    assert attached.size == (16, 16)
    assert attached.bitrate_kbps == 2400
    assert attached.audio_config[:2] == b"\x11\x88"


@pytest.mark.parametrize(("video", "audio"), [("h264", None), (None, "opus"), (None, None)])
async def test_a_receiver_gets_what_it_attached_for(
    show: Show, video: Codec | None, audio: str | None
) -> None:
    one = Collector()
    attached = show.hub.attach(one, video=video, audio="opus" if audio else None)
    await show.ticks(5)
    assert bool(one.pictures) == (video is not None)
    assert bool(one.sounds) == (audio is not None)
    assert attached.bitrate_kbps == (2400 if video else 0)
    attached.request_keyframe()
    attached.report_bitrate(100)


async def test_encoders_end_with_their_last_receiver_and_begin_anew(show: Show) -> None:
    one, other = Collector(), Collector()
    first = show.hub.attach(one, video="h264", audio="aac")
    second = show.hub.attach(other, video="h264", audio="opus")
    await show.ticks(3)
    first.detach()
    first.detach()
    await show.ticks(3)
    assert one.slots == [0, 1, 2]
    assert other.slots == list(range(6))
    assert show.hub.codecs == ("h264",)
    second.detach()
    assert not show.hub.codecs
    await show.ticks(3)
    assert len(show.counts.encoded) == 6
    show.hub.attach(one, video="h264", audio=None)
    await show.ticks(2)
    assert len(show.opener.opened) == 2
    assert one.keys == [0, 9]


async def test_who_joins_gets_nothing_before_a_key_frame_and_shares_it(show: Show) -> None:
    early = Collector()
    show.hub.attach(early, video="h264", audio=None)
    await show.ticks(40)
    late = [Collector() for _ in range(3)]
    for one in late:
        show.hub.attach(one, video="h264", audio=None)
        await show.ticks(4)
    await show.ticks(20)
    assert early.keys == [0, 40, 40 + LEAST_SLOTS]
    assert late[0].slots[0] == 40
    assert late[1].slots[0] == late[2].slots[0] == 40 + LEAST_SLOTS
    assert all(one.pictures[0].keyframe for one in late)
    assert all(np.all(np.diff(one.slots) == 1) for one in late)


async def test_a_request_makes_a_key_frame_soon_and_a_storm_two_a_second(show: Show) -> None:
    one = Collector()
    attached = show.hub.attach(one, video="h264", audio=None)
    await show.ticks(30)
    for _ in range(40):
        attached.request_keyframe()
        await show.ticks(1)
    assert one.keys == [0, 30, 30 + LEAST_SLOTS, 30 + 2 * LEAST_SLOTS, 30 + 3 * LEAST_SLOTS]


async def test_a_steady_receiver_brings_key_frames_along(show: Show) -> None:
    one = Collector()
    attached = show.hub.attach(one, video="h264", audio=None, steady=True)
    await show.ticks(120)
    assert one.keys == [0, 50, 100]
    show.hub.attach(Collector(), video="h264", audio=None)
    attached.detach()
    await show.ticks(100)
    assert [slot for slot, _, key in show.opener.last.asked if key] == [0, 50, 100, 120]


async def test_encoding_happens_in_the_threads_of_all(show: Show) -> None:
    show.hub.attach(Collector(), video="h264", audio=None)
    await show.ticks(3)
    assert show.opener.last.threads <= {"work_0", "work_1"}


async def test_how_late_each_picture_was_encoded_is_told(show: Show) -> None:
    show.hub.attach(Collector(), video="h264", audio=None)
    await show.ticks(2)
    show.hub.show(2, GREY, [], due=show.workers.clock() - 3)
    show.given += 1
    await show.settled()
    assert show.lateness == show.counts.late
    assert 0 <= show.lateness[0] < 3 <= show.lateness[2]


async def test_a_slow_encoder_leaves_pictures_out_before_it_encodes(show: Show) -> None:
    one = Collector()
    show.hub.attach(one, video="h264", audio="opus")
    await show.ticks(2)
    encoder = show.opener.last
    encoder.lid.clear()
    for _ in range(10):
        show.tick()
        await asyncio.sleep(0.001)
    # The sound does not wait for the picture.
    assert len(one.sounds) == 24
    encoder.lid.set()
    await show.settled()
    # Slot 2 was in work; of those that waited, the newest were kept.
    assert one.slots == [0, 1, 2, *range(12 - RAW_WAITING, 12)]
    assert show.hub.dropped == len(show.counts.left_out) == 9 - RAW_WAITING


async def test_an_interrupt_drops_what_is_not_encoded_and_keeps_the_chain(show: Show) -> None:
    one = Collector()
    show.hub.attach(one, video="h264", audio=None)
    await show.ticks(2)
    encoder = show.opener.last
    encoder.lid.clear()
    for _ in range(3):
        show.tick()
        await asyncio.sleep(0.001)
    show.hub.clear()
    assert one.cleared == 1
    encoder.lid.set()
    await eventually(lambda: one.slots == [0, 1, 2])
    show.given -= 2
    await show.ticks(2)
    # Every picture that went into the encoder has come out, so none refers to a missing one.
    assert one.slots == [slot for slot, _, _ in encoder.asked] == [0, 1, 2, 5, 6]
    assert one.keys == [0]
    assert show.counts.left_out == []


async def test_an_encoder_that_fails_is_opened_anew(show: Show, caplog: pytest.LogCaptureFixture) -> None:
    one = Collector()
    show.hub.attach(one, video="h264", audio=None)
    await show.ticks(3)
    show.opener.last.fault = av.FFmpegError(errno.EIO, "the card is gone")
    show.tick()
    await eventually(lambda: "opened anew" in caplog.text)
    show.tick()
    await eventually(lambda: len(show.opener.opened) == 2)
    await eventually(lambda: one.slots == [0, 1, 2, 4])
    assert one.keys == [0, 4]


async def test_a_fault_of_a_receiver_is_told(show: Show, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Collector):
        def picture(self, picture: object) -> None:
            raise RuntimeError("a receiver's fault")

    with caplog.at_level(logging.ERROR):
        show.hub.attach(Broken(), video="h264", audio=None)
        show.tick()
        await eventually(lambda: "a receiver's fault" in caplog.text)


async def test_reports_lower_the_bit_rate_unless_something_is_steady() -> None:
    # As much as 2400 kbit/s are: a report of less than is sent is a complaint.
    show = Show(lambda encoder: setattr(encoder, "size", 12_000))

    async def rates(count: int) -> list[int]:
        await show.ticks(count)
        return [kbps for _, kbps, _ in show.opener.last.asked[-count:]]

    one = show.hub.attach(Collector(), video="h264", audio=None)
    two = show.hub.attach(Collector(), video="h264", audio=None)
    assert set(await rates(60)) == {2400}
    one.report_bitrate(1000)
    assert set(await rates(5)) == {2400}
    two.report_bitrate(1000)
    assert (await rates(5))[-1] == one.bitrate_kbps == 850
    steady = show.hub.attach(Collector(), video="h264", audio=None, steady=True)
    assert (await rates(5))[-1] == steady.bitrate_kbps == 2400
    steady.detach()
    two.detach()
    two.report_bitrate(1)
    # The one that is left still says 1000.
    assert (await rates(60))[-1] == 850
    one.detach()
    await show.close()


async def test_closing_while_a_picture_is_in_work_does_not_wait_for_it(show: Show) -> None:
    one = Collector()
    show.hub.attach(one, video="h264", audio=None)
    await show.ticks(1)
    encoder = show.opener.last
    encoder.lid.clear()
    show.tick()
    await asyncio.sleep(0.01)
    began = asyncio.get_running_loop().time()
    await show.hub.close()
    assert asyncio.get_running_loop().time() - began < 0.5
    encoder.lid.set()
    await asyncio.sleep(0.05)
    assert one.slots == [0]


async def test_real_encoders_serve_real_receivers(workers: Workers) -> None:
    hub = EncodeHub((320, 240), 800, workers)
    picture = np.full((360, 320), 128, np.uint8)
    one, other = Collector(), Collector()
    hub.attach(one, video="h264", audio="opus")
    hub.attach(other, video="vp8", audio="aac", steady=True)
    for slot in range(60):
        hub.show(slot, picture, hub.encode_sound(SILENCE, slot))
        await eventually(lambda slot=slot: one.slots[-1:] == [slot] and other.slots[-1:] == [slot])  # type: ignore[misc]
    assert (one.keys, other.keys) == ([0], [0, 50])
    assert len(one.sounds) == 120
    assert len(other.sounds) > 100
    await hub.close()


async def test_pictures_with_a_matte_have_an_encoder_of_their_own(show: Show) -> None:
    plain, cut_out = Collector(), Collector()
    show.hub.attach(plain, video="h264", audio=None)
    attached = show.hub.attach(cut_out, video="h264", audio="opus", alpha=True)
    drawn: list[int] = []

    def draw() -> Frame:
        drawn.append(1)
        return GREY

    for slot in range(3):
        show.hub.show(slot, GREY, [], draw)
        await eventually(lambda slot=slot: plain.slots[-1:] == cut_out.slots[-1:] == [slot])  # type: ignore[misc]
    assert attached.size == (16, 32)
    assert len(drawn) == 3
    assert show.hub.codecs == ("h264", "h264")
    assert (show.hub.running(alpha=False), show.hub.running(alpha=True)) == (("h264",), ("h264",))
    attached.detach()
    show.hub.show(3, GREY, [], draw)
    await eventually(lambda: plain.slots[-1:] == [3])
    assert len(drawn) == 3
    assert show.hub.running(alpha=True) == ()
