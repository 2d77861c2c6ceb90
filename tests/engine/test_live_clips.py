"""LiveAvatar with several clips: how they follow each other while it speaks."""

import itertools
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.anchor.director import LINGER, LONGEST_FADE, POSTURE_WAIT, REQUEST_WAIT
from engine.anchor.package import Avatar
from engine.errors import AvatarError
from engine.live import LiveAvatar, Tick
from engine.mouth.features import AnchorFeatures
from engine.mouth.runtime import MouthRuntime
from engine.picture.yuv import planes
from engine.speech.audio import to_pcm16
from tests.engine.clips import AWAY, HELLO, LENGTHS, NOD, TALKING, OpenMouth, make_clips_avatar
from tests.fakes import FakeMouth, speech_like


@pytest.fixture(scope="module")
def avatar(tmp_path_factory: pytest.TempPathFactory) -> Avatar:
    return Avatar.load(make_clips_avatar(tmp_path_factory.mktemp("avatars")))


@pytest.fixture
def mouth() -> FakeMouth:
    return FakeMouth()


def enter(avatar: Avatar, mouth: MouthRuntime) -> LiveAvatar:
    return LiveAvatar(avatar, AnchorFeatures(avatar, mouth), mouth)


@pytest.fixture
def live(avatar: Avatar, mouth: FakeMouth) -> LiveAvatar:
    return enter(avatar, mouth)


def run(live: LiveAvatar, ticks: int) -> list[Tick]:
    return [live.tick() for _ in range(ticks)]


def say(live: LiveAvatar, seconds: float, seed: int = 0) -> None:
    live.push(speech_like(seconds, seed))
    live.finish()


def names(ticks: Sequence[Tick]) -> list[str]:
    return [name for name, _ in itertools.groupby(tick.clip for tick in ticks)]


def luma(tick: Tick) -> NDArray[np.float32]:
    return planes(tick.picture)[0].astype(np.float32)


def steps(ticks: Sequence[Tick]) -> NDArray[np.float64]:
    """Mean difference of luma from each tick to the next."""
    return np.array([np.abs(luma(b) - luma(a)).mean() for a, b in itertools.pairwise(ticks)])


def fading(ticks: Sequence[Tick]) -> NDArray[np.bool_]:
    return np.array([tick.other is not None for tick in ticks])


def open_pixels(tick: Tick) -> int:
    """How many pixels are as dark as the inside of the fake mouth, where faces are."""
    return int((luma(tick)[100:145, 50:115] < 90).sum())


def test_it_names_its_clips(live: LiveAvatar) -> None:
    kinds = {"idle": "idle", TALKING: "talking", NOD: "gesture", HELLO: "greeting", AWAY: "gesture"}
    assert {clip.name: clip.kind for clip in live.clips} == kinds
    assert live.clips[0].name == "idle"


def test_an_unknown_clip_is_refused_and_nothing_happens(live: LiveAvatar) -> None:
    with pytest.raises(AvatarError, match="no clip 'dance'; known clips: idle, talking, nod, hello, away"):
        live.show("dance")
    assert names(run(live, 30)) == ["idle"]


def test_it_goes_to_the_talking_clip_as_soon_as_speech_is_in_sight(live: LiveAvatar) -> None:
    run(live, 10)
    say(live, 3.0)
    ticks = run(live, 200)
    assert ticks[0].speaking
    began = next(number for number, tick in enumerate(ticks) if tick.clip == TALKING)
    left = next(number for number, tick in enumerate(ticks) if number > began and tick.clip == "idle")
    assert began <= POSTURE_WAIT
    assert 75 + LINGER - 5 <= left <= 75 + LINGER + POSTURE_WAIT + 5
    assert names(ticks)[-2:] == [TALKING, "idle"]


def test_sound_does_not_care_about_clips(live: LiveAvatar) -> None:
    speech = speech_like(4.0)
    live.push(speech)
    live.finish()
    ticks = []
    for number in range(130):
        if number in (5, 40):
            live.show(NOD)
        if number == 60:
            live.show(AWAY)
        ticks.append(live.tick())
    said = np.concatenate([tick.sound for tick in ticks])
    np.testing.assert_array_equal(said[: speech.size], to_pcm16(speech))
    assert [tick.index for tick in ticks] == list(range(130))
    positions = [tick.position for tick in ticks]
    assert positions == sorted(positions)


def test_a_silent_fade_never_runs_the_mouth(live: LiveAvatar, avatar: Avatar, mouth: FakeMouth) -> None:
    live.show(NOD)
    ticks = run(live, 80)
    assert names(ticks) == ["idle", NOD, "idle"] or names(ticks) == [NOD, "idle"]
    assert mouth.mels == []
    for tick in ticks:
        if tick.other is None:
            np.testing.assert_array_equal(tick.picture, avatar.frame(tick.frame))


def test_a_fade_while_speaking_draws_the_same_mouth_on_both(live: LiveAvatar, mouth: FakeMouth) -> None:
    say(live, 6.0)
    run(live, 60)
    live.show(NOD)
    for _ in range(REQUEST_WAIT + LONGEST_FADE + 5):
        mouth.mels.clear()
        tick = live.tick()
        assert len(mouth.mels) == (1 if tick.other is None else 2)
        np.testing.assert_array_equal(mouth.mels[0], mouth.mels[-1])


def test_the_picture_of_a_fade_lies_between_both_clips(live: LiveAvatar, avatar: Avatar) -> None:
    live.show(HELLO)
    seen = 0
    for tick in run(live, 60):
        if tick.other is None:
            assert (tick.other_share, tick.morph) == (0.0, None)
            continue
        assert tick.morph is not None
        there = tick.morph.mix(avatar.frame(tick.other), avatar.frame(tick.frame), 1 - tick.other_share)
        np.testing.assert_array_equal(tick.picture, there)
        seen += 1
    assert 10 <= seen <= 2 * LONGEST_FADE


@pytest.mark.parametrize("speaking", [False, True])
def test_no_switch_is_a_jump(avatar: Avatar, speaking: bool) -> None:
    """No step of a fade is much larger than what the clips themselves do, and far from a hard cut."""
    live = enter(avatar, OpenMouth())
    if speaking:
        say(live, 12.0)
    run(live, 60)
    ticks = []
    for clip in (NOD, HELLO, NOD):
        live.show(clip)
        ticks += run(live, 75)
    assert_smooth(avatar, ticks)
    with pytest.raises(AssertionError):
        assert_smooth(avatar, [tick for tick in ticks if tick.other is None])


def assert_smooth(avatar: Avatar, ticks: Sequence[Tick]) -> None:
    """Each step is at most what the clips do by themselves and a third of the hard cut between the frames."""
    change, fades = steps(ticks), fading(ticks)
    own = change[~(fades[1:] | fades[:-1]) & [a.clip == b.clip for a, b in itertools.pairwise(ticks)]].max()
    for step, (before, after) in zip(change, itertools.pairwise(ticks), strict=True):
        pairs = [(tick.frame, tick.other) for tick in (before, after) if tick.other is not None]
        cut = max((hard_cut(avatar, *pair) for pair in pairs), default=0.0)
        assert step <= own + cut / 3, (step, own, cut)


def hard_cut(avatar: Avatar, one: int, other: int) -> float:
    """The step from one frame to the other without a fade."""
    a, b = (planes(avatar.frame(frame))[0].astype(np.float32) for frame in (one, other))
    return float(np.abs(a - b).mean())


def test_the_mouth_goes_on_through_a_fade(avatar: Avatar) -> None:
    """It stays as open as it is, neither closed nor doubled."""
    live = enter(avatar, OpenMouth())
    say(live, 12.0)
    run(live, 60)
    ticks = []
    for clip in (NOD, HELLO):
        live.show(clip)
        ticks += run(live, 75)
    assert fading(ticks).sum() >= 20
    sizes = np.array([open_pixels(tick) for tick in ticks])
    assert np.median(sizes) > 60
    assert sizes.min() > 0.75 * np.median(sizes)
    assert sizes.max() < 1.3 * np.median(sizes)


def test_a_mouth_begins_during_a_fade_as_it_does_elsewhere(avatar: Avatar) -> None:
    live = enter(avatar, OpenMouth())
    live.show(NOD)
    ticks = run(live, 60)
    start = next(number for number, tick in enumerate(ticks) if tick.other is not None)
    live = enter(avatar, OpenMouth())
    live.show(NOD)
    run(live, start)
    say(live, 2.0)
    sizes = [open_pixels(tick) for tick in run(live, 6)]
    assert sizes[0] < sizes[2]
    assert min(sizes[2:]) > 60


def test_an_interrupt_within_a_fade_closes_the_mouth_in_two_ticks(avatar: Avatar, mouth: FakeMouth) -> None:
    live = enter(avatar, mouth)
    say(live, 5.0)
    run(live, 60)
    live.show(NOD)
    while live.tick().other is None:
        pass
    live.interrupt()
    live.tick()
    mouth.mels.clear()
    after = run(live, 4)
    assert mouth.mels == []
    assert any(tick.other is not None for tick in after)
    for tick in after:
        assert not tick.sound.any()
        if tick.morph is not None and tick.other is not None:
            bare = tick.morph.mix(avatar.frame(tick.other), avatar.frame(tick.frame), 1 - tick.other_share)
            np.testing.assert_array_equal(tick.picture, bare)


def test_where_a_face_is_turned_away_the_mouth_is_not_run(
    live: LiveAvatar, avatar: Avatar, mouth: FakeMouth
) -> None:
    say(live, 8.0)
    run(live, 60)
    live.show(AWAY)
    untouched = 0
    for _ in range(70):
        mouth.mels.clear()
        tick = live.tick()
        frames = [tick.frame] + ([] if tick.other is None else [tick.other])
        assert tick.speaking
        assert len(mouth.mels) == sum(avatar.card.shares[frame] > 0 for frame in frames)
        if not mouth.mels:
            np.testing.assert_array_equal(tick.picture, avatar.frame(tick.frame))
            untouched += 1
    assert untouched > 10


def test_a_share_scales_the_mouth(avatar: Avatar) -> None:
    live = enter(avatar, OpenMouth())
    say(live, 8.0)
    run(live, 60)
    live.show(AWAY)
    by_share: dict[float, float] = {}
    for tick in run(live, 70):
        if tick.clip == AWAY and tick.other is None:
            moved = np.abs(luma(tick) - planes(avatar.frame(tick.frame))[0])
            by_share[round(avatar.card.shares[tick.frame], 2)] = float(moved.max())
    partly = [share for share in by_share if 0.2 < share < 0.8]
    assert by_share[0.0] == 0
    assert partly
    for share in partly:
        assert 0.1 * by_share[1.0] < by_share[share] < 0.95 * by_share[1.0]


def test_the_same_calls_give_the_same_ticks_with_clips_too(avatar: Avatar) -> None:
    def session() -> list[Tick]:
        live, ticks = enter(avatar, FakeMouth()), []
        for number in range(200):
            if number in (10, 90):
                live.push(speech_like(1.5, seed=number))
                live.finish()
            if number % 37 == 5:
                live.show((NOD, HELLO, AWAY)[number % 3])
            if number == 110:
                live.interrupt()
            ticks.append(live.tick())
        return ticks

    for one, other in zip(session(), session(), strict=True):
        np.testing.assert_array_equal(one.picture, other.picture)
        np.testing.assert_array_equal(one.sound, other.sound)
        assert (one.clip, one.frame, one.other, one.other_share) == (
            other.clip,
            other.frame,
            other.other,
            other.other_share,
        )


def test_sessions_of_one_avatar_do_not_share_clips(avatar: Avatar, mouth: FakeMouth) -> None:
    features = AnchorFeatures(avatar, mouth)
    nodding, quiet = (LiveAvatar(avatar, features, mouth) for _ in range(2))
    nodding.show(NOD)
    assert NOD in names(run(nodding, 40))
    assert names(run(quiet, 40)) == ["idle"]


def test_clips_may_be_asked_for_from_another_thread(live: LiveAvatar) -> None:
    stop = threading.Event()
    refused: list[Exception] = []

    def ask() -> None:
        try:
            for clip in itertools.cycle([NOD, HELLO, AWAY, "idle", TALKING]):
                if stop.wait(0.0002):
                    return
                live.show(clip)
        except AvatarError as error:
            refused.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    ticks = run(live, 300)
    # On a busy machine the other thread may have had no turn yet.
    while not {NOD, HELLO} <= set(names(ticks)) and len(ticks) < 30_000 and not refused:
        ticks += run(live, 100)
    stop.set()
    thread.join()
    assert not refused
    assert {NOD, HELLO} <= set(names(ticks))
    assert [tick.index for tick in ticks] == list(range(len(ticks)))


def test_frames_belong_to_the_clip_that_is_named(live: LiveAvatar) -> None:
    live.show(NOD)
    live.show(HELLO)
    say(live, 2.0)
    starts = dict(zip(LENGTHS, np.cumsum([0, *LENGTHS.values()]), strict=False))
    for tick in run(live, 200):
        assert starts[tick.clip] <= tick.frame < starts[tick.clip] + LENGTHS[tick.clip]


def test_the_fake_package_is_a_whole_one(tmp_path: Path) -> None:
    loaded = Avatar.load(make_clips_avatar(tmp_path, "again"))
    assert loaded.frames == sum(LENGTHS.values())
    assert {clip.name: clip.frames for clip in loaded.card.clips} == LENGTHS
