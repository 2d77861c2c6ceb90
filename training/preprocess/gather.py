"""From finished sources to the data set: persons named, clips in their folders, manifest and report.

May be run again at any time, also after an interruption: each clip is looked for where it may be.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from engine.errors import KouboError
from training.clips import CARD, read_card
from training.preprocess.embedder import Vector
from training.preprocess.persons import group
from training.preprocess.report import write_report
from training.preprocess.results import WORK, Result, Row, load

MANIFEST = "manifest.jsonl"


@dataclass(frozen=True, slots=True)
class Summary:
    """Of a gathered data set: sources, clips, persons, seconds kept and seconds dropped."""

    sources: int
    clips: int
    persons: int
    kept_s: float
    dropped_s: float


def gather(output: Path) -> Summary:
    """Gathers every finished source in `output`. Raises KouboError when a clip was taken away."""
    results = sorted(
        filter(None, map(load, sorted((output / WORK).glob("*")))), key=lambda one: (one.source, one.id)
    )
    _name_persons(results)
    rows = [row for result in results for row in sorted(result.rows, key=lambda row: row.start_s)]
    for row in rows:
        if row.clip is not None:
            _place(output, row)
    for folder in output.glob("person-*"):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    _write_manifest(output / MANIFEST, rows)
    kept = [row for row in rows if row.clip is not None]
    summary = Summary(
        sources=len(results),
        clips=len(kept),
        persons=len({row.person for row in kept}),
        kept_s=round(sum(row.end_s - row.start_s for row in kept), 2),
        dropped_s=round(sum(row.end_s - row.start_s for row in rows if row.clip is None), 2),
    )
    write_report(output, rows, asdict(summary))
    return summary


def _name_persons(results: Sequence[Result]) -> None:
    """person-001 and so on, by first appearance. First within each source, then across, so that the work
    grows with the sources, not with the square of the clips.
    """
    first_free = 1
    for embedder, threshold in sorted({(result.embedder, result.threshold) for result in results}):
        sets: list[list[Row]] = []
        for result in results:
            if (result.embedder, result.threshold) == (embedder, threshold):
                sets += _alike([row for row in result.rows if row.vector is not None], threshold)
        sets.sort(key=lambda rows: (rows[0].source, rows[0].start_s))
        numbers = group([_mean(rows) for rows in sets], threshold)
        for rows, number in zip(sets, numbers, strict=True):
            for row in rows:
                row.person = f"person-{first_free + number - 1:03d}"
        first_free += max(numbers, default=0)


def _alike(rows: Sequence[Row], threshold: float) -> list[list[Row]]:
    sets: dict[int, list[Row]] = {}
    for row, number in zip(rows, group([_mean([row]) for row in rows], threshold), strict=True):
        sets.setdefault(number, []).append(row)
    return list(sets.values())


def _mean(rows: Sequence[Row]) -> Vector:
    vectors = [row.vector for row in rows if row.vector is not None]
    return np.asarray(np.mean(np.array(vectors), axis=0), np.float32)


def _place(output: Path, row: Row) -> None:
    """Moves a clip into its person's folder; the card is put right before."""
    assert row.clip is not None
    assert row.person is not None
    target = output / row.person / row.clip
    places = (target, output / WORK / row.clip.rpartition("-")[0] / "clips" / row.clip)
    place = next((p for p in places if (p / CARD).is_file()), None) or next(
        (card.parent for card in output.glob(f"person-*/{row.clip}/{CARD}")), None
    )
    if place is None:
        raise KouboError(
            f"The clip {row.clip} of {row.source} is gone; remove its folder below {output / WORK} and run "
            "the same command again."
        )
    card = read_card(place)
    if card.person != row.person:
        partial = place / "clip.part"
        text = json.dumps(asdict(replace(card, person=row.person)), ensure_ascii=False) + "\n"
        partial.write_text(text, encoding="utf-8")
        partial.replace(place / CARD)
    if place != target:
        target.parent.mkdir(exist_ok=True)
        if target.exists():
            shutil.rmtree(target)
        place.rename(target)


def _write_manifest(path: Path, rows: Sequence[Row]) -> None:
    partial = path.with_suffix(".part")
    with partial.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row.as_manifest(), ensure_ascii=False) + "\n")
    partial.replace(path)
