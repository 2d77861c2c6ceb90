"""The queue between hub and peer, and the clock of a connection."""

import asyncio

import numpy as np
import pytest

from streaming.drawing import Workers
from streaming.encoding.base import EncodedPicture, EncodedSound
from streaming.encoding.hub import EncodeHub
from streaming.outlets.packets import PICTURES_WAITING, SOUNDS_WAITING, Item, PacketQueue, Timeline
from tests.streaming.outlets.station import SIZE, Station


def picture(slot: int, *, keyframe: bool = False) -> EncodedPicture:
    return EncodedPicture(b"p", slot, keyframe)


def sound(slot: float) -> EncodedSound:
    return EncodedSound(b"s", "aac", round(slot * 1920), 1024)


async def rest(queue: PacketQueue) -> list[Item]:
    """Everything that waits."""
    found = []
    while True:
        try:
            async with asyncio.timeout(0.01):
                found.append(await queue.get())
        except TimeoutError:
            return found


def slots(items: list[Item]) -> list[int]:
    return [item.slot for item in items if isinstance(item, EncodedPicture)]


async def test_it_begins_with_a_key_frame() -> None:
    queue = PacketQueue(revocable=True)
    for slot in range(5):
        queue.picture(picture(slot, keyframe=slot == 3))
    assert slots(await rest(queue)) == [3, 4]
    assert queue.dropped == 3


async def test_order_is_kept() -> None:
    queue = PacketQueue(revocable=True)
    items: list[Item] = [
        picture(0, keyframe=True),
        sound(0),
        sound(0.5),
        picture(1),
        sound(1),
    ]
    for item in items:
        if isinstance(item, EncodedPicture):
            queue.picture(item)
        else:
            queue.sound(item)
    assert await rest(queue) == items


async def test_when_full_it_goes_on_with_the_newest_key_frame_and_keeps_the_sound() -> None:
    queue = PacketQueue(revocable=True)
    for slot in range(PICTURES_WAITING + 1):
        queue.picture(picture(slot, keyframe=slot in (0, 20, 40)))
        queue.sound(sound(slot))
    left = await rest(queue)
    assert slots(left) == list(range(40, PICTURES_WAITING + 1))
    assert sum(isinstance(item, EncodedSound) for item in left) == PICTURES_WAITING + 1
    assert queue.dropped == 40


async def test_when_full_of_one_chain_it_waits_for_a_key_frame() -> None:
    queue = PacketQueue(revocable=True)
    for slot in range(PICTURES_WAITING + 10):
        queue.picture(picture(slot, keyframe=slot == 0))
    queue.picture(picture(100, keyframe=True))
    queue.picture(picture(101))
    assert slots(await rest(queue)) == [100, 101]
    assert queue.dropped == PICTURES_WAITING + 10


async def test_a_key_frame_that_comes_when_it_is_full_is_taken() -> None:
    queue = PacketQueue(revocable=True)
    for slot in range(PICTURES_WAITING):
        queue.picture(picture(slot, keyframe=slot == 0))
    queue.picture(picture(PICTURES_WAITING, keyframe=True))
    assert slots(await rest(queue)) == [PICTURES_WAITING]


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_is_taken_can_be_decoded_and_memory_is_bounded(seed: int) -> None:
    rng = np.random.default_rng(seed)
    queue = PacketQueue(revocable=True)
    taken: list[Item] = []
    for slot in range(600):
        queue.picture(picture(slot, keyframe=slot == 0 or rng.random() < 0.02))
        queue.sound(sound(slot))
        assert len(queue._items) <= PICTURES_WAITING + SOUNDS_WAITING
        if rng.random() < 0.02:
            for _ in range(int(rng.integers(0, 60))):
                if queue._items:
                    taken.append(await queue.get())
    taken += await rest(queue)
    last = None
    for item in taken:
        if isinstance(item, EncodedPicture):
            assert item.keyframe or item.slot == last + 1, (last, item)  # type: ignore[operator]
            last = item.slot


async def test_sound_of_a_dead_peer_does_not_pile_up() -> None:
    queue = PacketQueue(revocable=True)
    for slot in range(2 * SOUNDS_WAITING):
        queue.sound(sound(slot))
    assert len(await rest(queue)) == SOUNDS_WAITING


async def test_an_interrupt_takes_back_sound_of_live_outlets_only() -> None:
    for revocable, kept in ((True, 1), (False, 2)):
        queue = PacketQueue(revocable=revocable)
        queue.picture(picture(0, keyframe=True))
        queue.sound(sound(0))
        queue.clear()
        assert len(await rest(queue)) == kept


async def test_a_new_peer_gets_a_fresh_key_frame_and_nothing_old() -> None:
    async with Station() as station:
        queue = PacketQueue(revocable=True)
        queue.attach(station.hub, video="h264", audio="aac")
        await asyncio.sleep(1.0)
        queue.renew()
        now = station.slot
        async with asyncio.timeout(2):
            while not isinstance(first := await queue.get(), EncodedPicture):
                assert first.pts >= (now - 2) * 1920
        assert first.keyframe
        assert first.slot >= now - 1
        queue.detach()


async def test_attaching_keeps_the_bit_rate_and_detaching_ends_the_encoder(workers: Workers) -> None:
    hub = EncodeHub(SIZE, 400, workers)
    queue = PacketQueue(revocable=True)
    attachment = queue.attach(hub, video="h264", audio="aac")
    assert attachment.audio_config
    assert list(hub.codecs) == ["h264"]
    queue.detach()
    assert not hub.codecs
    await hub.close()


def test_a_connection_begins_at_zero_with_a_picture() -> None:
    timeline = Timeline()
    assert timeline.place(sound(99)) is None
    first = timeline.place(picture(100, keyframe=True))
    assert first is not None
    assert (first.pts, first.duration, first.video, first.keyframe) == (0, 1, True, True)
    assert timeline.place(sound(99.5)) is None
    second = timeline.place(sound(101))
    assert second is not None
    assert (second.pts, second.duration, second.video) == (1920, 1024, False)


def test_skipped_slots_stay_in_the_times() -> None:
    timeline = Timeline()
    placed = [timeline.place(picture(slot)) for slot in (10, 11, 40)]
    assert [one.pts for one in placed if one] == [0, 1, 30]


def test_times_never_repeat_or_go_back() -> None:
    timeline = Timeline()
    placed = [timeline.place(picture(slot)) for slot in (10, 11, 11, 9, 12)]
    assert [one and one.pts for one in placed] == [0, 1, None, None, 2]
    sounds = [timeline.place(sound(slot)) for slot in (11, 11, 11.2, 12)]
    assert [one and one.pts for one in sounds] == [1920, None, None, 3840]
