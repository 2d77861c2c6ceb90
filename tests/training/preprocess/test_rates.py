"""Pictures and sound on one clock, whatever the file's clocks say."""

from pathlib import Path

import numpy as np
import pytest

from engine.errors import BadMediaError
from engine.picture.source import probe
from engine.picture.video import read_rgb
from engine.speech.audio import SAMPLE_RATE, SAMPLES_PER_TICK
from tests.fakes import speech_like
from tests.training.preprocess.footage import faces, syllables, turn_on_its_side, voice, write_video
from training.preprocess.rates import Sound, store_sound

CURVE = syllables(50)


def stored(video: Path, tmp_path: Path) -> Sound:
    sound, damaged = store_sound(video, tmp_path / "sound.s16", probe(video).start_s)
    assert damaged == 0
    return sound


@pytest.mark.parametrize("start", [0.0, 0.4, 1.0])
def test_sound_that_starts_late_is_preceded_by_silence(tmp_path: Path, start: float) -> None:
    speech = voice(CURVE)
    video = write_video(tmp_path / "a.mkv", faces(CURVE), speech, sound_start=start)
    sound = stored(video, tmp_path)
    heard = sound.read(0, sound.size)
    lead = round(start * SAMPLE_RATE)
    assert sound.size == pytest.approx(speech.size + lead, abs=20)
    assert np.abs(heard[: max(lead - 20, 0)]).max(initial=0) == 0
    np.testing.assert_allclose(heard[lead : lead + 20000], speech[:20000], atol=2e-4)


def test_sound_before_the_first_picture_is_left_out(tmp_path: Path) -> None:
    speech = voice(CURVE)
    times = [1.0 + number / 25 for number in range(50)]
    video = write_video(tmp_path / "a.mkv", faces(CURVE), speech, times=times)
    assert probe(video).start_s == pytest.approx(1.0)
    sound = stored(video, tmp_path)
    np.testing.assert_allclose(sound.read(0, 10000), speech[SAMPLE_RATE : SAMPLE_RATE + 10000], atol=2e-4)


@pytest.mark.parametrize("rate", [8000, 44100, 48000])
def test_every_rate_becomes_16_khz(tmp_path: Path, rate: int) -> None:
    time = np.arange(2 * rate) / rate
    tone = np.asarray(0.5 * np.sin(2 * np.pi * 440 * time), np.float32)
    sound = stored(write_video(tmp_path / "a.mkv", faces(CURVE), tone, rate=rate), tmp_path)
    assert sound.size == pytest.approx(2 * SAMPLE_RATE, abs=40)
    spectrum = np.abs(np.fft.rfft(sound.read(8000, SAMPLE_RATE)))
    assert int(spectrum.argmax()) == 440


def test_a_damaged_packet_becomes_silence_and_the_rest_stays_in_place(tmp_path: Path) -> None:
    speech = speech_like(4.0)
    video = write_video(tmp_path / "a.mp4", faces(syllables(100)), speech)
    whole = stored(video, tmp_path)
    before = whole.read(0, whole.size)
    content = bytearray(video.read_bytes())
    # Near the end of the media data there is nothing but sound: it was written last.
    place = content.index(b"moov") - 24000
    content[place : place + 600] = b"\xff" * 600
    video.write_bytes(content)
    sound, _ = store_sound(video, tmp_path / "sound.s16", probe(video).start_s)
    after = sound.read(0, sound.size)
    assert abs(sound.size - before.size) < 3000
    np.testing.assert_allclose(after[:SAMPLE_RATE], before[:SAMPLE_RATE], atol=1e-3)
    np.testing.assert_allclose(after[-8000:], before[before.size - 8000 :], atol=1e-2)


def test_variable_frame_rate_keeps_the_clock(tmp_path: Path) -> None:
    times = np.cumsum(np.random.default_rng(1).choice([0.02, 0.04, 0.08], 60)).tolist()
    levels = [np.full((240, 208, 3), 30 + 3 * k, np.uint8) for k in range(60)]
    video = write_video(tmp_path / "a.mkv", levels, None, times=times)
    pictures = list(read_rgb(video))
    assert len(pictures) == pytest.approx((times[-1] - times[0]) * 25, abs=2)
    for number, picture in enumerate(pictures):
        nearest = int(np.argmin(np.abs(np.array(times) - times[0] - number / 25)))
        assert abs(float(picture.mean()) - (30 + 3 * nearest)) <= 4.5


def test_a_phone_held_upright_shows_upright_pictures(tmp_path: Path) -> None:
    upright = faces(CURVE[:5])
    lying = [np.ascontiguousarray(np.rot90(picture, 1)) for picture in upright]
    video = turn_on_its_side(write_video(tmp_path / "a.mp4", lying, None))
    back = list(read_rgb(video))
    assert back[0].shape == (240, 208, 3)
    assert float(np.abs(back[0].astype(int) - upright[0]).mean()) < 6


def test_ten_bits_and_odd_sides_are_read(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mkv", faces(CURVE[:5]), None, pix_fmt="yuv420p10le")
    assert next(iter(read_rgb(video))).dtype == np.uint8
    odd = [picture[:-1, :-1].copy() for picture in faces(CURVE[:5])]
    video = write_video(tmp_path / "b.mkv", odd, None, pix_fmt="yuv444p")
    assert next(iter(read_rgb(video))).shape == (239, 207, 3)


def test_spans_reach_beyond_both_ends(tmp_path: Path) -> None:
    path = tmp_path / "sound.s16"
    path.write_bytes(np.full(10 * SAMPLES_PER_TICK, 16384, np.int16).tobytes())
    sound = Sound(path)
    assert sound.ticks == 10
    part = sound.span(-2, 5)
    assert part.size == 5 * SAMPLES_PER_TICK
    assert part[: 2 * SAMPLES_PER_TICK].max() == 0
    assert part[2 * SAMPLES_PER_TICK :].min() == pytest.approx(0.5)
    assert sound.span(8, 4)[2 * SAMPLES_PER_TICK :].max() == 0
    assert sound.span(20, 2).max() == 0
    assert sound.span(-5, 3).max() == 0
    sound.write(0, np.full(100, -0.25, np.float32))
    assert sound.read(0, 101)[-2:].tolist() == pytest.approx([-0.25, 0.5], abs=1e-4)


def test_what_has_no_picture_or_sound_is_named(tmp_path: Path) -> None:
    words = tmp_path / "文字.mp4"
    words.write_text("no video")
    with pytest.raises(BadMediaError, match="文字"):
        probe(words)
    with pytest.raises(BadMediaError, match="文字"):
        store_sound(words, tmp_path / "sound.s16", 0.0)
