"""The evaluation report: every measure of truth, generated and untouched anchor, in numbers and pictures.

Writes `report.json`, `index.html`, `side-by-side.mp4` and `sheet.jpg` into one folder.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from engine.anchor.crop import Crop, extract
from engine.errors import KouboError
from engine.evaluate.columns import Place, place_of, score_columns
from engine.evaluate.lips import compare_lips, read_lips
from engine.evaluate.track import NewTracker, Track, check_pair, track
from engine.evaluate.voice import MIN_PAUSE_TICKS, pause_aperture
from engine.picture.video import read_rgb
from engine.speech.audio import Samples, load_speech
from training.evaluate import Recording
from training.report_figures import COLUMNS, FIGURES, Column, Curve, Figure, Line, Report, Scores
from training.report_media import write_sheet, write_side_by_side
from training.report_page import page
from training.sync_score import WINDOW, SyncJudge, shipped_judge

PAGE, JSON_FILE, VIDEO, SHEET = "index.html", "report.json", "side-by-side.mp4", "sheet.jpg"

Tell = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, of how much."""


@dataclass(frozen=True, slots=True)
class _Films:
    """One recording, tracked: its columns by name, where the mouth is, what is heard."""

    name: str
    tracks: Mapping[Column, Track]
    place: Place
    samples: Samples


def judge_or_reason(checkpoint: Path | None = None) -> SyncJudge | str:
    """The sync judge, or one sentence why there is none."""
    try:
        return shipped_judge(checkpoint)
    except KouboError as error:
        return str(error)


def report(
    title: str,
    recordings: Sequence[Recording],
    output: Path,
    new_tracker: NewTracker,
    judge: SyncJudge | str,
    *,
    silence: tuple[float, float] | None = None,
    tell: Tell = lambda step, done, total: None,
) -> Report:
    """Measures `recordings`, each video tracked once, and writes the page with all it shows to `output`.

    `judge`: the sync judge, or why there is none. `silence`: largest apertures of generated and anchor in
    digital silence, None where no presenter could be asked. Raises BadMediaError for videos that do not
    belong together, NoFaceError for those without a face.
    """
    output.mkdir(parents=True, exist_ok=True)
    films = []
    for done, one in enumerate(recordings):
        tell("following faces", done, len(recordings))
        films.append(_follow(one, new_tracker))
    scores: dict[str, dict[Column, Scores]] = {}
    for done, film in enumerate(films):
        tell("measuring", done, len(films))
        scores[film.name] = _score(film, judge)
    found = Report(
        title,
        datetime.now(UTC).isoformat(timespec="seconds"),
        _lines(scores, _swapped(films), silence, judge),
        scores,
        {film.name: {column: _jaw(one) for column, one in film.tracks.items()} for film in films},
    )
    _write(found, films, output, tell)
    return found


def _follow(one: Recording, new_tracker: NewTracker) -> _Films:
    paths: dict[Column, Path] = {"truth": one.truth, "generated": one.generated}
    if one.anchor is not None:
        paths["anchor"] = one.anchor
    tracks = {column: track(path, new_tracker) for column, path in paths.items()}
    for other in tracks.values():
        check_pair(other, tracks["truth"])
    return _Films(one.name, tracks, one.place or place_of(tracks["truth"]), load_speech(one.truth))


def _score(film: _Films, judge: SyncJudge | str) -> dict[Column, Scores]:
    truth = film.tracks["truth"]
    pictures = score_columns(truth, film.tracks, film.place, film.tracks.get("anchor", truth))
    columns: dict[Column, Scores] = {}
    for column, one in film.tracks.items():
        score = pictures[column]
        values: dict[str, float | None] = {
            **asdict(score.fidelity),
            **asdict(compare_lips(one, truth)),
            "pause_aperture": pause_aperture(one, film.samples),
            "flicker": score.flicker,
            "flicker_ratio": score.flicker / max(pictures["truth"].flicker, 1e-9),
            "seam_luma": score.seam.luma_step,
            "seam_chroma": score.seam.chroma_step,
            "seam_gradient": score.seam.gradient_ratio,
            **_sync(one, film.samples, judge),
        }
        if column == "anchor":
            values["lag_frames"] = None  # an idle mouth follows nothing that it could be late for
        columns[column] = {key: None if v is None or v != v else v for key, v in values.items()}
    return columns


def _sync(one: Track, samples: Samples, judge: SyncJudge | str) -> dict[str, float | None]:
    if isinstance(judge, str) or len(one.faces) < WINDOW:
        return {}
    mouths = [extract(picture, crop, judge.size) for picture, crop in zip(
        read_rgb(one.video), one.crops(), strict=True
    )]  # fmt: skip
    finding = judge.judge(mouths, samples)
    return {
        "sync_offset": finding.offset,
        "sync_confidence": finding.confidence,
        "sync_distance": finding.distance,
    }


def _swapped(films: Sequence[_Films]) -> float | None:
    """Mean jaw correlation of each generated video with the truth of the next recording."""
    if len(films) < 2:
        return None
    found = [
        compare_lips(this.tracks["generated"], other.tracks["truth"]).jaw_r
        for this, other in zip(films, [*films[1:], films[0]], strict=True)
    ]
    known = [r for r in found if r == r]
    return float(np.mean(known)) if known else None


def _lines(
    scores: Mapping[str, Mapping[Column, Scores]],
    swapped: float | None,
    silence: tuple[float, float] | None,
    judge: SyncJudge | str,
) -> list[Line]:
    whole: dict[str, dict[Column, float | None]] = {
        "swapped_jaw_r": {"generated": swapped},
        "silence_aperture": {"generated": silence[0], "anchor": silence[1]} if silence else {},
    }
    lines = []
    for figure in FIGURES:
        values = whole.get(figure.key) or {
            column: figure.gather([one[column] for one in scores.values() if column in one])
            for column in COLUMNS
        }
        generated = values.get("generated")
        why = None if generated is not None else _why(figure, judge)
        lines.append(Line(figure, values.get("truth"), generated, values.get("anchor"), why))
    return lines


def _why(figure: Figure, judge: SyncJudge | str) -> str:
    """Why a figure has no value."""
    if figure.measure == "sync":
        if isinstance(judge, str):
            return judge
        return f"The recordings are shorter than {WINDOW} pictures."
    return {
        "silence_aperture": "Only a presenter can be given silence; these are finished videos.",
        "pause_aperture": f"No recording has {MIN_PAUSE_TICKS} pictures of silence.",
        "swapped_jaw_r": "It takes two recordings.",
    }.get(figure.key, "Nothing moves in the true or the generated video.")


def _jaw(one: Track) -> Curve:
    return [None if face is None else read_lips([face]).jaw[0] for face in one.faces]


def _write(found: Report, films: Sequence[_Films], output: Path, tell: Tell) -> None:
    crops: list[Sequence[Crop]] = [film.place.crops for film in films]
    videos = [[one.video for one in film.tracks.values()] for film in films]
    labels: dict[Column, str] = {"truth": "Truth", "generated": "Generated", "anchor": "Anchor"}
    write_side_by_side(
        [(film.name, [(labels[c], one.video) for c, one in film.tracks.items()]) for film in films],
        crops,
        output / VIDEO,
        progress=lambda done, total: tell("side by side", done, total),
    )
    write_sheet(videos, crops, output / SHEET)
    _replace(output / JSON_FILE, json.dumps(found.as_json(), indent=2) + "\n")
    _replace(output / PAGE, page(found, VIDEO, SHEET, JSON_FILE))


def _replace(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
