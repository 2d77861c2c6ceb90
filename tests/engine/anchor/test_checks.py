"""What is said about footage."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from engine.anchor.checks import check, problems, usable
from engine.anchor.crop import Points
from engine.anchor.survey import MAX_SECONDS, Survey
from engine.errors import FootageError, KouboError
from tests.surveys import good_survey, without_face
from tests.turned_faces import turned_face


def codes(survey: Survey) -> dict[str, str]:
    return {finding.code: finding.severity for finding in check(survey)}


def during(first: int, last: int, value: float, usual: float, pictures: int = 500) -> Any:
    """(pictures,) `usual` but `value` from `first` to `last`."""
    values = np.full(pictures, usual, np.float32)
    values[first:last] = value
    return values


def placed(face: Points, first: int = 0, last: int = 500, pictures: int = 500) -> list[Points | None]:
    """The good face, and `face` from `first` to `last`."""
    faces: list[Points | None] = [turned_face((320, 180), 110)] * pictures
    faces[first:last] = [face] * (last - first)
    return faces


def test_good_footage_needs_no_word() -> None:
    assert check(good_survey()) == []
    assert usable(good_survey()).all()


SWELL = np.sin(np.linspace(0, np.pi, 500)) ** 8
"""Something that comes and goes over 20 seconds."""

SPOILT: dict[str, Callable[[], Survey]] = {
    "too-short": lambda: good_survey(200),
    "too-long": lambda: good_survey(MAX_SECONDS * 25, source={"duration_s": 240.0}),
    "no-sound": lambda: good_survey(loudness=np.nan, source={"sound": False}),
    "face-lost": lambda: without_face(good_survey(), 100, 150),
    "two-faces": lambda: good_survey(faces=during(50, 90, 2, 1).astype(np.uint8)),
    "face-small": lambda: good_survey(landmarks=placed(turned_face((320, 180), 42))),
    "face-cut": lambda: good_survey(
        landmarks=[turned_face((320, 180 + 160 * swell), 110) for swell in SWELL]
    ),
    "turned-away": lambda: good_survey(yaw=during(200, 260, -44, 0)),
    "sideways": lambda: good_survey(
        landmarks=[turned_face((320, 200), 90, roll=90 * swell) for swell in SWELL]
    ),
    "too-dark": lambda: good_survey(brightness=38),
    "too-bright": lambda: good_survey(brightness=230),
    "low-contrast": lambda: good_survey(contrast=9),
    "uneven-light": lambda: good_survey(shade=3.2),
    "blurred": lambda: good_survey(sharpness=20),
    "mouth-covered": lambda: good_survey(covered=during(300, 340, 0.9, 0)),
    "hidden-cut": lambda: good_survey(landmarks=placed(turned_face((500, 180), 110), 250)),
    "never-at-rest": lambda: good_survey(voiced=np.ones(500, np.bool_)),
    "low-frame-rate": lambda: good_survey(source={"fps": 15.0}),
    "hdr": lambda: good_survey(source={"hdr": True}),
    "broken-off": lambda: replace(good_survey(), damage="a.mp4 cannot be read"),
}
"""Footage with one flaw each, which is no reason to refuse it."""


@pytest.mark.parametrize("code", SPOILT)
def test_each_flaw_is_told_once_and_alone(code: str) -> None:
    assert codes(SPOILT[code]()) == {code: "advice"}


FATAL: dict[str, Callable[[], Survey]] = {
    "too-short": lambda: good_survey(75),
    "no-face": lambda: without_face(good_survey(), 0, 500),
    "face-lost": lambda: without_face(without_face(good_survey(), 60, 260), 320, 500),
    "two-faces": lambda: good_survey(faces=np.full(500, 2, np.uint8)),
    "face-small": lambda: good_survey(landmarks=placed(turned_face((320, 180), 18))),
    "face-cut": lambda: good_survey(landmarks=placed(turned_face((320, 420), 110))),
    "turned-away": lambda: good_survey(yaw=60),
    "sideways": lambda: good_survey(landmarks=placed(turned_face((320, 240), 80, roll=-90))),
    "too-dark": lambda: good_survey(brightness=12),
    "too-bright": lambda: good_survey(brightness=250),
    "blurred": lambda: good_survey(sharpness=2),
}
"""Footage that no avatar can be made of."""


@pytest.mark.parametrize("code", FATAL)
def test_what_leaves_nothing_is_a_problem(code: str) -> None:
    survey = FATAL[code]()
    findings = check(survey)
    assert findings[0].code == code, "problems come first"
    assert [finding.code for finding in problems(findings)] == [code]


@pytest.mark.parametrize("make", [*SPOILT.values(), *FATAL.values()])
def test_every_finding_is_one_sentence_with_a_way_out(make: Callable[[], Survey]) -> None:
    for finding in check(make()):
        sentence = finding.sentence
        assert sentence[0].isupper()
        assert sentence.endswith(".")
        assert sentence.count(". ") == 0, "one sentence"
        assert "{" not in sentence
        assert "nan" not in sentence
        assert len(sentence) < 160
        assert re.search(r"[;,] |cut the video|film", sentence), "what to do"
        assert all(isinstance(value, int | float | str) for value in finding.values.values())
        figures = [value for value in finding.values.values() if isinstance(value, float)]
        assert all(np.isfinite(figures))


def test_where_is_told_in_seconds() -> None:
    lost = next(f for f in check(without_face(good_survey(), 100, 150)) if f.code == "face-lost")
    assert lost.at_s == pytest.approx(4.0)
    assert lost.values == {"at": 4.0, "seconds": 2.0}
    assert "for 2.0 s, first at 4.0 s" in lost.sentence
    brief = next(f for f in check(without_face(good_survey(), 100, 110)) if f.code == "face-lost")
    assert "at 4.0 s" in brief.sentence
    assert "for" not in brief.sentence
    cut = next(f for f in check(SPOILT["hidden-cut"]()) if f.code == "hidden-cut")
    assert cut.at_s == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("survey", "quiet"),
    [
        (without_face(good_survey(), 100, 104), "face-lost"),
        (good_survey(faces=during(50, 53, 2, 1).astype(np.uint8)), "two-faces"),
        (good_survey(covered=during(300, 306, 1, 0)), "mouth-covered"),
        (good_survey(yaw=during(200, 215, 50, 0)), "turned-away"),
        (good_survey(sharpness=during(200, 215, 10, 200)), "blurred"),
        (good_survey(brightness=62), "too-dark"),
    ],
)
def test_a_moment_is_not_worth_a_word(survey: Survey, quiet: str) -> None:
    assert quiet not in codes(survey)


def test_several_flaws_that_only_together_leave_nothing() -> None:
    # Each leaves three seconds somewhere, but nowhere the same.
    survey = good_survey(
        200,
        yaw=during(0, 70, 60, 0, 200),
        brightness=during(60, 125, 10, 120, 200),
    )
    survey = without_face(survey, 125, 200)
    assert "no-stretch" not in codes(good_survey(200))
    found = codes(survey)
    assert any(severity == "problem" for severity in found.values())
    tilted = good_survey(
        260,
        yaw=during(0, 60, 60, 0, 260),
        faces=during(130, 190, 2, 1, 260).astype(np.uint8),
        covered=during(60, 100, 1, 0, 260),
    )
    assert codes(tilted).get("no-stretch") == "problem"


def test_unusable_pictures_are_known() -> None:
    survey = good_survey(
        yaw=during(0, 10, 60, 0),
        faces=during(20, 30, 2, 1).astype(np.uint8),
        covered=during(40, 60, 1, 0),
        brightness=during(70, 80, 5, 120),
        landmarks=placed(turned_face((320, 420), 110), 90, 100),
    )
    survey = without_face(survey, 110, 115)
    fit = usable(survey)
    for first, last in [(0, 10), (20, 30), (40, 60), (70, 80), (90, 100), (110, 115)]:
        assert not fit[first:last].any()
        assert fit[last + 1 : last + 5].all()
    assert fit[120:].all()


def test_a_cut_divides_what_is_usable() -> None:
    fit = usable(SPOILT["hidden-cut"]())
    assert not fit[250]
    assert fit.sum() == 499


def test_a_head_that_moves_quickly_is_no_cut() -> None:
    faces: list[Points | None] = [
        turned_face((320 + 60 * float(np.sin(k / 4)), 180), 110) for k in range(500)
    ]
    assert "hidden-cut" not in codes(good_survey(landmarks=faces))


def test_whispers_are_sound_and_a_dead_microphone_is_not() -> None:
    assert "no-sound" not in codes(good_survey(loudness=during(100, 120, -50, -90)))
    assert "no-sound" in codes(good_survey(loudness=-75))


def test_a_file_that_is_shorter_than_it_says_broke_off() -> None:
    assert codes(good_survey(500, source={"duration_s": 30.0})) == {"broken-off": "advice"}
    assert codes(good_survey(500, source={"duration_s": 20.4})) == {}
    assert codes(good_survey(500, source={"duration_s": 0.0})) == {}, "nobody knows how long it is"


def test_a_refusal_carries_its_findings() -> None:
    findings = check(good_survey(75, source={"hdr": True}))
    error = FootageError(findings)
    assert isinstance(error, KouboError)
    assert error.findings == tuple(findings)
    assert str(error) == problems(findings)[0].sentence, "advice is not shouted"
