"""Step 4, cutting: from rows and voice to spans that may become clips and spans that cannot."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from engine.speech.audio import FRAME_RATE, SAMPLE_RATE
from engine.speech.gate import voiced_ticks
from training.preprocess.faces import Table
from training.preprocess.limits import Limits
from training.preprocess.quality import median_clarity, refuse_pictures
from training.preprocess.rates import Sound

Flags = NDArray[np.bool_]

_PAD = FRAME_RATE * 2 // 5  # silence left beside speech where a long pause is cut out
_REACH = FRAME_RATE  # how far a division moves to fall into a pause
_BAD = ("no_face", "several_faces", "small_face", "turned_away")


@dataclass(frozen=True, slots=True)
class Span:
    """Pictures `first` to `last` (not included); `reason` and `detail` where they are dropped."""

    first: int
    last: int
    reason: str | None = None
    detail: str = ""


def voice_flags(sound: Sound, pictures: int) -> Flags:
    """(pictures,): True where somebody speaks during a tick. Read in parts, so hours fit."""
    parts = (sound.read(start, 60 * SAMPLE_RATE) for start in range(0, sound.size, 60 * SAMPLE_RATE))
    return voiced_ticks(parts, pictures)


def find_spans(table: Table, voice: Flags, limits: Limits) -> list[Span]:
    """Every picture of the source in one span: those without a reason may become clips.

    `table` (n,) and `voice` (n,). Rows without a face inside a kept span are filled in place by
    interpolation.
    """
    spans: list[Span] = []
    for first, last in _shots(table):
        for span in _by_faces(table, first, last, limits):
            if span.reason is not None:
                spans.append(span)
                continue
            _fill(table, span)
            for part in _at_jumps(table, span, limits):
                for piece in _by_voice(part, voice, limits):
                    spans += [piece] if piece.reason else _checked(table, piece, voice, limits)
    return _joined(spans)


def _shots(table: Table) -> Iterator[tuple[int, int]]:
    edges = [0, *np.flatnonzero(table["cut"]).tolist(), len(table)]
    yield from ((a, b) for a, b in pairwise(edges) if a < b)


def _by_faces(table: Table, first: int, last: int, limits: Limits) -> Iterator[Span]:
    """Runs of usable and unusable pictures of one shot; short unusable ones between are bridged."""
    rows = table[first:last]
    state = np.full(len(rows), -1)
    state[np.abs(rows["yaw"]) > limits.max_yaw] = _BAD.index("turned_away")
    state[rows["crop"][:, 2] < limits.min_face] = _BAD.index("small_face")
    state[rows["faces"] > 1] = _BAD.index("several_faces")
    state[rows["faces"] == 0] = _BAD.index("no_face")
    runs = list(_runs(state))
    for number, (a, b) in enumerate(runs):
        inside = 0 < number < len(runs) - 1
        if inside and b - a <= limits.bridge and state[a - 1] == state[b] == -1:
            state[a:b] = -1
    for a, b in _runs(state):
        code = int(state[a])
        if code < 0:
            yield Span(first + a, first + b)
        else:
            yield Span(
                first + a, first + b, _BAD[code], _figures(table[first + a : first + b], _BAD[code], limits)
            )


def _figures(rows: Table, reason: str, limits: Limits) -> str:
    if reason == "small_face":
        return f"{np.median(rows['crop'][:, 2]):.0f} pixels, needs {limits.min_face}"
    if reason == "turned_away":
        return f"{np.median(np.abs(rows['yaw'])):.0f} degrees, at most {limits.max_yaw:.0f}"
    if reason == "several_faces":
        return f"{int(np.median(rows['faces']))} faces"
    return ""


def _fill(table: Table, span: Span) -> None:
    """Interpolates the rows of a kept span that have no face of their own."""
    rows = table[span.first : span.last]
    empty = rows["faces"] == 0
    if not empty.any():
        return
    where, known = np.flatnonzero(empty), np.flatnonzero(~empty)
    for name in ("crop", "lips", "points", "gape", "yaw", "sharpness", "light", "contrast"):
        values = rows[name].reshape(len(rows), -1)
        for column in range(values.shape[1]):
            values[where, column] = np.interp(where, known, values[known, column])
        rows[name] = values.reshape(rows[name].shape)
    rows["faces"] = 1


def _at_jumps(table: Table, span: Span, limits: Limits) -> Iterator[Span]:
    """Divides where the square leaps: another face, or a cut that no scene change gave away."""
    crops = table["crop"][span.first : span.last]
    leap = np.linalg.norm(np.diff(crops[:, :2], axis=0), axis=1) + np.abs(np.diff(crops[:, 2]))
    edges = [0, *(np.flatnonzero(leap > limits.max_jump * crops[1:, 2]) + 1).tolist(), len(crops)]
    for a, b in pairwise(edges):
        yield Span(span.first + a, span.first + b)


def _by_voice(span: Span, voice: Flags, limits: Limits) -> Iterator[Span]:
    """Cuts out long silences, leaving a little beside the speech."""
    flags = voice[span.first : span.last]
    dropped = np.zeros(flags.size, np.bool_)
    for a, b in _runs(flags.astype(int)):
        if not flags[a] and (b - a > limits.max_pause * FRAME_RATE or b - a == flags.size):
            low = a if a == 0 else a + _PAD
            high = b if b == flags.size else b - _PAD
            dropped[low:high] = True
    for a, b in _runs(dropped.astype(int)):
        yield Span(span.first + a, span.first + b, "no_speech" if dropped[a] else None)


def _checked(table: Table, span: Span, voice: Flags, limits: Limits) -> list[Span]:
    """Clips of fit length, each kept or dropped for what is heard and seen in it."""
    if span.last - span.first < limits.min_seconds * FRAME_RATE:
        seconds = (span.last - span.first) / FRAME_RATE
        return [Span(span.first, span.last, "too_short", f"{seconds:.1f} s, needs {limits.min_seconds} s")]
    return [_judged(table, part, voice, limits) for part in _divided(span, voice, limits)]


def _divided(span: Span, voice: Flags, limits: Limits) -> Iterator[Span]:
    """Equal parts of at most `max_seconds`, each division moved into a pause nearby where there is one."""
    length = span.last - span.first
    longest = round(limits.max_seconds * FRAME_RATE)
    parts = -(-length // max(longest - _REACH, FRAME_RATE)) if length > longest else 1
    edges = [span.first]
    for number in range(1, parts):
        middle = span.first + length * number // parts
        around = np.arange(max(middle - _REACH // 2, edges[-1] + 1), min(middle + _REACH // 2, span.last - 1))
        quiet = around[~voice[around]]
        edges.append(int(min(quiet, key=lambda at: abs(at - middle))) if quiet.size else middle)
    edges.append(span.last)
    yield from (Span(a, b) for a, b in pairwise(edges))


def _judged(table: Table, span: Span, voice: Flags, limits: Limits) -> Span:
    rows, flags = table[span.first : span.last], voice[span.first : span.last]
    share = float(flags.mean())
    if share < limits.min_speech:
        figures = f"speech in {share:.0%} of it, needs {limits.min_speech:.0%}"
        return Span(span.first, span.last, "no_speech", figures)
    refused = refuse_pictures(median_clarity(rows["sharpness"], rows["light"], rows["contrast"]), limits)
    if refused is not None:
        return Span(span.first, span.last, *refused)
    motion = lip_motion(rows, flags)
    if motion < limits.min_lip_motion:
        figures = f"lips move by {motion:.4f}, needs {limits.min_lip_motion}"
        return Span(span.first, span.last, "speaker_unseen", figures)
    return span


def lip_motion(rows: Table, voice: Flags) -> float:
    """Standard deviation of the inner lips' distance during speech, in sides of the mouth's square."""
    return float(rows["gape"][voice].std()) if voice.any() else 0.0


def _runs(values: NDArray[np.int_]) -> Iterator[tuple[int, int]]:
    """(start, end) of each stretch of equal values."""
    if values.size:
        edges = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), values.size]
        yield from pairwise(edges)


def _joined(spans: list[Span]) -> list[Span]:
    """Neighbours dropped for the same reason as one."""
    joined: list[Span] = []
    for span in spans:
        last = joined[-1] if joined else None
        if last and span.reason and last.reason == span.reason and last.last == span.first:
            joined[-1] = Span(last.first, span.last, span.reason, last.detail)
        else:
            joined.append(span)
    return joined
