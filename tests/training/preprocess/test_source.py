"""One source through all steps, with footage whose truth is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.speech.audio import SAMPLES_PER_TICK, Samples
from tests.fakes import room_noise, speech_like
from tests.training.preprocess.footage import (
    HEIGHT,
    SETTINGS,
    WIDTH,
    FakeFaces,
    faces,
    fake_tools,
    syllables,
    talking,
    turn_on_its_side,
    voice,
    write_video,
)
from training.clips import decode, read_clip
from training.preprocess.limits import LEAD
from training.preprocess.results import Result, Row, finished, load, work_folder
from training.preprocess.source import prepare_source
from training.preprocess.sources import Source, find_sources

KEPT = ["clips", "pictures.npy", "source.json", "thumbs"]


def prepared(video: Path, output: Path) -> Result:
    (source,) = find_sources([video])
    return prepare_source(source, output, SETTINGS, fake_tools())


def only(result: Result) -> Row:
    assert len(result.rows) == 1, result.rows
    return result.rows[0]


def loudness(samples: Samples) -> list[float]:
    ticks = samples.reshape(-1, SAMPLES_PER_TICK)
    return [float(np.sqrt(np.square(tick).mean())) for tick in ticks]


def lag(folder: Path) -> int:
    """By how many ticks the stored sound comes after the stored mouths."""
    clip = read_clip(folder)
    pictures = [decode(picture).astype(int) for picture in clip.pictures]
    seen = [float((np.abs(p - (90, 20, 30)).sum(axis=2) < 90).mean()) for p in pictures]
    heard = loudness(clip.samples)
    fits = [float(np.corrcoef(seen, heard[k : k + len(seen)])[0, 1]) for k in range(2 * LEAD)]
    return int(np.argmax(fits)) - LEAD


def test_a_good_clip_is_kept_whole(tmp_path: Path) -> None:
    result = prepared(talking(tmp_path / "张三 说话.mp4"), tmp_path / "out")
    row = only(result)
    assert (row.reason, row.start_s) == (None, 0.0)
    assert row.end_s == pytest.approx(3.0, abs=0.1)
    assert row.source.endswith("张三 说话.mp4")
    folder = work_folder(tmp_path / "out", result.id)
    clip = read_clip(folder / "clips" / str(row.clip))
    assert clip.card.source == row.source
    assert clip.card.size == 64
    assert clip.card.offset == row.scores["offset"] == 0
    assert (clip.card.margin, clip.card.lead) == (1.15, LEAD)
    assert 0.5 < row.scores["confidence"] == clip.card.confidence  # type: ignore[operator]
    assert row.scores["face"] == pytest.approx(0.58 * HEIGHT, rel=0.05)
    assert row.scores["cleaned_db"] is None
    assert lag(folder / "clips" / str(row.clip)) == 0
    assert (folder.parent / str(row.thumb)).is_file()
    assert sorted(path.name for path in folder.iterdir()) == [
        "clips",
        "pictures.npy",
        "source.json",
        "thumbs",
    ]
    assert load(folder) == result
    assert finished(tmp_path / "out", result.id, SETTINGS)
    assert not finished(tmp_path / "out", result.id, replace(SETTINGS, size=96))


@pytest.mark.parametrize("delay", [-4, 1, 6])
def test_a_constant_offset_is_mended(tmp_path: Path, delay: int) -> None:
    result = prepared(talking(tmp_path / "a.mp4", 4.0, delay=delay), tmp_path / "out")
    row = only(result)
    assert row.reason is None
    assert row.scores["offset"] == delay
    assert row.scores["shift"] == (0 if abs(delay) <= 1 else delay)
    folder = work_folder(tmp_path / "out", result.id) / "clips" / str(row.clip)
    assert read_clip(folder).card.offset == delay
    assert lag(folder) == (delay if abs(delay) <= 1 else 0)


def test_an_offset_that_changes_is_dropped(tmp_path: Path) -> None:
    curve = syllables(150)
    both = np.concatenate([voice(curve, 8)[: 75 * 640], voice(curve, -8)[75 * 640 :]])
    row = only(prepared(write_video(tmp_path / "a.mp4", faces(curve), both), tmp_path / "out"))
    assert row.reason == "unsteady_sync"
    assert row.clip is None
    assert "confidence" in row.scores


def test_the_voice_of_another_is_dropped(tmp_path: Path) -> None:
    limits = replace(SETTINGS.limits, min_confidence=0.5, min_window_confidence=2.0, strict_sync=True)
    video = write_video(tmp_path / "a.mp4", faces(syllables(100, 1)), voice(syllables(100, 2)))
    (source,) = find_sources([video])
    result = prepare_source(source, tmp_path / "out", replace(SETTINGS, limits=limits), fake_tools())
    assert only(result).reason == "out_of_sync"
    still = write_video(tmp_path / "b.mp4", faces(np.full(75, 0.3)), voice(syllables(75)))
    assert only(prepared(still, tmp_path / "out")).reason == "speaker_unseen"


def test_scenes_and_empty_stretches_are_told_apart(tmp_path: Path) -> None:
    curve = syllables(160)
    pictures = faces(curve)
    street = np.random.default_rng(0).integers(0, 90, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    pictures[70:95] = [street] * 25
    result = prepared(write_video(tmp_path / "a.mp4", pictures, voice(curve)), tmp_path / "out")
    assert [row.reason for row in result.rows] == [None, "no_face", None]
    assert [row.start_s for row in result.rows] == pytest.approx([0, 2.8, 3.8], abs=0.05)
    clips = work_folder(tmp_path / "out", result.id) / "clips"
    assert sorted(path.name for path in clips.iterdir()) == [f"{result.id}-000", f"{result.id}-001"]
    assert lag(clips / f"{result.id}-001") == 0
    thumb = work_folder(tmp_path / "out", result.id).parent / str(result.rows[1].thumb)
    assert decode(thumb.read_bytes()).mean() < 60


def test_a_second_face_is_seen(tmp_path: Path) -> None:
    curve = syllables(75)
    pictures = faces(curve)
    for picture in pictures:
        picture[-12:, :12] = 255
    row = only(prepared(write_video(tmp_path / "a.mp4", pictures, voice(curve)), tmp_path / "out"))
    assert (row.reason, row.detail) == ("several_faces", "2 faces")


def test_noise_is_noted_where_it_was_removed(tmp_path: Path) -> None:
    curve = syllables(100)
    hiss = np.random.default_rng(1).normal(0, 0.02, 64000).astype(np.float32)
    row = only(prepared(write_video(tmp_path / "a.mp4", faces(curve), voice(curve) + hiss), tmp_path / "out"))
    assert row.reason is None
    assert row.scores["snr_db"] < 20 < row.scores["cleaned_db"] + 10  # type: ignore[operator]


def silent(path: Path) -> Path:
    return write_video(path, faces(syllables(60)), None)


def hushed(path: Path) -> Path:
    return write_video(path, faces(syllables(60)), room_noise(2.4, 0.001))


def short(path: Path) -> Path:
    return talking(path, 1.2)


def small(path: Path) -> Path:
    pictures = [np.ascontiguousarray(picture[::2, ::2]) for picture in faces(syllables(60))]
    return write_video(path, pictures, voice(syllables(60)))


def words(path: Path) -> Path:
    path.write_text("这不是视频")
    return path


def empty(path: Path) -> Path:
    path.touch()
    return path


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (silent, "no_sound"),
        (hushed, "no_speech"),
        (short, "too_short"),
        (small, "low_resolution"),
        (words, "unreadable"),
        (empty, "unreadable"),
    ],
)
def test_bad_files_are_one_row_with_a_reason(tmp_path: Path, make: object, reason: str) -> None:
    video = make(tmp_path / "坏.mp4")  # type: ignore[operator]
    row = only(prepared(video, tmp_path / "out"))
    assert row.reason == reason
    assert (row.thumb is not None) == (reason != "unreadable")
    assert row.source.endswith("坏.mp4")


def test_twins_are_done_once(tmp_path: Path) -> None:
    first = talking(tmp_path / "a.mp4")
    twin = Source("0123456789ab", tmp_path / "b.mp4", first)
    twin.path.write_bytes(first.read_bytes())
    row = only(prepare_source(twin, tmp_path / "out", SETTINGS, fake_tools()))
    assert row.reason == "duplicate"
    assert row.detail.endswith("a.mp4")


def test_a_phone_held_upright(tmp_path: Path) -> None:
    curve = syllables(75)
    lying = [np.ascontiguousarray(np.rot90(picture, 1)) for picture in faces(curve)]
    video = turn_on_its_side(write_video(tmp_path / "a.mp4", lying, voice(curve)))
    assert only(prepared(video, tmp_path / "out")).reason is None


def test_other_rates_and_depths(tmp_path: Path) -> None:
    curve = syllables(100)
    times = np.cumsum(np.random.default_rng(2).choice([0.03, 0.05], 100)).tolist()
    speech = speech_like(4.0)
    uneven = write_video(tmp_path / "a.mkv", faces(curve), speech, times=times)
    result = prepared(uneven, tmp_path / "out")
    assert result.rows[-1].end_s == pytest.approx(times[-1] - times[0] + 0.04, abs=0.1)
    deep = write_video(tmp_path / "b.mkv", faces(curve), voice(curve), pix_fmt="yuv420p10le")
    result = prepared(deep, tmp_path / "out")
    assert only(result).reason is None
    assert result.facts["depth"] == 10


def test_what_breaks_off_keeps_its_beginning(tmp_path: Path) -> None:
    video = talking(tmp_path / "a.mkv", 6.0)
    video.write_bytes(video.read_bytes()[: round(video.stat().st_size * 0.6)])
    result = prepared(video, tmp_path / "out")
    assert result.rows[0].reason in (None, "damaged")
    kept = [row for row in result.rows if row.clip]
    assert kept
    assert 2.0 < kept[-1].end_s < 5.0


def test_a_table_is_used_again_and_old_clips_go(tmp_path: Path) -> None:
    video = talking(tmp_path / "a.mp4")
    (source,) = find_sources([video])
    made: list[FakeFaces] = []

    def tracker() -> FakeFaces:
        made.append(FakeFaces())
        return made[-1]

    tools = replace(fake_tools(), tracker=tracker)
    output = tmp_path / "out"
    first = prepare_source(source, output, SETTINGS, tools)
    old = output / "person-001" / f"{source.id}-000"
    old.mkdir(parents=True)
    (output / "report").mkdir()
    (output / "report" / f"{source.id}-000.jpg").touch()
    strict = replace(SETTINGS, limits=replace(SETTINGS.limits, min_face=200))
    second = prepare_source(source, output, strict, tools)
    assert first.rows[0].reason is None
    assert second.rows[0].reason == "small_face"
    assert len(made) == 1
    assert made[0].closed
    assert not old.exists()
    assert not (output / "report" / f"{source.id}-000.jpg").exists()
    assert not (work_folder(output, source.id) / "clips").exists()


def test_progress_reaches_its_end(tmp_path: Path) -> None:
    (source,) = find_sources([talking(tmp_path / "a.mp4")])
    told: list[tuple[int, int]] = []
    prepare_source(source, tmp_path / "out", SETTINGS, fake_tools(), lambda *step: told.append(step))
    assert told[0][0] == 1
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1][0] == told[-1][1]


def test_without_a_judge_nothing_is_said_of_sync(tmp_path: Path) -> None:
    (source,) = find_sources([talking(tmp_path / "a.mp4", delay=9)])
    tools = replace(fake_tools(), judge=None)
    result = prepare_source(source, tmp_path / "out", SETTINGS, tools)
    row = only(result)
    assert row.reason is None
    assert "offset" not in row.scores
    folder = work_folder(tmp_path / "out", result.id) / "clips" / str(row.clip)
    assert (read_clip(folder).card.offset, read_clip(folder).card.confidence) == (None, None)
