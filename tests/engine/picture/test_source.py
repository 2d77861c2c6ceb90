"""What a video file says of itself; of phones' films in test_video_phones.py."""

from pathlib import Path

import numpy as np
import pytest

from engine.errors import BadMediaError
from engine.picture.source import probe
from tests.training.preprocess.footage import faces, syllables, talking, write_video


def test_a_file_tells_its_facts(tmp_path: Path) -> None:
    facts = probe(talking(tmp_path / "说话.mp4"))
    assert (facts.width, facts.height, facts.depth, facts.codec) == (208, 240, 8, "h264")
    assert facts.duration_s == pytest.approx(3.0, abs=0.1)
    assert facts.sound
    assert 0.01 < facts.bits_per_pixel < 20
    size = (tmp_path / "说话.mp4").stat().st_size
    assert facts.bits_per_pixel == pytest.approx(
        size * 8 / (facts.duration_s * facts.fps * 208 * 240), rel=0.01
    )


def test_ten_bits_and_silence_are_seen(tmp_path: Path) -> None:
    facts = probe(write_video(tmp_path / "a.mkv", faces(syllables(10)), None, pix_fmt="yuv420p10le"))
    assert facts.depth == 10
    assert not facts.sound


def test_variable_rate_is_seen(tmp_path: Path) -> None:
    pictures = faces(syllables(30))
    even = probe(write_video(tmp_path / "a.mp4", pictures, None))
    times = np.cumsum(np.random.default_rng(0).choice([0.02, 0.1], 30)).tolist()
    uneven = probe(write_video(tmp_path / "b.mp4", pictures, None, times=times))
    assert not even.variable_rate
    assert uneven.variable_rate


def test_files_that_are_no_video_are_named(tmp_path: Path) -> None:
    (tmp_path / "空.mp4").touch()
    with pytest.raises(BadMediaError, match=r"空\.mp4 cannot be read"):
        probe(tmp_path / "空.mp4")
    with pytest.raises(BadMediaError, match="There is no video file"):
        probe(tmp_path / "gone.mp4")


def test_a_file_cut_in_half_is_named(tmp_path: Path) -> None:
    video = talking(tmp_path / "a.mp4")
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    with pytest.raises(BadMediaError, match=r"a\.mp4 cannot be read"):
        probe(video)
