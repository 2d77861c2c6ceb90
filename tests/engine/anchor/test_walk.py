"""The endless walk."""

from itertools import islice

import pytest

from engine.anchor.walk import AnchorWalk, Loop, one_round


def test_forward_starts_over() -> None:
    assert list(islice(AnchorWalk(3, "forward"), 7)) == [0, 1, 2, 0, 1, 2, 0]


def test_pingpong_turns_without_showing_an_end_twice() -> None:
    assert list(islice(AnchorWalk(4, "pingpong"), 13)) == [0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0]


@pytest.mark.parametrize("loop", ["forward", "pingpong"])
@pytest.mark.parametrize("frames", [1, 2])
def test_short_anchors_stay_in_range(frames: int, loop: str) -> None:
    walk = AnchorWalk(frames, "forward" if loop == "forward" else "pingpong")
    assert list(islice(walk, 4)) == ([0] * 4 if frames == 1 else [0, 1, 0, 1])


def test_an_anchor_without_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        AnchorWalk(0, "forward")


@pytest.mark.parametrize(
    ("loop", "frames"),
    [("forward", (0, 1, 2, 3)), ("once", (0, 1, 2, 3)), ("pingpong", (0, 1, 2, 3, 2, 1))],
)
def test_one_round_goes_on_with_its_beginning(loop: Loop, frames: tuple[int, ...]) -> None:
    assert one_round(4, loop) == frames


def test_what_is_shown_once_turns_when_it_is_walked() -> None:
    assert list(islice(AnchorWalk(3, "once"), 6)) == [0, 1, 2, 1, 0, 1]
