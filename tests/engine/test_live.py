"""LiveAvatar: the core of a session."""

import threading

import numpy as np
import pytest

from engine.anchor.package import Avatar
from engine.live import LiveAvatar, Tick
from engine.mouth.features import AnchorFeatures
from engine.mouth.openvino_runtime import OpenVinoMouth
from engine.picture.yuv import planes, to_rgb
from engine.speech.audio import SAMPLES_PER_TICK, Samples, to_pcm16
from engine.speech.mel import log_mel, window
from tests.fakes import FRAMES, FakeMouth, room_noise, speech_like


@pytest.fixture
def mouth() -> FakeMouth:
    return FakeMouth()


@pytest.fixture
def live(avatar: Avatar, mouth: FakeMouth) -> LiveAvatar:
    return LiveAvatar(avatar, AnchorFeatures(avatar, mouth), mouth)


def anchor_frame(avatar: Avatar, tick: int) -> int:
    """The ping-pong walk, written by hand."""
    step = tick % (2 * FRAMES - 2)
    return step if step < FRAMES else 2 * FRAMES - 2 - step


def change(avatar: Avatar, tick: Tick) -> float:
    """How far the picture is from the idle anchor: mean of the luminance's difference."""
    idle = avatar.frame(anchor_frame(avatar, tick.index))
    return float(np.abs(planes(tick.picture)[0].astype(int) - planes(idle)[0]).mean())


def sound_of(ticks: list[Tick]) -> Samples:
    return np.concatenate([tick.sound for tick in ticks])


def test_idle_walks_the_anchor_in_silence(live: LiveAvatar, avatar: Avatar, mouth: FakeMouth) -> None:
    ticks = [live.tick() for _ in range(40)]
    assert [tick.index for tick in ticks] == list(range(40))
    for tick in ticks:
        np.testing.assert_array_equal(tick.picture, avatar.frame(anchor_frame(avatar, tick.index)))
        assert tick.sound.dtype == np.int16
        assert tick.sound.shape == (SAMPLES_PER_TICK,)
        assert not tick.sound.any()
        assert not tick.speaking
        assert not tick.mouth_late
    assert mouth.mels == []


def test_speech_is_said_whole_with_its_own_mouth(live: LiveAvatar, avatar: Avatar, mouth: FakeMouth) -> None:
    speech = speech_like(1.0)
    live.push(speech)
    live.finish()
    assert live.backlog_s == pytest.approx(1.0, abs=0.05)
    ticks = [live.tick() for _ in range(32)]
    np.testing.assert_array_equal(sound_of(ticks)[: speech.size], to_pcm16(speech))
    assert not sound_of(ticks)[speech.size :].any()
    assert all(tick.speaking for tick in ticks[:25])
    assert live.backlog_s == 0
    mel = log_mel(np.concatenate([speech, np.zeros(3200, np.float32)]))
    for tick in range(25):
        np.testing.assert_array_equal(mouth.mels[tick], window(mel, tick))
    changes = [change(avatar, tick) for tick in ticks]
    assert min(changes[3:20]) > 0.05
    assert max(changes[29:]) == 0


def test_the_mouth_is_open_before_the_sound(live: LiveAvatar, mouth: FakeMouth) -> None:
    speech = np.concatenate([room_noise(0.4, 0.0003), speech_like(0.6)])
    live.push(speech)
    live.finish()
    ticks = [live.tick() for _ in range(30)]
    onset = 6400 // SAMPLES_PER_TICK
    first = next(tick.index for tick in ticks if tick.speaking)
    assert onset - 3 <= first < onset


def test_idle_and_speaking_flow_into_each_other(live: LiveAvatar, avatar: Avatar) -> None:
    live.push(np.concatenate([np.zeros(3200, np.float32), speech_like(1.0), np.zeros(8000, np.float32)]))
    live.finish()
    ticks = [live.tick() for _ in range(50)]
    changes = np.array([change(avatar, tick) for tick in ticks])
    peak = changes.max()
    rising = np.flatnonzero(changes > 0)[0]
    assert changes[rising] < 0.6 * peak
    falling = np.flatnonzero(changes > 0)[-1]
    assert changes[falling] < 0.4 * peak
    assert falling > 29  # speech ends with tick 30: the mouth is closed and the anchor takes over
    assert not changes[falling + 1 :].any()


def test_room_noise_does_not_move_the_mouth(live: LiveAvatar, avatar: Avatar, mouth: FakeMouth) -> None:
    noise = room_noise(3.0)
    heard = []
    for start in range(0, noise.size, SAMPLES_PER_TICK):
        live.push(noise[start : start + SAMPLES_PER_TICK], live=True)
        heard.append(live.tick())
    assert mouth.mels == []
    assert not any(tick.speaking or tick.mouth_late for tick in heard)
    assert sound_of(heard).any()


def test_a_microphone_is_followed_within_its_lookahead(live: LiveAvatar) -> None:
    speech = speech_like(3.0)
    ticks = []
    for start in range(0, speech.size, SAMPLES_PER_TICK):
        live.push(speech[start : start + SAMPLES_PER_TICK], live=True)
        ticks.append(live.tick())
    sound = sound_of(ticks).astype(np.float64)
    delay = int(np.flatnonzero(sound)[0]) // SAMPLES_PER_TICK
    # 640 samples have been pushed before each tick: two more complete the look-ahead of 1560.
    assert delay == 2
    late = delay * SAMPLES_PER_TICK
    np.testing.assert_array_equal(sound[late:], to_pcm16(speech)[:-late])
    assert live.backlog_s < 0.14


def test_a_burst_from_the_microphone_is_bounded(live: LiveAvatar) -> None:
    live.push(speech_like(5.0), live=True)
    assert live.backlog_s <= (1560 + 3 * 640) / 16000


def test_interrupt_is_silent_at_once_and_closed_in_two_ticks(live: LiveAvatar, avatar: Avatar) -> None:
    speech = speech_like(5.0)
    live.push(speech)
    for _ in range(12):
        live.tick()
    assert live.interrupt() == speech.size - 12 * SAMPLES_PER_TICK
    after = [live.tick() for _ in range(6)]
    assert not sound_of(after).any()
    assert not any(tick.speaking or tick.mouth_late for tick in after)
    assert [change(avatar, tick) > 0 for tick in after[1:]] == [False] * 5
    dark = to_rgb(after[0].picture)[110:125, 75:85].min(axis=-1)
    assert dark.min() > 60  # what is left of the mouth is a closed one
    assert live.interrupt() == 0


def test_after_an_interrupt_it_speaks_again(live: LiveAvatar) -> None:
    live.push(speech_like(1.0))
    for _ in range(5):
        live.tick()
    live.interrupt()
    live.push(speech_like(0.4, seed=2))
    live.finish()
    ticks = [live.tick() for _ in range(12)]
    np.testing.assert_array_equal(sound_of(ticks)[:6400], to_pcm16(speech_like(0.4, seed=2)))


def test_speech_that_comes_too_late_is_reported(live: LiveAvatar) -> None:
    speech = speech_like(2.0)
    live.push(speech[:16000])
    ticks = [live.tick() for _ in range(30)]
    spoken = sum(1 for tick in ticks if tick.sound.any())
    assert [tick.mouth_late for tick in ticks] == [False] * spoken + [True] * (30 - spoken)
    live.push(speech[16000:])
    live.finish()
    rest = [live.tick() for _ in range(30)]
    assert not any(tick.mouth_late for tick in rest)
    said = np.concatenate([sound_of(ticks[:spoken]), sound_of(rest)])
    np.testing.assert_array_equal(said[: speech.size], to_pcm16(speech))


def test_the_same_pushes_give_the_same_ticks(avatar: Avatar) -> None:
    def run() -> list[Tick]:
        mouth = FakeMouth()
        live = LiveAvatar(avatar, AnchorFeatures(avatar, mouth), mouth)
        ticks = []
        for number in range(60):
            if number < 40:
                live.push(speech_like(0.05, seed=number), live=number % 3 == 0)
            if number == 30:
                live.interrupt()
            ticks.append(live.tick())
        return ticks

    for one, other in zip(run(), run(), strict=True):
        np.testing.assert_array_equal(one.picture, other.picture)
        np.testing.assert_array_equal(one.sound, other.sound)
        assert (one.speaking, one.mouth_late) == (other.speaking, other.mouth_late)


def test_sessions_share_features_and_nothing_else(avatar: Avatar, mouth: FakeMouth) -> None:
    features = AnchorFeatures(avatar, mouth)
    talking, quiet = LiveAvatar(avatar, features, mouth), LiveAvatar(avatar, features, mouth)
    talking.push(speech_like(2.0))
    for _ in range(30):
        talking.tick()
        tick = quiet.tick()
        assert not tick.sound.any()
        assert change(avatar, tick) == 0
    assert mouth.encoded == FRAMES


def test_pushing_from_another_thread_loses_nothing(live: LiveAvatar) -> None:
    speech = speech_like(4.0)

    def feed() -> None:
        for start in range(0, speech.size, 100):
            live.push(speech[start : start + 100])
        live.finish()

    thread = threading.Thread(target=feed)
    thread.start()
    ticks = []
    while thread.is_alive() or live.backlog_s:
        ticks.append(live.tick())
    thread.join()
    said = [tick.sound for tick in ticks if tick.sound.any()]
    np.testing.assert_array_equal(np.concatenate(said)[: speech.size], to_pcm16(speech))


def test_eight_hours_of_ticks_keep_no_memory_of_speech(live: LiveAvatar) -> None:
    speech = speech_like(2.0)
    sizes = []
    for _ in range(20):
        live.push(speech)
        live.finish()
        while live.backlog_s:
            live.tick()
        sizes.append(len(live._speech._columns) + live._speech._queue.size + live._speech._past.size)
    assert len(set(sizes[1:])) == 1


def test_the_lips_follow_through_the_real_runtime(avatar: Avatar) -> None:
    mouth = OpenVinoMouth(avatar.mouth, threads=1)
    live = LiveAvatar(avatar, AnchorFeatures(avatar, mouth), mouth)
    speech = np.concatenate([np.zeros(6400, np.float32), speech_like(1.2), np.zeros(6400, np.float32)])
    live.push(speech)
    live.finish()
    ticks = [live.tick() for _ in range(50)]
    openness = np.array([change(avatar, tick) for tick in ticks])
    assert openness[14:38].mean() > 20 * openness[:7].mean()
    assert openness[48:].max() == 0
