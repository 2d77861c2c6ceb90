"""Where footage is cut, and why stretches are dropped."""

from pathlib import Path

import numpy as np
import pytest

from engine.speech.audio import to_pcm16
from tests.fakes import room_noise, speech_like
from tests.training.preprocess.footage import table
from training.preprocess.cuts import Flags, Span, find_spans, lip_motion, voice_flags
from training.preprocess.limits import Limits
from training.preprocess.rates import Sound

LIMITS = Limits()


def speaking(count: int, *silences: tuple[int, int]) -> Flags:
    flags = np.ones(count, np.bool_)
    for first, last in silences:
        flags[first:last] = False
    return flags


def brief(spans: list[Span]) -> list[tuple[int, int, str | None]]:
    return [(span.first, span.last, span.reason) for span in spans]


def covers_all(spans: list[Span], count: int) -> bool:
    edges = [0, *(span.last for span in spans)]
    return edges[-1] == count and all(span.first == edge for span, edge in zip(spans, edges, strict=False))


def test_good_footage_is_one_span() -> None:
    assert find_spans(table(150), speaking(150), LIMITS) == [Span(0, 150)]


def test_scene_changes_divide() -> None:
    rows = table(150)
    rows["cut"][70] = True
    assert brief(find_spans(rows, speaking(150), LIMITS)) == [(0, 70, None), (70, 150, None)]


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("faces", 0, "no_face"),
        ("faces", 2, "several_faces"),
        ("crop", (100, 120, 60, 0), "small_face"),
        ("yaw", 50, "turned_away"),
        ("yaw", -50, "turned_away"),
    ],
)
def test_unusable_pictures_are_cut_out_with_their_reason(column: str, value: object, reason: str) -> None:
    rows = table(200)
    rows[column][80:110] = value
    spans = find_spans(rows, speaking(200), LIMITS)
    assert brief(spans) == [(0, 80, None), (80, 110, reason), (110, 200, None)]


@pytest.mark.parametrize(("column", "value"), [("faces", 0), ("faces", 2), ("yaw", 60)])
def test_a_blink_of_the_tracker_is_bridged(column: str, value: int) -> None:
    rows = table(150)
    rows["crop"][:, 0] = np.arange(150)
    rows[column][70:75] = value
    if value == 0:
        rows["crop"][70:75] = 0
    assert brief(find_spans(rows, speaking(150), LIMITS)) == [(0, 150, None)]
    np.testing.assert_allclose(rows["crop"][70:75, 0], np.arange(70, 75), atol=1e-3)


def test_a_gap_at_the_edge_or_longer_than_the_bridge_is_not() -> None:
    rows = table(156)
    rows["faces"][:4] = 0
    rows["faces"][80:86] = 0
    reasons = [span.reason for span in find_spans(rows, speaking(156), LIMITS)]
    assert reasons == ["no_face", None, "no_face", None]


def test_a_hidden_cut_is_found_by_the_leap_of_the_face() -> None:
    rows = table(150)
    rows["crop"][70:, 0] += 60
    assert brief(find_spans(rows, speaking(150), LIMITS)) == [(0, 70, None), (70, 150, None)]
    rows = table(150)
    rows["crop"][:, 0] += np.arange(150) * 2  # a head that moves is no cut
    assert brief(find_spans(rows, speaking(150), LIMITS)) == [(0, 150, None)]


def test_long_silence_is_cut_out_and_short_rests_stay() -> None:
    spans = find_spans(table(300), speaking(300, (80, 160), (220, 250)), LIMITS)
    assert brief(spans) == [(0, 90, None), (90, 150, "no_speech"), (150, 300, None)]


def test_nobody_speaks() -> None:
    assert brief(find_spans(table(100), speaking(100, (0, 100)), LIMITS)) == [(0, 100, "no_speech")]
    # Rests that are each short enough to stay, but little else.
    flags = speaking(100, (0, 45), (50, 95))
    assert brief(find_spans(table(100), flags, LIMITS)) == [(0, 100, "no_speech")]


def test_short_rests_at_both_ends_stay() -> None:
    assert brief(find_spans(table(75), speaking(75, (0, 15), (60, 75)), LIMITS)) == [(0, 75, None)]


def test_what_is_too_short_is_dropped() -> None:
    spans = find_spans(table(49), speaking(49), LIMITS)
    assert brief(spans) == [(0, 49, "too_short")]
    assert "2.0 s" in spans[0].detail


@pytest.mark.parametrize("count", [250, 251, 400, 999, 3000])
def test_long_footage_is_divided_within_the_limits(count: int) -> None:
    spans = find_spans(table(count), speaking(count), LIMITS)
    assert covers_all(spans, count)
    assert all(50 <= span.last - span.first <= 250 for span in spans)
    assert all(span.reason is None for span in spans)


def test_divisions_fall_into_pauses() -> None:
    spans = find_spans(table(400), speaking(400, (205, 210)), LIMITS)
    assert len(spans) == 2
    assert 205 <= spans[1].first < 210


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("sharpness", 3, "blurred"),
        ("light", 15, "exposure"),
        ("contrast", 2, "exposure"),
        ("gape", 0.02, "speaker_unseen"),
    ],
)
def test_clips_are_dropped_for_what_is_seen(column: str, value: float, reason: str) -> None:
    spans = find_spans(table(100, **{column: value}), speaking(100), LIMITS)
    assert brief(spans) == [(0, 100, reason)]
    assert any(character.isdigit() for character in spans[0].detail)


def test_lips_that_move_only_in_silence_are_not_the_speakers() -> None:
    gape = np.where(np.arange(100) < 40, 0.03 * (np.arange(100) % 2), 0.0)
    rows = table(100, gape=gape)
    flags = speaking(100, (0, 40))
    assert lip_motion(rows, flags) == 0
    assert brief(find_spans(rows, flags, LIMITS)) == [(0, 100, "speaker_unseen")]
    assert lip_motion(rows, ~flags) > 0.01


def test_every_picture_is_in_one_span_whatever_comes() -> None:
    random = np.random.default_rng(5)
    harm = [("faces", 0), ("faces", 3), ("yaw", 80), ("cut", True)]
    for _ in range(30):
        count = int(random.integers(1, 700))
        rows = table(count)
        for _ in range(int(random.integers(0, 6))):
            first = int(random.integers(0, count))
            last = first + int(random.integers(1, 80))
            column, value = harm[int(random.integers(0, 4))]
            rows[column][first:last] = value
        flags = random.uniform(size=count) < 0.7
        spans = find_spans(rows, flags, LIMITS)
        assert covers_all(spans, count)
        kept = [span for span in spans if span.reason is None]
        assert all(50 <= span.last - span.first <= 250 for span in kept)
        assert all((rows["faces"][span.first : span.last] > 0).all() for span in kept)
    assert find_spans(table(0), np.zeros(0, np.bool_), LIMITS) == []


def test_voice_is_heard_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "sound.s16"
    quiet = room_noise(2, 0.001)
    path.write_bytes(to_pcm16(np.concatenate([quiet, speech_like(2), quiet])).tobytes())
    flags = voice_flags(Sound(path), 200)
    assert flags.shape == (200,)
    assert flags[:48].mean() < 0.1
    assert flags[52:98].mean() > 0.9
    assert not flags[110:].any()
    assert voice_flags(Sound(path), 10).shape == (10,)
