"""`koubo bench batching` on a fake presenter: both modes, the same load."""

import pytest

from commands.bench_batching import batching_table, bench_batching
from engine.anchor.package import Avatar
from engine.errors import KouboError
from streaming.bench_batching import bench_batching as measure
from streaming.bench_batching import material
from tests.fakes import FakeMouth, make_avatar


def test_both_modes_draw_the_same_load(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    avatar = Avatar.load(make_avatar(tmp_path_factory.mktemp("avatars")))
    mouth = FakeMouth()
    load = material(avatar, mouth)
    assert load.mels.shape[1:] == (80, 16)
    told: list[tuple[int, int]] = []
    figures = measure(
        load, (1, 3), seconds=0.2, rounds=1, threads=1, tell=lambda done, total, _: told.append((done, total))
    )
    assert told == [(number, 4) for number in range(4)]
    assert figures["threads"] == 1
    assert [step["sessions"] for step in figures["steps"]] == [1, 3]
    for step in figures["steps"]:
        assert step["one_by_one"]["faces_a_call"] <= 1
        assert step["batched"]["faces_a_call"] <= step["sessions"]
        for mode in ("batched", "one_by_one"):
            assert set(step[mode]) == {
                "core_ms_a_mouth",
                "ready_ms",
                "repeated_ratio",
                "faces_a_call",
                "in_time",
            }
            assert 0 <= step[mode]["repeated_ratio"] <= 1
    assert len(mouth.mels) > 10
    batching_table({"avatar": "fake", "runtime": "fake", "precision": "u8"} | figures)
    assert "one by one" in capsys.readouterr().out


@pytest.mark.parametrize(("sessions", "wrong"), [("1,many", "no list of numbers"), ("0", "out of range")])
def test_numbers_of_sessions_are_checked(sessions: str, wrong: str) -> None:
    with pytest.raises(KouboError, match=wrong):
        bench_batching(sessions)
