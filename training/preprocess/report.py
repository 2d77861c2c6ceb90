"""report.html: what was kept, of whom, and what was dropped and why, with pictures; one folder, offline."""

import html
from collections.abc import Sequence
from pathlib import Path, PurePath
from string import Template

import cv2
import numpy as np

from engine.anchor.crop import Picture
from training.clips import decode, encode
from training.preprocess.reasons import REASONS
from training.preprocess.results import WORK, Row

REPORT = "report.html"
PICTURES = "report"

MAX_KEPT = 60
"""Clips of one person that are shown; the manifest lists all."""

MAX_DROPPED = 60
"""Dropped stretches of one reason that are shown; the longest first."""

_STRIP = 6
_SIDE = 112
_PAGE = Path(__file__).with_name("report_page.html")


def write_report(output: Path, rows: Sequence[Row], summary: dict[str, float | int]) -> Path:
    """Writes report.html and its pictures, and returns its path."""
    (output / PICTURES).mkdir(parents=True, exist_ok=True)
    kept = [row for row in rows if row.clip is not None]
    dropped = [row for row in rows if row.clip is None]
    page = Template(_PAGE.read_text(encoding="utf-8")).substitute(
        totals=_totals(summary),
        reasons=_reasons(kept, dropped),
        persons="".join(_person(output, name, clips) for name, clips in _by_person(kept).items())
        or f"<p>{_both('Nothing was kept.', '没有保留任何片段。')}</p>",
        dropped="".join(_drops(output, reason, found) for reason, found in _by_reason(dropped).items())
        or f"<p>{_both('Nothing was dropped.', '没有舍弃任何内容。')}</p>",
    )
    target = output / REPORT
    partial = target.with_suffix(".part")
    partial.write_text(page, encoding="utf-8")
    partial.replace(target)
    return target


def _both(english: str, chinese: str) -> str:
    return f'<span class="en">{html.escape(english)}</span><span class="zh">{html.escape(chinese)}</span>'


def _totals(summary: dict[str, float | int]) -> str:
    figures = [
        (f"{summary['sources']}", "sources", "源文件"),
        (f"{summary['clips']}", "clips kept", "保留片段"),
        (f"{summary['persons']}", "persons", "人物"),
        (_clock(float(summary["kept_s"])), "kept", "保留时长"),
        (_clock(float(summary["dropped_s"])), "dropped", "舍弃时长"),
    ]
    return "".join(f"<div><b>{value}</b>{_both(en, zh)}</div>" for value, en, zh in figures)


def _reasons(kept: Sequence[Row], dropped: Sequence[Row]) -> str:
    """One bar: seconds kept, and seconds dropped by reason."""
    lengths = {"kept": sum(row.end_s - row.start_s for row in kept)}
    for row in dropped:
        lengths[str(row.reason)] = lengths.get(str(row.reason), 0.0) + row.end_s - row.start_s
    total = sum(lengths.values()) or 1.0
    parts = []
    for reason, length in sorted(lengths.items(), key=lambda item: -item[1]):
        english, chinese = ("Kept.", "已保留。") if reason == "kept" else REASONS[reason]
        name = "kept" if reason == "kept" else "lost"
        label = f"{_both(english, chinese)} <i>{_clock(length)}</i>"
        bar = f'<span class="bar" style="width:{100 * length / total:.2f}%"></span>'
        parts.append(f'<li class="{name}">{bar}{label}</li>')
    return "".join(parts)


def _by_person(rows: Sequence[Row]) -> dict[str, list[Row]]:
    persons: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: str(row.person)):
        persons.setdefault(str(row.person), []).append(row)
    return persons


def _by_reason(rows: Sequence[Row]) -> dict[str, list[Row]]:
    reasons: dict[str, list[Row]] = {reason: [] for reason in REASONS}
    for row in sorted(rows, key=lambda row: row.start_s - row.end_s):
        reasons[str(row.reason)].append(row)
    return {reason: found for reason, found in reasons.items() if found}


def _person(output: Path, name: str, rows: Sequence[Row]) -> str:
    seconds = sum(row.end_s - row.start_s for row in rows)
    count = _both("1 clip" if len(rows) == 1 else f"{len(rows)} clips", f"{len(rows)} 个片段")
    cards = "".join(_clip(output, row) for row in rows[:MAX_KEPT])
    width = "one" if len(rows) == 1 else "many"
    return (
        f'<section class="{width}"><h3 id="{name}">{name} <small>{count} · {_clock(seconds)}</small></h3>'
        f'<div class="clips">{cards}</div>{_more(len(rows) - MAX_KEPT)}</section>'
    )


def _clip(output: Path, row: Row) -> str:
    assert row.clip is not None
    target = output / PICTURES / f"{row.clip}.jpg"
    if not target.is_file():
        target.write_bytes(encode(_strip(output / str(row.person) / row.clip)))
    return (
        f'<article><img loading="lazy" src="{PICTURES}/{row.clip}.jpg" alt="" width="{_STRIP * _SIDE}" '
        f'height="{_SIDE}">{_name(row)}'
        f"<p>{_clock(row.start_s)} – {_clock(row.end_s)} {_chips(row)}</p></article>"
    )


def _strip(folder: Path) -> Picture:
    """Six pictures of a clip side by side."""
    files = sorted(folder.glob("[0-9]*.jpg"))
    chosen = [files[round(p)] for p in np.linspace(0, len(files) - 1, _STRIP)]
    pictures = [decode(file.read_bytes()) for file in chosen]
    small = [cv2.resize(picture, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA) for picture in pictures]
    return np.asarray(np.concatenate(small, axis=1), np.uint8)


def _chips(row: Row) -> str:
    scores = row.scores
    chips = [f"{scores['face']} px", _both(f"speech {scores['speech']:.0%}", f"语音 {scores['speech']:.0%}")]
    if scores.get("confidence") is not None:
        offset, confidence = scores["offset"], scores["confidence"]
        chips.append(_both(f"sync {confidence:.2f}", f"同步 {confidence:.2f}"))
        if scores.get("sure", 1):
            chips.append(_both(f"offset {offset:+d}", f"偏移 {offset:+d}"))
        else:
            chips.append(_both("too unsure to shift", "无法确定偏移"))
    shift = scores.get("shift")
    if shift:
        by = f"{40 * shift:+} ms"
        chips.append(_both(f"sound moved {by}", f"声音已平移 {by}"))
    if scores.get("cleaned_db") is not None:
        by = f"{scores['snr_db']:.0f} → {scores['cleaned_db']:.0f} dB"
        chips.append(_both(f"noise removed {by}", f"已降噪 {by}"))
    return "".join(f"<em>{chip}</em>" for chip in chips)


def _drops(output: Path, reason: str, rows: Sequence[Row]) -> str:
    seconds = sum(row.end_s - row.start_s for row in rows)
    cards = "".join(_drop(output, row) for row in rows[:MAX_DROPPED])
    return (
        f"<section><h3>{_both(*REASONS[reason])} <small>{len(rows)} · {_clock(seconds)}</small></h3>"
        f'<div class="drops">{cards}</div>{_more(len(rows) - MAX_DROPPED)}</section>'
    )


def _drop(output: Path, row: Row) -> str:
    picture = '<div class="none">–</div>'
    if row.thumb is not None:
        name = row.thumb.replace("/thumbs/", "-")
        target = output / PICTURES / name
        stored = output / WORK / row.thumb
        if not target.is_file() and stored.is_file():
            target.write_bytes(stored.read_bytes())
        picture = f'<img loading="lazy" src="{PICTURES}/{name}" alt="">'
    return (
        f"<article>{picture}{_name(row)}"
        f"<p>{_clock(row.start_s)} – {_clock(row.end_s)}</p><p>{html.escape(row.detail)}</p></article>"
    )


def _name(row: Row) -> str:
    """The file's name; its whole path shows under the pointer."""
    name = html.escape(PurePath(row.source).name)
    return f'<p class="name" title="{html.escape(row.source)}">{name}</p>'


def _more(count: int) -> str:
    if count <= 0:
        return ""
    return f"<p>{_both(f'and {count} more in manifest.jsonl', f'另有 {count} 条，见 manifest.jsonl')}</p>"


def _clock(seconds: float) -> str:
    """Hours, minutes and seconds, as short as they are."""
    minutes, rest = divmod(round(seconds, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    if hours:
        return f"{hours}:{minutes:02d}:{int(rest):02d}"
    return f"{minutes}:{rest:04.1f}"
