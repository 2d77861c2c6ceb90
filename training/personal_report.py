"""Before and after, to look at and to count: sheet.jpg and report.json."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np

from engine.anchor.crop import Picture
from engine.mouth.runtime import MouthRuntime
from training.clips import Clip
from training.personal_score import Decision, PersonalScore, paint

SHEET, REPORT = "sheet.jpg", "report.json"

_MOMENTS = 8
_CELL = 192
_HEAD = 28
_COLUMNS = ("resting", "before", "after", "filmed")


def write_report(
    folder: Path,
    clips: Sequence[Clip],
    mouths: tuple[MouthRuntime, MouthRuntime],
    scores: tuple[PersonalScore, PersonalScore],
    decision: Decision,
    seconds: float,
) -> None:
    """Writes both files into `folder`: moments that neither mouth learned from, and every measure of both."""
    before, after = scores
    content = {
        "accepted": decision.better,
        "score": round(decision.score, 3),
        "why": decision.why,
        "worse": decision.worse,
        "held_out_seconds": round(seconds, 2),
        "before": _plain(before),
        "after": _plain(after),
    }
    part = folder / f"{REPORT}.part"
    part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    part.replace(folder / REPORT)
    sheet = contact_sheet(clips, mouths)
    half = folder / f"part-{SHEET}"
    cv2.imwrite(str(half), sheet[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    half.replace(folder / SHEET)


def contact_sheet(clips: Sequence[Clip], mouths: tuple[MouthRuntime, MouthRuntime]) -> Picture:
    """Resting face, old mouth, new mouth and the filmed one at the moments that open the mouth most in clips
    spread over the held-out part, RGB.
    """
    chosen = [clips[at] for at in sorted({round(a) for a in np.linspace(0, len(clips) - 1, 2 * _MOMENTS)})]
    rows: list[tuple[float, Picture]] = []
    for clip in chosen:
        (idle, old, truth), (_, new, _) = (paint(clip, mouth) for mouth in mouths)
        changed = np.abs(truth.astype(np.int16) - idle).mean(axis=(1, 2, 3))
        at = int(np.argmax(changed))
        rows.append(
            (float(changed[at]), np.hstack([_cell(one) for one in (idle, old[at], new[at], truth[at])]))
        )
    kept = sorted(range(len(rows)), key=lambda row: -rows[row][0])[:_MOMENTS]
    head = np.full((_HEAD, _CELL * len(_COLUMNS), 3), 250, np.uint8)
    for number, text in enumerate(_COLUMNS):
        cv2.putText(
            head, text, (number * _CELL + 8, 19), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (40, 42, 48), 1, cv2.LINE_AA
        )
    return np.asarray(np.vstack([head, *(rows[at][1] for at in sorted(kept))]), np.uint8)


def _cell(picture: Picture) -> Picture:
    return np.asarray(cv2.resize(picture, (_CELL, _CELL), interpolation=cv2.INTER_AREA), np.uint8)


def _plain(score: PersonalScore) -> dict[str, float | None]:
    """For JSON, which knows no NaN."""
    return {key: None if value != value else round(value, 4) for key, value in asdict(score).items()}
