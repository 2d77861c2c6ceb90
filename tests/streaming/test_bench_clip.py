"""The speech of benchmarks' microphones, and from it to the mouth: the arithmetic."""

import asyncio
from typing import Any

import av
import numpy as np
import pytest
from aiortc.mediastreams import MediaStreamError

from engine.errors import KouboError
from engine.speech.audio import SAMPLE_RATE, Samples
from streaming.bench_clip import EncodedClip, EncodedMicrophone, speech_clip
from streaming.bench_delay import mic_to_mouth
from tests.fakes import speech_like


def loud(sound: Samples) -> float:
    return float(np.sqrt(np.mean(np.square(sound))))


def test_a_clip_speaks_for_its_share_of_the_time() -> None:
    clip = speech_clip(20.0, 0.4)
    assert clip.size == 20 * SAMPLE_RATE
    tenth = clip.reshape(20, SAMPLE_RATE)
    assert all(loud(part) == 0 for second, part in enumerate(tenth) if second % 10 >= 4)
    assert min(loud(part) for second, part in enumerate(tenth) if second % 10 < 4) > 0.01


def test_a_clip_never_says_the_same_twice() -> None:
    first, second = speech_clip(8.0).reshape(2, -1)
    assert abs(float(np.corrcoef(first, second)[0, 1])) < 0.2


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5])
def test_a_share_that_is_none_is_said(share: float) -> None:
    with pytest.raises(KouboError, match="--speaking"):
        speech_clip(1.0, share)


def test_an_encoded_clip_sounds_like_itself() -> None:
    clip = EncodedClip.of(speech_like(1.0)[:-100])
    assert len(clip.packets) == 48  # whole ticks
    assert clip.samples.size == 48 * 320
    decoder = av.CodecContext.create("libopus", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate, decoder.layout = 48_000, "mono"
    parts = [np.asarray(f.to_ndarray()) for data in clip.packets for f in decoder.decode(av.Packet(data))]
    heard = np.concatenate(parts, axis=1)[0] / 32768
    assert loud(heard) == pytest.approx(loud(clip.samples), rel=0.1)


async def test_a_microphone_says_the_clip_from_its_place_on_in_real_time() -> None:
    clip = EncodedClip.of(speech_like(0.4))
    microphone = EncodedMicrophone(clip, first=15)
    began = asyncio.get_running_loop().time()
    packets: list[av.Packet[Any]] = [await microphone.recv() for _ in range(8)]
    assert [bytes(packet) for packet in packets] == [clip.packets[n % 20] for n in range(15, 23)]
    assert [packet.pts for packet in packets] == [960 * n for n in range(8)]
    assert len(microphone.sent) == 8
    assert microphone.sent[-1] - began >= 8 * 0.02 - 0.005
    # The line goes round with the packets.
    line = microphone.samples(0, 8 * 320)
    np.testing.assert_array_equal(line[: 5 * 320], clip.samples[15 * 320 :])
    np.testing.assert_array_equal(line[5 * 320 :], clip.samples[: 3 * 320])
    microphone.stop()
    with pytest.raises(MediaStreamError):
        await microphone.recv()


class Said:
    """A microphone that said `clip` in real time from time 100 on."""

    def __init__(self, clip: Samples) -> None:
        self._clip = clip
        self.sent = [100 + 0.02 * (number + 1) for number in range(clip.size // 320)]

    def samples(self, start: int, stop: int) -> Samples:
        return self._clip[start:stop]


def came_back(clip: Samples, delay: float) -> tuple[dict[int, float], list[tuple[int, Samples]]]:
    """Pictures and sounds as they arrive when each needs `delay` from the sending of its first sound."""
    ticks = clip.size // 640
    arrived = {7000 + 3600 * tick: 100 + 0.02 + 0.04 * tick + delay for tick in range(ticks)}
    return arrived, [(640 * tick, clip[640 * tick : 640 * (tick + 1)]) for tick in range(ticks)]


@pytest.mark.parametrize("delay", [0.11, 0.18, 0.6])
def test_the_delay_is_found(delay: float) -> None:
    clip = speech_clip(4.0)
    arrived, heard = came_back(clip, delay)
    found = mic_to_mouth(Said(clip), arrived, heard)
    assert len(found) >= 10
    assert np.median(found) == pytest.approx(delay, abs=0.003)


def test_only_pictures_of_the_span_count() -> None:
    clip = speech_clip(4.0)
    arrived, heard = came_back(clip, 0.15)
    whole = mic_to_mouth(Said(clip), arrived, heard)
    half = mic_to_mouth(Said(clip), arrived, heard, 101.0, 103.0)
    assert 0 < len(half) < len(whole)
    assert mic_to_mouth(Said(clip), arrived, heard, 200.0) == []


def test_silence_and_foreign_sounds_tell_nothing() -> None:
    clip = speech_clip(3.0)
    arrived, heard = came_back(clip, 0.15)
    assert mic_to_mouth(Said(clip), {}, heard) == []
    assert mic_to_mouth(Said(clip), arrived, []) == []
    quiet = [(at, np.zeros_like(part)) for at, part in heard]
    assert mic_to_mouth(Said(clip), arrived, quiet) == []
    noise = np.random.default_rng(1).normal(0, 0.1, clip.size).astype(np.float32)
    assert mic_to_mouth(Said(clip), arrived, came_back(noise, 0.15)[1]) == []
