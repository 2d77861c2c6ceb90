"""`koubo bench viewers`: one real run."""

import sys
from functools import partial
from pathlib import Path

import pytest

from engine.errors import KouboError
from streaming.bench_viewers import bench_viewers
from streaming.encoding.base import CODECS, read_codec

LINUX = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads /proc, which Linux has")


def fake_server(folder: Path, port: int, **settings: object) -> list[str]:
    """A server with fake mouths; its settings allow the few viewers of these tests."""
    assert settings == {"max_viewers": 1} or settings == {"max_viewers": 3}
    return [sys.executable, "-m", "tests.streaming.fake_server", str(port), str(folder)]


@LINUX
@pytest.mark.slow
def test_three_viewers_cost_one_encode(tmp_path: Path) -> None:
    figures = bench_viewers(3, 3.0, "h264", partial(fake_server, tmp_path))
    assert (figures["viewers"], figures["codec"]) == (3, "h264")
    for part in (figures["one"], figures["all"]):
        assert part["encoders"] == 1
        # Not 75: each picture is encoded once, whoever watches.
        assert 15 <= part["pictures_encoded_per_second"] <= 30
        assert 10 <= part["pictures_per_viewer_per_second"] <= 30
        assert part["kbps_per_viewer"] > 20
        assert part["encode_ms_per_picture"] > 0
        spent = part["cpu_s_per_s"]
        assert spent["total"] == pytest.approx(
            spent["sending"] + spent["encoding"] + spent["drawing"], abs=0.001
        )
        assert 0 < spent["encoding"] < 1
    assert figures["encode_ratio"] > 0
    assert figures["ratio_apart_from_sending"] > 0


def test_a_codec_is_read_by_name() -> None:
    assert [read_codec(name) for name in CODECS] == list(CODECS)
    with pytest.raises(KouboError, match=r"^There is no picture codec 'av1'; choose h264 or vp8\.$"):
        read_codec("av1")
