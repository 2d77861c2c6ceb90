"""The director: which frame comes next, and how one clip follows another."""

import itertools
import random
from collections.abc import Sequence

import numpy as np
import pytest

from engine.anchor.card import Clip, ClipKind
from engine.anchor.crop import Crop
from engine.anchor.director import (
    LINGER,
    LONGEST_FADE,
    POSTURE_WAIT,
    REQUEST_WAIT,
    Director,
    Shot,
    find_clip,
    share_left,
)
from engine.anchor.poses import Poses
from engine.anchor.walk import Loop, one_round
from engine.errors import AvatarError

IDLE, TALKING, NOD, WAVE, HELLO, CALM = "idle", "talking", "nod", "wave", "hello", "calm"
STARTS = {IDLE: 0, TALKING: 50, NOD: 90, WAVE: 130, HELLO: 170}


def clip(name: str, kind: ClipKind, frames: int, loop: Loop) -> Clip:
    crops = (Crop(50, 50, 40, 0),) * frames
    return Clip(name, kind, f"{name}.mp4", loop, crops, ((),) * frames, (1.0,) * frames)


CLIPS = (
    clip(IDLE, "idle", 50, "pingpong"),
    clip(TALKING, "talking", 40, "pingpong"),
    clip(NOD, "gesture", 40, "once"),
    clip(WAVE, "gesture", 40, "once"),
    clip(HELLO, "greeting", 60, "once"),
)
FRAMES = sum(one.frames for one in CLIPS)


def wandering(seed: int, frames: int = FRAMES) -> Poses:
    """Poses that change a little from frame to frame."""
    steps = np.random.default_rng(seed).normal(0, 0.004, (frames, 5))
    return np.asarray(np.cumsum(steps, axis=0), np.float32)


def still(frames: int = FRAMES) -> Poses:
    return np.zeros((frames, 5), np.float32)


@pytest.fixture
def director() -> Director:
    return Director(CLIPS, wandering(0))


def run(director: Director, ticks: int, speaking: bool = False) -> list[Shot]:
    return [director.next(speaking) for _ in range(ticks)]


def names(shots: Sequence[Shot]) -> list[str]:
    """The clips shown, one after another."""
    found: list[str] = []
    for shot in shots:
        if not found or found[-1] != shot.clip:
            found.append(shot.clip)
    return found


def first(shots: Sequence[Shot], clip_name: str) -> int:
    return next(number for number, shot in enumerate(shots) if shot.clip == clip_name)


def fades(shots: Sequence[Shot]) -> list[list[Shot]]:
    """The shots of each fade."""
    found: list[list[Shot]] = []
    for shot in shots:
        if shot.other is not None:
            if not found or found[-1][-1].take != shot.take:
                found.append([])
            found[-1].append(shot)
    return found


def test_silence_walks_the_idle_clip() -> None:
    shots = run(Director(CLIPS, wandering(1)), 200)
    walk = [*range(50), *range(48, 0, -1)]
    assert [shot.frame for shot in shots] == [walk[k % 98] for k in range(200)]
    assert {(shot.clip, shot.other, shot.other_share, shot.take) for shot in shots} == {(IDLE, None, 0.0, 0)}


def test_without_a_talking_clip_speech_changes_nothing() -> None:
    alone = Director(CLIPS[:1], wandering(1, 50))
    assert run(alone, 100, speaking=True) == run(Director(CLIPS[:1], wandering(1, 50)), 100)


@pytest.mark.parametrize("seed", range(5))
def test_speech_brings_the_talking_clip_soon_and_silence_the_idle_one_later(seed: int) -> None:
    director = Director(CLIPS, wandering(seed))
    run(director, 30)
    speech = run(director, 100, speaking=True)
    silence = run(director, 150)
    assert first(speech, TALKING) <= POSTURE_WAIT
    assert LINGER - 1 <= first(silence, IDLE) <= LINGER + POSTURE_WAIT
    assert names([*speech, *silence]) == [IDLE, TALKING, IDLE]


def test_pauses_within_speech_change_nothing(director: Director) -> None:
    run(director, 60, speaking=True)
    for pause in (5, 12, 25, 25, 24):
        assert names(run(director, pause)) == [TALKING]
        assert names(run(director, 10, speaking=True)) == [TALKING]


def test_a_cough_does_not_flicker(director: Director) -> None:
    """One tick of voice: there and back once, and no sooner than a pause would allow."""
    shots = [*run(director, 20), *run(director, 1, speaking=True), *run(director, 150)]
    assert names(shots) == [IDLE, TALKING, IDLE]
    talking = [shot for shot in shots if shot.clip == TALKING]
    assert len(talking) >= LINGER - POSTURE_WAIT


@pytest.mark.parametrize("seed", range(5))
def test_a_fade_moves_on_in_both_clips_and_hands_over_step_by_step(seed: int) -> None:
    director = Director(CLIPS, wandering(seed))
    shots = [*run(director, 40), *run(director, 100, speaking=True), *run(director, 100)]
    for fade in fades(shots):
        shares = [shot.other_share for shot in fade]
        assert 5 <= len(fade) <= LONGEST_FADE
        assert all(0 < share < 1 for share in shares)
        assert shares == sorted(shares, reverse=True)
        assert shares == [share_left(done, len(fade)) for done in range(len(fade))]
    assert len(fades(shots)) == 2
    assert_no_jump(shots, CLIPS)


def followers(clips: Sequence[Clip]) -> dict[int, set[int]]:
    """Which frames may follow each frame within its clip."""
    found: dict[int, set[int]] = {}
    start = 0
    for one in clips:
        goes_on = one.kind in ("idle", "talking")
        walk = [start + k for k in one_round(one.frames, "pingpong" if goes_on else one.loop)]
        for here, there in zip(walk, walk[1:] + (walk[:1] if goes_on else walk[-1:]), strict=True):
            found.setdefault(here, set()).add(there)
        start += one.frames
    return found


def weights(shot: Shot) -> dict[int, float]:
    found = {shot.frame: 1 - shot.other_share}
    if shot.other is not None:
        found[shot.other] = found.get(shot.other, 0) + shot.other_share
    return found


def assert_no_jump(shots: Sequence[Shot], clips: Sequence[Clip]) -> None:
    """From tick to tick every frame goes on with the next one of its clip, and only a small share of the
    picture passes to another clip.
    """
    follow = followers(clips)
    for before, after in itertools.pairwise(shots):
        coming = weights(after)
        kept = 0.0
        for frame, weight in weights(before).items():
            next_ones = follow[frame] & coming.keys()
            kept += min(weight, max((coming[one] for one in next_ones), default=0.0))
        assert kept > 0.7, (before, after)


def test_the_check_for_jumps_finds_one() -> None:
    with pytest.raises(AssertionError):
        assert_no_jump([Shot(IDLE, 10), Shot(TALKING, 60)], CLIPS)
    with pytest.raises(AssertionError):
        assert_no_jump([Shot(IDLE, 10), Shot(IDLE, 12)], CLIPS)


def test_the_cut_is_where_both_clips_show_the_same_pose() -> None:
    poses = np.zeros((FRAMES, 5), np.float32)
    poses[:50, 0] = 0.1 + 0.01 * np.arange(50)  # a head on its way through the idle clip
    poses[50:90, 0] = 0.1 + 0.01 * (np.arange(40) + 7)  # the same way, seven frames ahead
    director = Director(CLIPS, poses)
    run(director, 20)
    (fade,) = fades(run(director, 60, speaking=True))
    for shot in fade:
        assert shot.other is not None
        assert abs(poses[shot.frame, 0] - poses[shot.other, 0]) < 1e-6
    assert len(fade) == 5


@pytest.mark.parametrize("seed", range(6))
def test_no_other_cut_within_reach_fits_better(seed: int) -> None:
    """Compared with every wait and every entry, one by one."""
    poses = wandering(seed)
    director = Director(CLIPS, poses)
    at = 13 * seed
    run(director, at)
    shots = run(director, 60, speaking=True)
    (fade,) = fades(shots)
    idle, talking = one_round(50, "pingpong"), one_round(40, "pingpong")

    def cost(wait: int, entry: int) -> float:
        apart = [
            poses[idle[(at + wait + k) % len(idle)]] - poses[50 + talking[(entry + k) % len(talking)]]
            for k in range(LONGEST_FADE)
        ]
        return float(np.mean([way @ way for way in apart])) + 1e-6 * wait

    best = min(cost(wait, entry) for wait in range(POSTURE_WAIT + 1) for entry in range(len(talking)))
    wait = shots.index(fade[0])
    entries = [k for k, frame in enumerate(talking) if 50 + frame == fade[0].frame]
    assert min(cost(wait, entry) for entry in entries) == pytest.approx(best, abs=1e-7)


def test_far_poses_take_a_longer_fade() -> None:
    lengths = []
    for distance in (0.0, 0.03, 0.2):
        poses = still()
        poses[50:90, 0] = distance
        lengths.append(len(fades(run(Director(CLIPS, poses), 60, speaking=True))[0]))
    assert lengths[0] == 5
    assert 5 < lengths[1] < LONGEST_FADE
    assert lengths[2] == LONGEST_FADE


@pytest.mark.parametrize("speaking", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_a_gesture_is_shown_once_and_whole(seed: int, speaking: bool) -> None:
    director = Director(CLIPS, wandering(seed))
    run(director, 90, speaking)
    assert director.ask(NOD)
    shots = run(director, 150, speaking)
    posture = TALKING if speaking else IDLE
    assert names([Shot(posture, 0), *shots]) == [posture, NOD, posture]
    assert first(shots, NOD) <= REQUEST_WAIT
    seen = [
        frame
        for shot in shots
        for frame in ([shot.other] if shot.other is not None else []) + [shot.frame]
        if 90 <= frame < 130
    ]
    begun = [frame - 90 for frame in dict.fromkeys(seen)]
    # Left where it fits best near its end, and never before.
    assert begun == list(range(len(begun)))
    assert 40 - REQUEST_WAIT - 3 <= len(begun) <= 40  # 7 ticks sooner than a fade of 8 needs, or by one of 5
    assert_no_jump(shots, CLIPS)


def test_speech_during_a_gesture_leads_from_it_to_the_talking_clip(director: Director) -> None:
    run(director, 10)
    director.ask(HELLO)
    shots = [*run(director, 30), *run(director, 80, speaking=True)]
    assert names(shots) == [IDLE, HELLO, TALKING]


def test_gestures_wait_for_each_other_in_order(director: Director) -> None:
    assert [director.ask(name) for name in (WAVE, NOD, HELLO)] == [True] * 3
    shots = run(director, 300)
    assert names(shots) == [IDLE, WAVE, NOD, HELLO, IDLE]
    assert_no_jump(shots, CLIPS)


def test_asking_again_while_it_waits_or_is_on_changes_nothing(director: Director) -> None:
    assert director.ask(NOD)
    assert not director.ask(NOD)
    run(director, REQUEST_WAIT + 3)
    assert not director.ask(NOD)
    assert names(run(director, 200)) == [NOD, IDLE]
    assert director.ask(NOD)
    assert names(run(director, 200)) == [IDLE, NOD, IDLE]


def test_asking_again_while_it_ends_shows_it_again(director: Director) -> None:
    director.ask(NOD)
    shots = run(director, 2)
    while director.next(speaking=False).take < 2:
        assert len(shots) < 100
        shots.append(shots[-1])
    director.next(speaking=False)
    assert director.ask(NOD)
    assert names(run(director, 200)) == [IDLE, NOD, IDLE]


def test_a_request_does_not_wait_for_a_change_of_posture() -> None:
    poses = still()
    poses[:50] = np.linspace(0, 1, 50)[:, None]
    poses[50:90] = 0.5  # the talking clip fits only in the middle of the idle one
    director = Director(CLIPS, poses)
    run(director, 8)
    run(director, 2, speaking=True)
    director.ask(NOD)
    assert first(run(director, 40, speaking=True), NOD) <= REQUEST_WAIT


def test_an_unknown_clip_is_refused_with_the_known_names(director: Director) -> None:
    with pytest.raises(AvatarError, match=r"no clip 'dance'; known clips: idle, talking, nod, wave, hello\."):
        director.ask("dance")
    with pytest.raises(AvatarError, match="no clip ''"):
        find_clip(CLIPS, "")


def test_another_idle_clip_can_be_chosen() -> None:
    clips = (*CLIPS, clip(CALM, "idle", 30, "forward"))
    director = Director(clips, wandering(3, FRAMES + 30))
    assert not director.ask(IDLE)
    assert director.ask(CALM)
    shots = run(director, 100)
    assert names(shots) == [IDLE, CALM]
    assert not director.ask(CALM)
    assert names(run(director, 120)) == [CALM]
    assert names([*run(director, 60, speaking=True), *run(director, 120)])[-2:] == [TALKING, CALM]
    assert director.ask(IDLE)
    assert names(run(director, 60))[-1] == IDLE


def test_a_talking_clip_chosen_in_silence_waits_for_speech() -> None:
    clips = (*CLIPS, clip("lively", "talking", 30, "pingpong"))
    director = Director(clips, wandering(3, FRAMES + 30))
    assert director.ask("lively")
    assert names(run(director, 60)) == [IDLE]
    assert names(run(director, 60, speaking=True))[-1] == "lively"


@pytest.mark.parametrize("loop", ["once", "forward", "pingpong"])
@pytest.mark.parametrize("frames", [1, 2, 5, 12, 23])
def test_short_gestures_come_and_go_without_a_jump(frames: int, loop: Loop) -> None:
    clips = (CLIPS[0], clip(NOD, "gesture", frames, loop))
    director = Director(clips, wandering(4, 50 + frames))
    run(director, 20)
    director.ask(NOD)
    shots = run(director, 120)
    assert names(shots) == [IDLE, NOD, IDLE]
    assert {shot.frame for shot in shots if shot.clip == NOD} <= set(range(50, 50 + frames))


def test_single_frames_fade_too() -> None:
    clips = (clip(IDLE, "idle", 1, "pingpong"), clip(TALKING, "talking", 1, "once"))
    director = Director(clips, np.array([[0.0], [0.1]], np.float32))
    shots = [*run(director, 3), *run(director, 30, speaking=True), *run(director, 100)]
    assert names(shots) == [IDLE, TALKING, IDLE]
    assert [len(fade) for fade in fades(shots)] == [LONGEST_FADE] * 2


def test_an_idle_clip_that_is_no_loop_turns_at_its_end() -> None:
    shots = run(Director((clip(IDLE, "idle", 4, "once"),), still(4)), 8)
    assert [shot.frame for shot in shots] == [0, 1, 2, 3, 2, 1, 0, 1]


def drive(seed: int, ticks: int) -> list[Shot]:
    """A director under random speech and requests."""
    chance = random.Random(seed)
    clips = (*CLIPS, clip(CALM, "idle", 30, "pingpong"))
    director = Director(clips, wandering(seed, FRAMES + 30))
    shots, speaking = [], False
    for _ in range(ticks):
        if chance.random() < 0.02:
            speaking = not speaking
        if chance.random() < 0.01:
            director.ask(chance.choice([one.name for one in clips]))
        shots.append(director.next(speaking))
    return shots


@pytest.mark.parametrize("seed", range(8))
def test_ten_minutes_of_chance_have_no_jump(seed: int) -> None:
    shots = drive(seed, 15_000)
    clips = (*CLIPS, clip(CALM, "idle", 30, "pingpong"))
    assert_no_jump(shots, clips)
    ranges = {}
    start = 0
    for one in clips:
        ranges[one.name] = range(start, start + one.frames)
        start += one.frames
    assert all(shot.frame in ranges[shot.clip] for shot in shots)
    assert {shot.clip for shot in shots} == set(ranges)
    assert all(5 <= len(fade) <= LONGEST_FADE for fade in fades(shots)[:-1])
    # A fade is whole before the next one begins.
    takes = [shot.take for shot in shots]
    assert takes == sorted(takes)
    assert set(np.diff(takes)) <= {0, 1}


def test_the_same_asks_give_the_same_shots() -> None:
    assert drive(5, 4000) == drive(5, 4000)
    assert drive(5, 4000) != drive(6, 4000)


def test_what_is_left_of_a_fade_falls_evenly() -> None:
    for ticks in (1, 4, 5, 8):
        left = [1.0, *(share_left(done, ticks) for done in range(ticks)), 0.0]
        assert left == sorted(left, reverse=True)
        np.testing.assert_allclose(np.array(left) + left[::-1], 1)
        if ticks >= 4:
            assert np.abs(np.diff(left)).max() < 0.3
