"""The whole report, from painted videos to the page."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from engine.anchor.crop import Picture
from engine.errors import BadMediaError
from engine.picture.video import read_rgb
from engine.speech.audio import Samples, load_speech
from tests.fakes import FakeTracker, speech_like
from tests.films import GAPES, faces, write
from training.evaluate import Recording
from training.report import judge_or_reason, report
from training.report_figures import COLUMNS, FIGURES, MEASURES, Report
from training.sync_score import SyncFinding

FRAMES = (52, 32)
"""Pictures of the two recordings; the second one is too short for the sync judge."""

OTHER = 0.05 + 0.04 * np.sin(np.arange(32) * 0.37 + 1) * np.cos(np.arange(32) * 0.9)


@dataclass
class FakeJudge:
    """A SyncJudge that finds what it is told to, and remembers what it was shown."""

    size: int = 32
    seen: list[tuple[int, tuple[int, ...], int]] = field(default_factory=list)

    def judge(self, pictures: Sequence[Picture], samples: Samples) -> SyncFinding:
        """A finding that differs from video to video."""
        self.seen.append((len(pictures), pictures[0].shape, samples.size))
        return SyncFinding(len(self.seen) % 3 - 1, 0.5, 0.2, 1.0, [0])


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Recording]:
    folder = tmp_path_factory.mktemp("films")
    samples = np.concatenate([speech_like(0.9), np.zeros(2 * 16000, np.float32)])
    found = []
    for name, gapes in (("one <1>", GAPES[: FRAMES[0]]), ("two", OTHER)):
        place = folder / name[:3]
        place.mkdir()
        found.append(
            Recording(
                name,
                write(place / "truth.mp4", faces(gapes), samples[: 640 * len(gapes)]),
                write(place / "generated.mp4", faces(gapes, blur=1.0)),
                write(place / "anchor.mp4", faces(np.zeros(len(gapes)))),
            )
        )
    return found


@pytest.fixture(scope="module")
def made(
    recordings: list[Recording], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Report, Path, FakeJudge]:
    output = tmp_path_factory.mktemp("out") / "report"
    judge = FakeJudge()
    found = report("Ada & Co", recordings, output, FakeTracker, judge, silence=(0.004, 0.003))
    return found, output, judge


def read(output: Path) -> Any:
    return json.loads((output / "report.json").read_text())


def values(output: Path, key: str) -> dict[str, Any]:
    return next(figure for figure in read(output)["figures"] if figure["key"] == key)


def test_all_seven_measures_have_values_in_all_columns(made: tuple[Report, Path, FakeJudge]) -> None:
    figures = read(made[1])["figures"]
    assert [figure["key"] for figure in figures] == [figure.key for figure in FIGURES]
    assert {figure["measure"] for figure in figures} == set(MEASURES)
    for figure in figures:
        assert figure["generated"] is not None, figure["key"]
        assert figure["why"] is None
        if figure["key"] in ("silence_aperture", "swapped_jaw_r"):
            assert figure["truth"] is None
        else:
            assert figure["truth"] is not None, figure["key"]


def test_the_bounds_enclose_the_generated(made: tuple[Report, Path, FakeJudge]) -> None:
    for key in ("psnr_mouth", "ssim_mouth", "jaw_r", "aperture_r"):
        found = values(made[1], key)
        anchor = -1 if found["anchor"] is None else found["anchor"]  # a mouth that never moves has no r
        assert anchor < found["generated"] < found["truth"] + 1e-9, key
    gmsd = values(made[1], "gmsd_mouth")
    assert gmsd["truth"] == pytest.approx(0, abs=1e-9)
    assert 0 < gmsd["generated"] < gmsd["anchor"]
    assert values(made[1], "seam_luma")["anchor"] == 0
    assert values(made[1], "flicker_ratio")["truth"] == pytest.approx(1)
    assert values(made[1], "lag_frames")["anchor"] is None


def test_targets_are_marked(made: tuple[Report, Path, FakeJudge]) -> None:
    assert values(made[1], "jaw_r")["mark"] == "pass"
    assert values(made[1], "sharpness_ratio")["mark"] == "miss"
    assert values(made[1], "silence_aperture")["mark"] == "pass"
    assert values(made[1], "ssim_mouth")["mark"] == "no target"


def test_the_swapped_sentence_does_not_correlate(made: tuple[Report, Path, FakeJudge]) -> None:
    assert abs(values(made[1], "swapped_jaw_r")["generated"]) < 0.5


def test_the_judge_sees_each_video_of_two_seconds_with_the_true_sound(
    made: tuple[Report, Path, FakeJudge],
) -> None:
    assert len(made[2].seen) == len(COLUMNS)
    for pictures, shape, samples in made[2].seen:
        assert pictures == FRAMES[0]
        assert shape == (32, 32, 3)
        assert samples == pytest.approx(FRAMES[0] * 640, abs=1100)


def test_recordings_are_listed_one_by_one(made: tuple[Report, Path, FakeJudge]) -> None:
    written = read(made[1])
    assert set(written["recordings"]) == {"one <1>", "two"}
    assert set(written["recordings"]["two"]) == set(COLUMNS)
    assert written["summary"]["jaw_r"] == round(values(made[1], "jaw_r")["generated"], 3)
    assert set(written["summary"]) == {figure.key for figure in FIGURES}


class _Page(HTMLParser):
    """Collects what the page links to and whether its tags close."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.text: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "link", "img", "line", "path"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("line", "path"):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parse(output: Path) -> _Page:
    page = _Page()
    page.feed((output / "index.html").read_text(encoding="utf-8"))
    page.close()
    return page


def test_the_page_is_whole_and_needs_nothing_from_elsewhere(made: tuple[Report, Path, FakeJudge]) -> None:
    page = parse(made[1])
    assert page.open == []
    files = [link.split("#")[0] for link in page.links if not link.startswith("data:")]
    assert sorted(files) == ["report.json", "sheet.jpg", "side-by-side.mp4"]
    assert all((made[1] / name).is_file() for name in files)
    assert "script" not in page.tags
    assert not list(made[1].glob("*.part*"))


def test_the_page_says_what_a_newcomer_needs(made: tuple[Report, Path, FakeJudge]) -> None:
    text = " ".join(parse(made[1]).text)
    for figure in FIGURES:
        assert figure.title in text
        assert figure.meaning in text
    for word in ("Ada & Co", "one <1>", "✓ met", "✕ missed", "no target", "How to read", "higher is better"):
        assert word in text
    assert parse(made[1]).tags.count("svg") == 2


def test_the_curves_are_drawn_over_the_whole_time(made: tuple[Report, Path, FakeJudge]) -> None:
    paths = re.findall(r'curve-(\w+)" d="([^"]+)"', (made[1] / "index.html").read_text(encoding="utf-8"))
    assert [name for name, _ in paths] == ["generated", "truth"] * 2
    assert [len(re.findall("[ML]", data)) for _, data in paths] == [52, 52, 32, 32]


def test_the_video_has_three_columns_sound_and_every_picture(made: tuple[Report, Path, FakeJudge]) -> None:
    pictures = list(read_rgb(made[1] / "side-by-side.mp4"))
    assert len(pictures) == sum(FRAMES)
    assert pictures[0].shape == (704, 960, 3)
    assert load_speech(made[1] / "side-by-side.mp4").size == pytest.approx(sum(FRAMES) * 640, abs=1100)
    closed, opened = (column_of(pictures[int(np.argmax(GAPES[: FRAMES[0]]))], number) for number in (2, 0))
    assert (opened < 60).mean() > (closed < 60).mean() + 0.01


def column_of(picture: Picture, number: int) -> Picture:
    """The enlarged lower face of a column."""
    return picture[356:676, 320 * number : 320 * (number + 1), 1]


def test_the_sheet_has_a_row_a_video(made: tuple[Report, Path, FakeJudge]) -> None:
    sheet = cv2.imread(str(made[1] / "sheet.jpg"))
    assert sheet is not None
    assert sheet.shape[:2] == (6 * 192 + 12, 10 * 192)


def test_without_judge_anchor_or_second_recording_the_report_says_why(
    recordings: list[Recording], tmp_path: Path
) -> None:
    first = recordings[0]
    alone = [Recording("alone", first.truth, first.generated, None)]
    reason = judge_or_reason(tmp_path / "gone.safetensors")
    assert isinstance(reason, str)
    assert "gone.safetensors" in reason
    told: list[str] = []
    report(
        "Alone", alone, tmp_path / "out", FakeTracker, reason,
        tell=lambda step, done, total: told.append(step),
    )  # fmt: skip
    for key, why in (
        ("sync_offset", "gone.safetensors"),
        ("silence_aperture", "Only a presenter"),
        ("swapped_jaw_r", "two recordings"),
    ):
        found = values(tmp_path / "out", key)
        assert found["generated"] is None
        assert found["mark"] == "not measured"
        assert why in found["why"]
    assert values(tmp_path / "out", "jaw_r")["anchor"] is None
    page = parse(tmp_path / "out")
    assert "Anchor" not in " ".join(page.text)
    assert reason in " ".join(page.text)
    assert next(iter(read_rgb(tmp_path / "out" / "side-by-side.mp4"))).shape[1] == 640
    assert {"following faces", "measuring", "side by side"} <= set(told)


def test_videos_shorter_than_two_seconds_have_no_sync(recordings: list[Recording], tmp_path: Path) -> None:
    sound = speech_like(1.0)
    truth = write(tmp_path / "t.mp4", faces(GAPES[:25]), sound)
    judge = FakeJudge()
    report("Short", [Recording("s", truth, truth, None)], tmp_path / "out", FakeTracker, judge)
    assert judge.seen == []
    assert "shorter than 50 pictures" in values(tmp_path / "out", "sync_offset")["why"]


def test_videos_of_different_speech_are_refused(recordings: list[Recording], tmp_path: Path) -> None:
    short = write(tmp_path / "short.mp4", faces(GAPES[:20]))
    with pytest.raises(BadMediaError, match="differ by 32 frames"):
        report(
            "No",
            [Recording("n", recordings[0].truth, short, None)],
            tmp_path / "out",
            FakeTracker,
            FakeJudge(),
        )
    assert not (tmp_path / "out" / "report.json").exists()


def test_targets_relative_to_the_anchor_need_one() -> None:
    target = next(f for f in FIGURES if f.key == "silence_aperture").target
    assert target is not None
    assert target.met(0.010, None) is None
    assert target.met(0.010, 0.006) is True
    assert target.met(0.012, 0.006) is False


@pytest.mark.parametrize(
    ("key", "recordings_", "gathered"),
    [
        ("jaw_r", [{"jaw_r": 0.5}, {"jaw_r": 1.0}, {"jaw_r": None}], 0.75),
        ("jaw_r_worst", [{"jaw_r": 0.5}, {"jaw_r": 1.0}], 0.5),
        ("lag_frames", [{"lag_frames": 1}, {"lag_frames": -2}, {"lag_frames": 0}], -2),
        ("sync_offset", [{"sync_offset": 4}, {"sync_offset": 0}, {"sync_offset": 1}], 1),
        ("jaw_r", [{}, {"jaw_r": None}], None),
    ],
)
def test_recordings_are_gathered_as_the_figure_says(
    key: str, recordings_: list[dict[str, float | None]], gathered: float | None
) -> None:
    assert next(f for f in FIGURES if f.key == key).gather(recordings_) == gathered
