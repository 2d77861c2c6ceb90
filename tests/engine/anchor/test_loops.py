"""The idle loop that is found, where the best one is known."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.anchor.crop import Points
from engine.anchor.loops import (
    FADE,
    GOOD_FRAMES,
    MAX_FRAMES,
    MIN_FRAMES,
    IdleLoop,
    at_rest,
    closed_lips,
    find_loop,
)
from engine.anchor.survey import Survey
from tests.surveys import good_survey
from tests.turned_faces import turned_face

FACE = turned_face((320, 180), 110)


def moving(xs: NDArray[np.floating[Any]], **changes: Any) -> Survey:
    """Somebody silent whose face is `xs` pixels to the right of the middle."""
    landmarks: list[Points | None] = [FACE + np.array([x, 0], np.float32) for x in xs]
    silent = np.zeros(len(xs), np.bool_)
    return good_survey(len(xs), landmarks=landmarks, voiced=silent, **changes)


def everywhere(survey: Survey) -> NDArray[np.bool_]:
    return np.ones(len(survey.landmarks), np.bool_)


def wandering(count: int, seed: int = 0) -> NDArray[np.float64]:
    """A smooth way that never comes back to where it was at the same speed."""
    rng = np.random.default_rng(seed)
    steps = np.convolve(rng.normal(0, 1, count + 40), np.hanning(41) / 20, mode="valid")
    return np.cumsum(steps + 0.6)


def test_a_stretch_that_comes_back_loops_forward() -> None:
    steps = np.arange(600)
    xs = 3.0 * steps
    xs[100:420] = 300 + 15 * np.sin(2 * np.pi * np.arange(320) / 180)
    survey = moving(xs)
    loop = find_loop(survey, everywhere(survey), "forward")
    assert loop is not None
    assert loop.frames == 180
    assert 100 + FADE <= loop.first < loop.last <= 420
    assert (loop.loop, loop.fade, loop.rested) == ("forward", FADE, False)
    assert loop.jump < 0.2


def test_a_ping_pong_turns_where_the_head_stands_still() -> None:
    xs = 40 * np.sin(2 * np.pi * np.arange(700) / 300)
    survey = moving(xs)
    loop = find_loop(survey, everywhere(survey), "pingpong")
    assert loop is not None
    turns = np.array([75, 225, 375, 525, 675])
    assert np.abs(turns - loop.first).min() <= 2
    assert np.abs(turns - (loop.last - 1)).min() <= 2
    assert loop.fade == 0
    assert loop.jump < 0.3


def test_of_both_ways_the_cheaper_is_taken() -> None:
    coming_back = moving(np.concatenate([20 * np.sin(2 * np.pi * np.arange(450) / 200)]))
    wandering_off = moving(wandering(450))
    assert find_loop(coming_back, everywhere(coming_back)).loop == "forward"  # type: ignore[union-attr]
    assert find_loop(wandering_off, everywhere(wandering_off)).loop == "pingpong"  # type: ignore[union-attr]


def test_what_stands_still_is_shown_as_long_as_may_be() -> None:
    survey = moving(np.zeros(900))
    loop = find_loop(survey, everywhere(survey))
    assert loop is not None
    assert loop.frames == MAX_FRAMES
    bounded = find_loop(survey, everywhere(survey), longest=170)
    assert bounded is not None
    assert bounded.frames == 170


def test_a_background_that_changes_is_a_jump() -> None:
    thumbs = np.full((400, 48, 48), 90, np.uint8)
    thumbs[:150] = 160
    survey = moving(np.zeros(400), thumbs=thumbs)
    loop = find_loop(survey, everywhere(survey), "forward")
    assert loop is not None
    assert loop.first - FADE >= 150
    assert loop.jump < 0.1


def test_light_that_drifts_is_a_jump() -> None:
    light = np.full(400, 120, np.float32)
    light[:100] += np.linspace(40, 20, 100)
    survey = moving(np.zeros(400), brightness=light)
    loop = find_loop(survey, everywhere(survey), "forward")
    assert loop is not None
    assert loop.first - FADE >= 95


def test_closed_eyes_are_no_turning_point() -> None:
    blinking: list[Points | None] = [FACE] * 150
    shut = FACE.copy()
    shut[159], shut[386] = shut[145], shut[374]
    for number in (*range(8), *range(140, 150)):
        blinking[number] = shut
    survey = good_survey(150, landmarks=blinking, voiced=np.zeros(150, np.bool_))
    loop = find_loop(survey, everywhere(survey), "pingpong")
    assert loop is not None
    assert loop.first >= 8
    assert loop.last <= 140


def test_a_face_that_is_turned_away_is_left_out_where_there_is_better() -> None:
    yaw = np.full(600, 2, np.float32)
    yaw[:300] = 40
    survey = moving(np.zeros(600), yaw=yaw)
    loop = find_loop(survey, everywhere(survey))
    assert loop is not None
    assert loop.first >= 290


def test_effort_is_avoided() -> None:
    effort = np.full(600, 3, np.float32)
    effort[200:420] = 0.2
    survey = moving(np.zeros(600))
    loop = find_loop(survey, everywhere(survey), effort=effort)
    assert loop is not None
    assert loop.rested
    assert 180 <= loop.first < loop.last <= 440


def test_a_very_short_loop_has_to_be_much_better() -> None:
    allowed = np.zeros(400, np.bool_)
    allowed[:60] = allowed[100:240] = True
    survey = moving(np.zeros(400))
    loop = find_loop(survey, allowed)
    assert loop is not None
    assert loop.frames >= GOOD_FRAMES


def test_nothing_allowed_is_no_loop() -> None:
    survey = moving(np.zeros(300))
    allowed = everywhere(survey)
    assert find_loop(survey, ~allowed) is None
    allowed[::40] = False
    assert find_loop(survey, allowed) is None
    assert find_loop(survey, allowed, shortest=30) is not None


def test_a_face_that_was_never_seen_is_no_error() -> None:
    survey = good_survey(
        200,
        landmarks=[None] * 200,
        jaw_open=float("nan"),
        yaw=float("nan"),
        pitch=float("nan"),
        brightness=float("nan"),
    )
    assert not at_rest(survey).any()
    assert not closed_lips(survey).any()
    assert find_loop(survey, np.zeros(200, np.bool_)) is None


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    holes=st.lists(st.integers(0, 279), max_size=6),
    choice=st.sampled_from(["auto", "forward", "pingpong"]),
    window=st.tuples(st.integers(0, 150), st.integers(MIN_FRAMES + FADE, 130)),
)
def test_no_other_loop_is_cheaper(seed: int, holes: list[int], choice: Any, window: tuple[int, int]) -> None:
    survey = moving(wandering(280, seed))
    allowed = everywhere(survey)
    allowed[holes] = False
    best = find_loop(survey, allowed, choice)
    inside = np.zeros_like(allowed)
    inside[window[0] : sum(window)] = True
    other = find_loop(survey, allowed & inside, choice)
    if best is None:
        assert other is None
        return
    _is_sound(best, allowed)
    if other is not None:
        _is_sound(other, allowed & inside)
        assert best.cost <= other.cost + 1e-6


def _is_sound(loop: IdleLoop, allowed: NDArray[np.bool_]) -> None:
    assert MIN_FRAMES <= loop.frames <= MAX_FRAMES
    assert allowed[loop.first - loop.fade : loop.last].all()
    assert loop.fade == (FADE if loop.loop == "forward" else 0)


def test_speech_is_no_rest() -> None:
    survey = good_survey(500)
    rest = at_rest(survey)
    assert rest[:250].all()
    assert not rest[250:].any()
    assert closed_lips(survey).all()


@pytest.mark.parametrize("sound", [True, False])
def test_lips_that_move_are_no_rest_with_and_without_sound(sound: bool) -> None:
    openings = 0.3 * np.abs(np.sin(np.arange(200) * 0.7))
    speaking: list[Points | None] = [turned_face((320, 180), 110, opening=o) for o in openings]
    survey = good_survey(
        400,
        landmarks=[FACE] * 200 + speaking,
        jaw_open=np.concatenate([np.full(200, 0.02), openings]).astype(np.float32),
        voiced=np.concatenate([np.zeros(200, np.bool_), np.full(200, sound)]),
    )
    rest = at_rest(survey)
    assert rest[:180].all()
    assert not rest[210:].any()
    loop = find_loop(survey, rest)
    assert loop is not None
    assert loop.last <= 200


def test_lips_that_are_parted_and_still_are_at_rest() -> None:
    parted = turned_face((320, 180), 110, opening=0.25)
    survey = good_survey(300, landmarks=[parted] * 300, voiced=np.zeros(300, np.bool_))
    assert at_rest(survey).all()
    assert not closed_lips(survey).any()
