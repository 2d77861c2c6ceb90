"""LiveAvatar in three steps: begin, the mouths that it asks for, complete."""

import numpy as np
import pytest

from engine.anchor.crop import Picture
from engine.anchor.package import Avatar
from engine.live import LiveAvatar, Pending, Tick
from engine.mouth.features import AnchorFeatures
from tests.engine.clips import NOD, make_clips_avatar
from tests.fakes import FakeMouth, speech_like


@pytest.fixture(scope="module")
def avatar(tmp_path_factory: pytest.TempPathFactory) -> Avatar:
    return Avatar.load(make_clips_avatar(tmp_path_factory.mktemp("avatars")))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Avatar:
    return Avatar.load(make_clips_avatar(tmp_path_factory.mktemp("avatars"), "other"))


def speaking(avatar: Avatar, seconds: float = 2.0) -> LiveAvatar:
    mouth = FakeMouth()
    live = LiveAvatar(avatar, AnchorFeatures(avatar, mouth), mouth)
    live.push(speech_like(seconds))
    live.finish()
    return live


def patches(pending: Pending) -> list[Picture | None]:
    return [one.mouth.decode(one.window[None], [one.features])[0] for one in pending.requests]


def step(live: LiveAvatar, *, drawn: bool = True) -> Tick:
    pending = live.begin()
    return live.complete(pending, patches(pending) if drawn else [None] * len(pending.requests))


def test_the_three_steps_are_a_tick(avatar: Avatar) -> None:
    whole, stepped = speaking(avatar), speaking(avatar)
    for number in range(70):
        if number == 20:
            whole.show(NOD)
            stepped.show(NOD)
        one, other = whole.tick(), step(stepped)
        np.testing.assert_array_equal(one.picture, other.picture)
        np.testing.assert_array_equal(one.sound, other.sound)
        assert (one.index, one.clip, one.frame, one.position) == (
            other.index,
            other.clip,
            other.frame,
            other.position,
        )
        assert not one.mouth_repeated
        assert not other.mouth_repeated


def test_an_idle_tick_asks_for_nothing_and_a_fade_for_two(avatar: Avatar) -> None:
    live = speaking(avatar)
    counts = []
    for _ in range(80):
        pending = live.begin()
        tick = live.complete(pending, patches(pending))
        counts.append(len(pending.requests))
        assert len(pending.requests) <= (2 if tick.other is not None else 1)
    assert {1, 2} <= set(counts)
    assert counts[-1] == 0


def test_a_late_mouth_is_the_last_one_on_the_frame_of_now(avatar: Avatar) -> None:
    late, punctual = speaking(avatar), speaking(avatar)
    for _ in range(12):
        before = step(late)
        step(punctual)
    pending = punctual.begin()
    repeated = punctual.complete(pending, [_last(punctual) for _ in pending.requests])
    tick = step(late, drawn=False)
    assert tick.mouth_repeated
    assert not repeated.mouth_repeated
    np.testing.assert_array_equal(tick.picture, repeated.picture)
    assert tick.frame != before.frame
    assert not np.array_equal(tick.picture, avatar.frame(tick.frame))
    # Sound and time go on, and so do the mouths.
    assert tick.index == before.index + 1
    assert tick.sound.any()
    assert not step(late).mouth_repeated


def _last(live: LiveAvatar) -> Picture | None:
    """The mouth drawn last, of the clip that is on."""
    return next(hand._last for hand in live._role.hands if hand._last is not None)


def test_without_a_last_mouth_the_frame_is_shown_as_it_is(avatar: Avatar) -> None:
    live = speaking(avatar)
    ticks = [step(live, drawn=False) for _ in range(10)]
    assert all(tick.mouth_repeated and tick.speaking for tick in ticks)
    for tick in ticks:
        if tick.other is None:
            np.testing.assert_array_equal(tick.picture, avatar.frame(tick.frame))


def test_a_closed_mouth_is_not_remembered(avatar: Avatar) -> None:
    live = speaking(avatar, 0.6)
    for _ in range(40):
        tick = step(live)
    assert not tick.speaking
    live.push(speech_like(0.6, 1))
    live.finish()
    tick = step(live, drawn=False)
    assert tick.mouth_repeated
    if tick.other is None:
        np.testing.assert_array_equal(tick.picture, avatar.frame(tick.frame))


def test_another_presenter_between_the_steps_is_seen_from_the_next_tick_on(
    avatar: Avatar, other: Avatar
) -> None:
    live, mouth = speaking(avatar), FakeMouth()
    for _ in range(8):
        step(live)
    pending = live.begin()
    live.recast(other, AnchorFeatures(other, mouth), mouth)
    tick = live.complete(pending, patches(pending))
    assert tick.avatar == avatar.name
    assert tick.before is None
    assert mouth.mels == []
    late = step(live, drawn=False)
    # The mouth of the one is never pasted on the other.
    assert (late.avatar, late.mouth_repeated) == (other.name, True)
    assert late.before is not None
    assert step(live).avatar == other.name
    assert mouth.mels


def test_an_interrupt_between_the_steps_leaves_the_tick_whole(avatar: Avatar) -> None:
    live = speaking(avatar)
    for _ in range(8):
        step(live)
    pending = live.begin()
    assert live.interrupt() > 0
    tick = live.complete(pending, patches(pending))
    assert tick.speaking
    assert tick.sound.any()
    after = [step(live) for _ in range(3)]
    assert not any(one.speaking or one.sound.any() for one in after)
    assert after[-1].index == tick.index + 3


def test_as_many_patches_as_requests(avatar: Avatar) -> None:
    live = speaking(avatar)
    pending = live.begin()
    for wrong in ([], [None, None, None]):
        with pytest.raises(ValueError, match="patches for"):
            live.complete(pending, wrong)
