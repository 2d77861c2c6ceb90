"""LiveAvatar over a long time, whatever its users do: nothing jumps, nothing grows."""

import gc
import itertools
import random
import resource
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.anchor.morph import Morph
from engine.anchor.package import Avatar
from engine.live import LiveAvatar, Tick
from engine.mouth.features import AnchorFeatures
from engine.picture.yuv import Frame, planes
from engine.speech.audio import SAMPLES_PER_TICK
from tests.engine.clips import LENGTHS, make_clips_avatar
from tests.fakes import FakeMouth, room_noise, speech_like

SPEECH = speech_like(30.0)
NOISE = room_noise(30.0)


@pytest.fixture(scope="module")
def avatars(tmp_path_factory: pytest.TempPathFactory) -> list[Avatar]:
    """Two presenters of several clips, one of them in the dark."""
    folder: Path = tmp_path_factory.mktemp("avatars")
    bright, dark = (Avatar.load(make_clips_avatar(folder, name)) for name in ("ada", "kai"))
    for number in range(dark.frames):
        shade = dark.frame(number).copy()
        planes(shade)[0][:] //= 2
        shade.flags.writeable = False
        dark._frames[number] = shade
    return [bright, dark]


def live_on(avatars: list[Avatar], seed: int, ticks: int) -> Iterator[Tick]:
    """A session under a random user: texts, a microphone, interrupts, clips, other presenters."""
    chance = random.Random(seed)
    roles = [(avatar, AnchorFeatures(avatar, mouth := FakeMouth()), mouth) for avatar in avatars]
    live = LiveAvatar(*roles[0])
    microphone = False
    for _ in range(ticks):
        dice = chance.random()
        start = chance.randrange(20) * 16_000
        if dice < 0.010:
            live.push(SPEECH[start : start + chance.randrange(1, 60_000)])
            if chance.random() < 0.8:
                live.finish()
        elif dice < 0.016:
            live.interrupt()
        elif dice < 0.030:
            live.show(chance.choice(list(LENGTHS)))
        elif dice < 0.036:
            live.recast(*chance.choice(roles))
        elif dice < 0.046:
            microphone = not microphone
        if microphone:
            source = SPEECH if chance.random() < 0.9 else NOISE
            live.push(source[start : start + chance.randrange(0, 1200)], live=True)
        for _, _, mouth in roles:
            mouth.mels.clear()
        yield live.tick()


def upper(picture: Frame) -> NDArray[np.int16]:
    """The luma above the mouth, which moves as it likes."""
    return planes(picture)[0][:85].astype(np.int16)


def step(one: Frame, other: Frame) -> float:
    return float(np.abs(upper(one) - upper(other)).mean())


def own_step(avatar: Avatar) -> float:
    """The largest step that the clips make by themselves."""
    found, start = 0.0, 0
    for clip in avatar.card.clips:
        frames = [avatar.frame(start + number) for number in range(clip.frames)]
        found = max(found, *(step(*pair) for pair in itertools.pairwise(frames)))
        start += clip.frames
    return found


def check_step(avatars: dict[str, Avatar], own: float, before: Tick, after: Tick) -> None:
    """What the clips do by themselves, and a third of each hard cut that is being softened."""
    bound = own + 0.5  # rounding of what is mixed twice
    for tick in (before, after):
        avatar = avatars[tick.avatar]
        if tick.other is not None:
            bound += step(avatar.frame(tick.frame), avatar.frame(tick.other)) / 3
        if tick.before is not None:
            bound += step(avatar.frame(tick.frame), tick.before.picture) / 3
    assert step(before.picture, after.picture) <= bound


def watch(avatars: list[Avatar], seed: int, ticks: int) -> Iterator[Tick]:
    """The ticks of a session, looked at one after another."""
    named = {avatar.name: avatar for avatar in avatars}
    own = max(own_step(avatar) for avatar in avatars)
    for number, (before, after) in enumerate(itertools.pairwise(live_on(avatars, seed, ticks)), start=1):
        assert after.index == before.index + 1 == number
        assert after.position >= before.position
        assert after.sound.shape == (SAMPLES_PER_TICK,)
        assert 0 <= after.other_share < 1
        check_step(named, own, before, after)
        yield after


def test_a_cut_would_be_noticed(avatars: list[Avatar]) -> None:
    named, own = {avatar.name: avatar for avatar in avatars}, max(own_step(avatar) for avatar in avatars)
    ticks = [tick for tick in live_on(avatars, 0, 600) if tick.other is None and tick.before is None]
    noticed = 0
    for before, after in itertools.pairwise(ticks):
        try:
            check_step(named, own, before, after)
        except AssertionError:
            noticed += 1
    assert noticed >= 3


@pytest.mark.parametrize("seed", range(2))
def test_whatever_is_asked_no_tick_jumps(avatars: list[Avatar], seed: int) -> None:
    ticks = list(watch(avatars, seed, 1000))
    assert sum(tick.other is not None for tick in ticks) > 50
    assert len({(tick.avatar, tick.clip) for tick in ticks}) >= 6


def test_nothing_of_what_was_shown_is_kept(avatars: list[Avatar]) -> None:
    """Of all pictures drawn, morphs found, there lives what the last tick and one before a recast hold."""
    drawn: list[weakref.ref[Frame]] = []
    morphs: list[weakref.ref[Morph]] = []
    for tick in live_on(avatars, 7, 1200):
        if tick.picture.flags.writeable:
            drawn.append(weakref.ref(tick.picture))
        if tick.morph is not None:
            morphs.append(weakref.ref(tick.morph))
        assert sum(one() is not None for one in drawn[-50:]) <= 3
        assert sum(one() is not None for one in morphs[-50:]) <= 3
    del tick
    gc.collect()
    assert len(drawn) > 300
    assert len(morphs) > 50
    assert sum(one() is not None for one in drawn) <= 2
    assert sum(one() is not None for one in morphs) <= 2


@pytest.mark.slow
def test_an_hour_of_chance(avatars: list[Avatar]) -> None:
    sizes = [
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for tick in watch(avatars, 99, 90_000)
        if tick.index % 30_000 == 15_000
    ]
    assert len(sizes) == 3
    assert sizes[-1] - sizes[0] < 30_000  # kB
