"""The report as one HTML page: no scripts, nothing fetched from elsewhere, light or dark."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from training.report_figures import (
    COLUMNS,
    FIGURES,
    MEASURES,
    Column,
    Curve,
    Figure,
    Line,
    Measure,
    Report,
    Scores,
)
from training.report_plot import curves

_STYLE = Path(__file__).with_name("report_page.css")
_HEADS: Mapping[Column, str] = {"truth": "Truth", "generated": "Generated", "anchor": "Anchor"}
_MARKS = {
    "pass": ("✓", "met"),
    "miss": ("✕", "missed"),
    "no target": ("", "no target"),
    "not measured": ("?", "not measured"),
}
_BETTER = {
    "higher": "↑ higher is better",
    "lower": "↓ lower is better",
    "near 1": "→ 1 is best",
    "near 0": "→ 0 is best",
}


def page(found: Report, video: str, sheet: str, figures: str) -> str:
    """The page; `video`, `sheet` and `figures` are the names of the files beside it."""
    columns = _columns(found)
    parts = [
        _head(found),
        _summary(found),
        _film(video, columns),
        _reading(columns),
        *(_measure(found, measure, columns) for measure in MEASURES),
        _plots(found.jaws),
        f"<section><h2>Contact sheet</h2><p>For each recording a row of {_listed(columns)}, at the same "
        f'moments.</p><img src="{escape(sheet)}" alt="Rows of lower faces: {_listed(columns)}"></section>',
        _details(found.recordings),
        f'<footer>Every number of this page is in <a href="{escape(figures)}">{escape(figures)}</a>. '
        f"Made {escape(found.made)} by <code>koubo evaluate report</code>.</footer>",
        "</main></body></html>",
    ]
    return "\n".join(parts) + "\n"


def _columns(found: Report) -> list[Column]:
    shown = {column for scores in found.recordings.values() for column in scores}
    return [column for column in COLUMNS if column in shown]


def _listed(columns: Sequence[Column]) -> str:
    names = [_HEADS[column].lower() for column in columns]
    return ", ".join(names[:-1]) + " and " + names[-1]


def _head(found: Report) -> str:
    count = len(found.recordings)
    recordings = "one recording" if count == 1 else f"{count} recordings"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(found.title)} · Koubo evaluation</title>
<link rel="icon" href="data:,">
<style>
{_STYLE.read_text(encoding="utf-8")}</style></head><body><main>
<header><p class="over">Koubo evaluation</p><h1>{escape(found.title)}</h1>
<p>{recordings}, {escape(found.made[:10])}</p></header>"""


def _summary(found: Report) -> str:
    judged = [line for line in found.lines if line.mark in ("pass", "miss")]
    met = sum(line.mark == "pass" for line in judged)
    cells = "".join(
        f'<li>{_badge(line)}<span class="name">{escape(line.figure.title)}</span>'
        f'<span class="value">{_number(line.generated, line.figure)}</span>'
        f'<span class="small">target {escape(_target(line.figure))}</span></li>'
        for line in judged
    )
    return f'<section><h2>{met} of {len(judged)} targets met</h2><ul class="targets">{cells}</ul></section>'


def _film(video: str, columns: Sequence[Column]) -> str:
    return (
        "<section><h2>Side by side</h2>"
        '<video controls preload="metadata" playsinline aria-label="Side by side" '
        f'src="{escape(video)}#t=0.5">'
        f"</video><p>From left to right: {_listed(columns)}. Above the picture, below the lower face; "
        "all with the true sound.</p></section>"
    )


def _reading(columns: Sequence[Column]) -> str:
    about = {
        "truth": "the real video, held against itself: the most that can be reached.",
        "generated": "the mouth that is judged.",
        "anchor": "the untouched video with the same sound, its mouth at rest: what doing nothing scores.",
    }
    terms = "".join(f"<dt>{_HEADS[c]}</dt><dd>{about[c]}</dd>" for c in columns)
    marks = "".join(
        f'<li><span class="mark {mark.replace(" ", "-")}">{sign} {word}</span></li>'
        for mark, (sign, word) in _MARKS.items()
    )
    return (
        f'<section class="reading"><h2>How to read the tables</h2><dl>{terms}</dl>'
        f'<p>A target is marked in words and shape:</p><ul class="marks">{marks}</ul></section>'
    )


def _measure(found: Report, measure: Measure, columns: Sequence[Column]) -> str:
    lines = [line for line in found.lines if line.figure.measure == measure]
    title, about = MEASURES[measure]
    heads = "".join(f'<th scope="col" class="number">{_HEADS[column]}</th>' for column in columns)
    rows = "".join(_row(line, columns) for line in lines)
    reasons = dict.fromkeys(line.why for line in lines if line.why)
    whys = "".join(f'<p class="why">Not measured: {escape(why)}</p>' for why in reasons)
    return (
        f'<section class="measure"><h2>{escape(title)}</h2><p>{escape(about)}</p>{whys}'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(title)}"><table>'
        f'<thead><tr><th scope="col">Figure</th>{heads}<th scope="col">Target</th><th scope="col">Result</th>'
        f"</tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def _row(line: Line, columns: Sequence[Column]) -> str:
    figure = line.figure
    values = "".join(
        f'<td class="number {column}">{_number(getattr(line, column), figure)}</td>' for column in columns
    )
    return (
        f'<tr><th scope="row">{escape(figure.title)} <span class="unit">{escape(figure.unit)}</span>'
        f'<p>{escape(figure.meaning)}</p><p class="better">{_BETTER[figure.better]}</p></th>{values}'
        f"<td>{escape(_target(figure))}</td><td>{_badge(line)}</td></tr>"
    )


def _badge(line: Line) -> str:
    sign, word = _MARKS[line.mark]
    return f'<span class="mark {line.mark.replace(" ", "-")}">{sign} {word}</span>'


def _target(figure: Figure) -> str:
    return figure.target.text if figure.target else "–"


def _number(value: float | None, figure: Figure) -> str:
    if value is None:
        return "–"
    return f"{value:.{figure.digits}f}".replace("-", "−")


def _plots(jaws: Mapping[str, Mapping[Column, Curve]]) -> str:
    parts = [
        '<section><h2>Jaw opening over time</h2><p class="legend"><span class="key curve-truth">truth</span>'
        '<span class="key curve-generated">generated</span></p>'
    ]
    for name, columns in jaws.items():
        shown = [(column, columns[column]) for column in ("generated", "truth") if column in columns]
        drawn = curves(f"Jaw opening of truth and generated over time, {name}", shown)
        parts.append(f"<figure>{drawn}<figcaption>{escape(name)}</figcaption></figure>")
    return "".join(parts) + "</section>"


def _details(recordings: Mapping[str, Mapping[Column, Scores]]) -> str:
    keys = [figure for figure in FIGURES if any("generated" in c and figure.key in c["generated"]
            for c in recordings.values())]  # fmt: skip
    heads = "".join(f'<th scope="col" class="number">{escape(name)}</th>' for name in recordings)
    rows = "".join(
        f'<tr><th scope="row">{escape(figure.title)}</th>'
        + "".join(
            f'<td class="number">{_number(columns["generated"].get(figure.key), figure)}</td>'
            for columns in recordings.values()
        )
        + "</tr>"
        for figure in keys
    )
    return (
        "<section><details><summary>The generated video, recording by recording</summary><div "
        f'class="scroll"><table><thead><tr><th scope="col">Figure</th>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div></details></section>"
    )
