"""Opus and AAC: what comes out, decoded again and compared with what went in."""

from itertools import pairwise

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from engine.speech.audio import SAMPLE_RATE, SAMPLES_PER_TICK, Samples, to_pcm16
from streaming.encoding.aac import FRAME_SAMPLES, AacEncoder
from streaming.encoding.base import EncodedSound, SoundEncoder
from streaming.encoding.opus import OpusEncoder
from tests.fakes import speech_like

SPEECH = speech_like(3.0)
TICKS = SPEECH.size // SAMPLES_PER_TICK


def tick(number: int) -> NDArray[np.int16]:
    return to_pcm16(SPEECH[number * SAMPLES_PER_TICK : (number + 1) * SAMPLES_PER_TICK])


def encode(encoder: SoundEncoder, slots: list[int]) -> list[EncodedSound]:
    return [
        sound for number, slot in enumerate(slots) for sound in encoder.encode(tick(number % TICKS), slot)
    ]


def decode(name: str, sounds: list[EncodedSound], config: bytes = b"") -> Samples:
    """What is heard, mono at 48 kHz, beginning with the first packet."""
    decoder = av.CodecContext.create(name, "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate = 48_000
    decoder.layout = "mono"
    if config:
        decoder.extradata = config
    frames = [frame for sound in sounds for frame in decoder.decode(av.Packet(sound.data))]
    parts = [frame.to_ndarray().reshape(-1) for frame in frames]
    heard = np.concatenate(parts).astype(np.float32)
    return np.asarray(heard / np.abs(heard).max(), np.float32)


def delay_ms(heard: Samples, pts: int, first_slot: int) -> float:
    """By how much the sound is later than its time stamps say."""
    line = np.zeros(max(0, pts - 1920 * first_slot) + heard.size, np.float32)
    at = pts - 1920 * first_slot
    line[max(0, at) : max(0, at) + heard.size] = heard
    line = line[max(0, -at) :][::3]
    part = SPEECH[SAMPLE_RATE // 2 : 2 * SAMPLE_RATE]
    match = np.correlate(line[SAMPLE_RATE // 2 - 800 :], part, "valid")
    return (int(np.argmax(match)) - 800) / SAMPLE_RATE * 1000


def test_opus_is_two_packets_a_tick_timed_by_slot() -> None:
    sounds = encode(OpusEncoder(), list(range(100, 100 + TICKS)))
    assert [sound.pts for sound in sounds] == [1920 * 100 + 960 * number for number in range(2 * TICKS)]
    assert {(sound.codec, sound.duration) for sound in sounds} == {("opus", 960)}


def test_opus_is_in_step() -> None:
    sounds = encode(OpusEncoder(), list(range(100, 100 + TICKS)))
    # Opus looks ahead by 6.5 ms; anything more would pull sound and lips apart.
    assert 0 <= delay_ms(decode("libopus", sounds), sounds[0].pts, 100) <= 10


@pytest.mark.parametrize("first", [0, 100])
def test_aac_frames_follow_each_other_without_a_hole(first: int) -> None:
    sounds = encode(AacEncoder(), list(range(first, first + TICKS)))
    assert all(b.pts - a.pts == FRAME_SAMPLES for a, b in pairwise(sounds))
    assert {(sound.codec, sound.duration) for sound in sounds} == {("aac", FRAME_SAMPLES)}
    assert sounds[0].pts >= 0
    # All but what the resampler and the encoder still hold has come out.
    assert sounds[-1].pts + FRAME_SAMPLES >= 1920 * (first + TICKS) - 4 * FRAME_SAMPLES


@pytest.mark.parametrize("first", [0, 100])
def test_aac_is_in_step(first: int) -> None:
    encoder = AacEncoder()
    sounds = encode(encoder, list(range(first, first + TICKS)))
    assert abs(delay_ms(decode("aac", sounds, encoder.config), sounds[0].pts, first)) <= 2


def test_aac_tells_what_it_is() -> None:
    # AudioSpecificConfig: object type 2 (LC), frequency index 3 (48 kHz), one channel.
    config = int.from_bytes(AacEncoder().config[:2], "big")
    assert (config >> 11, config >> 7 & 0xF, config >> 3 & 0xF) == (2, 3, 1)
    assert OpusEncoder().config == b""
    sounds = encode(AacEncoder(), list(range(20)))
    assert not any(sound.data.startswith(b"\xff\xf1") for sound in sounds)


def test_aac_fills_skipped_slots_with_silence() -> None:
    encoder = AacEncoder()
    sounds = encode(encoder, [*range(10), *range(20, 40)])
    assert all(b.pts - a.pts == FRAME_SAMPLES for a, b in pairwise(sounds))
    heard = decode("aac", sounds, encoder.config)
    start = sounds[0].pts
    silent = heard[1920 * 12 - start : 1920 * 18 - start]
    assert np.abs(silent).max() < 0.02
    assert np.abs(heard).max() > 0.5


def test_aac_goes_on_after_a_long_stall_without_making_it_up() -> None:
    encoder = AacEncoder()
    sounds = encode(encoder, [*range(10), *range(100_000, 100_020)])
    assert len(sounds) < 60
    steps = [b.pts - a.pts for a, b in pairwise(sounds)]
    assert all(step > 0 for step in steps)
    assert sum(step != FRAME_SAMPLES for step in steps) == 1
    assert sounds[-1].pts >= 1920 * 100_000
