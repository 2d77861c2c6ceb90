"""The page that people look at."""

from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from training.clips import ClipCard, decode, encode, write_clip
from training.preprocess.limits import LEAD
from training.preprocess.reasons import REASONS
from training.preprocess.report import MAX_DROPPED, MAX_KEPT, write_report
from training.preprocess.results import WORK, Row

SUMMARY: dict[str, float | int] = {
    "sources": 3,
    "clips": 2,
    "persons": 1,
    "kept_s": 125.04,
    "dropped_s": 3661,
}


class Page(HTMLParser):
    """Collects what a page shows and refers to; fails on tags that do not match."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.images: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "iframe")
        if tag == "img":
            self.images.append(str(dict(attrs)["src"]))
        if tag not in ("img", "meta", "input"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def kept(output: Path, number: int, source: str = "素材/张三.mp4", person: str = "person-001") -> Row:
    clip = f"0123456789ab-{number:03d}"
    pictures = [encode(np.full((32, 32, 3), 40 * k, np.uint8)) for k in range(3)]
    card = ClipCard(person, source, 0.0, 3, 32, 1.15, LEAD, [[0.5, 0.5]] * 3)
    write_clip(output / person / clip, card, pictures, np.zeros((2 * LEAD + 3) * 640, np.float32))
    scores: dict[str, float | int | None] = {
        "face": 133, "speech": 0.8, "offset": 4, "confidence": 0.41, "shift": 4, "snr_db": 12.0,
        "cleaned_db": 31.0,
    }  # fmt: skip
    return Row(source, 0.0, 2.4, clip=clip, person=person, scores=scores)


def dropped(reason: str, source: str = "李四.mp4", start: float = 0.0, end: float = 1.0) -> Row:
    return Row(source, start, end, reason, "figures")


def test_what_was_kept_is_shown_with_its_figures(tmp_path: Path) -> None:
    page = Page(write_report(tmp_path, [kept(tmp_path, 0), kept(tmp_path, 1)], SUMMARY))
    for text in ("person-001", "张三.mp4", "133 px", "sync 0.41", "偏移 +4", "sound moved +160 ms",
                 "noise removed 12 → 31 dB", "2 clips", "2:05.0", "1:01:01"):  # fmt: skip
        assert text in page.text, text
    assert len(page.images) == 2
    for image in page.images:
        strip = decode((tmp_path / image).read_bytes())
        assert strip.shape == (112, 672, 3)
        assert strip[:, :100].mean() < 10
        assert strip[:, -100:].mean() > 70


def test_an_unsure_offset_is_not_told_as_one(tmp_path: Path) -> None:
    row = kept(tmp_path, 0)
    row.scores |= {"sure": 0, "shift": 0}
    page = Page(write_report(tmp_path, [row], SUMMARY))
    assert "too unsure to shift" in page.text
    assert "offset +4" not in page.text
    assert "sound moved" not in page.text


def test_every_reason_has_both_languages(tmp_path: Path) -> None:
    rows = [dropped(reason) for reason in REASONS]
    page = Page(write_report(tmp_path, rows, SUMMARY))
    for english, chinese in REASONS.values():
        assert english in page.text
        assert chinese in page.text
    assert "Nothing was kept." in page.text


def test_a_dropped_stretch_shows_its_picture(tmp_path: Path) -> None:
    row = dropped("no_face")
    row.thumb = "0123456789ab/thumbs/000010.jpg"
    stored = tmp_path / WORK / row.thumb
    stored.parent.mkdir(parents=True)
    stored.write_bytes(encode(np.zeros((20, 20, 3), np.uint8)))
    page = Page(write_report(tmp_path, [row, dropped("unreadable")], SUMMARY))
    assert len(page.images) == 1
    assert (tmp_path / page.images[0]).read_bytes() == stored.read_bytes()


def test_names_cannot_break_the_page(tmp_path: Path) -> None:
    bad = '<img src="x" onerror="alert(1)">".mp4'
    page = Page(write_report(tmp_path, [kept(tmp_path, 0, source=bad), dropped("no_face", bad)], SUMMARY))
    assert "x" not in page.images
    assert page.text.count(bad) == 2


def test_large_data_sets_make_small_pages(tmp_path: Path) -> None:
    row = kept(tmp_path, 0)
    rows = [row] * (MAX_KEPT + 5) + [dropped("no_face", start=k, end=k + 1) for k in range(MAX_DROPPED + 7)]
    page = Page(write_report(tmp_path, rows, SUMMARY))
    assert len(page.images) == MAX_KEPT
    assert "and 5 more in manifest.jsonl" in page.text
    assert "另有 7 条" in page.text


def test_the_longest_losses_come_first(tmp_path: Path) -> None:
    rows = [dropped("no_face", "short.mp4"), dropped("no_face", "long.mp4", 0, 60)]
    page = Page(write_report(tmp_path, rows, SUMMARY))
    assert page.text.index("long.mp4") < page.text.index("short.mp4")
