"""A mouth in another process: the same pictures, and what follows when that process dies, hangs or does
not start.

The process is a real one with the fake mouth, killed for real; time is bounded generously.
"""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from engine.anchor.crop import Picture
from engine.anchor.package import shipped_mouth
from engine.errors import KouboError
from engine.mouth.openvino_runtime import OpenVinoMouth
from engine.mouth.region import Region
from engine.speech.mel import Mel
from streaming import mouth_process
from streaming.bench_load import thread_s
from streaming.mouth_process import MouthLost, RemoteMouth, open_remote
from tests.fakes import SIZE
from tests.streaming.fake_mouth_worker import COMMAND, CRASH, HANG, NAP, NAP_S, RAISE, Faulty
from tests.tiny_mouth import write_tiny_mouth

FACE = Region(10, 20, 50, 60)


def faces(count: int) -> Picture:
    return np.random.default_rng(count).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def mels(count: int, seed: int = 0) -> Mel:
    return np.random.default_rng(seed).normal(-1, 1, (count, 80, 16)).astype(np.float32)


def fault(value: float) -> Mel:
    return np.full((1, 80, 16), value, np.float32)


def drawn_again(mouth: RemoteMouth, before: int | None, timeout_s: float = 60) -> None:
    """Wait until another process draws."""
    until(lambda: mouth.pid not in (None, before), timeout_s)


def until(check: Callable[[], bool], timeout_s: float = 60) -> None:
    end = time.monotonic() + timeout_s
    while not check():
        assert time.monotonic() < end, "it did not come to hold in time"
        time.sleep(0.01)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return state(pid) == "Z"


def state(pid: int) -> str:
    """As `ps` shows it; "?" where the system does not tell."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.read_text().rpartition(")")[2].split()[0] if stat.is_file() else "?"


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> RemoteMouth:
    """One for all tests that leave it as it is, or wait until it draws again."""
    folder = tmp_path_factory.mktemp("mouth")
    mouth, sentence = open_remote(folder, "fake", lanes=2, command=COMMAND, answer_s=30)
    assert sentence == "The mouth runs on fake."
    return mouth


def test_it_draws_what_the_mouth_itself_draws(remote: RemoteMouth) -> None:
    local = Faulty()
    assert (remote.name, remote.precision, remote.size) == (local.name, local.precision, local.size)
    assert (remote.region, remote.maps_key) == (local.region, local.maps_key)
    for count in (0, 1, 3, 4, 9):  # more than go through a lane in one call, too
        idle = faces(count)
        features = remote.encode(idle)
        assert [len(maps) for maps in features] == [2] * count
        for mine, own in zip(features, local.encode(idle), strict=True):
            for one, other in zip(mine, own, strict=True):
                np.testing.assert_array_equal(one, other)
                assert one.dtype == other.dtype
        if count:
            expected = local.decode(mels(count), features)
            np.testing.assert_array_equal(remote.decode(mels(count), features), expected)
    with pytest.raises(ValueError, match="2 mel windows for 1 faces"):
        remote.decode(mels(2), remote.encode(faces(1)))


def test_restricted_it_draws_the_region_with_smaller_features(remote: RemoteMouth) -> None:
    part, local = remote.restricted(FACE), Faulty(FACE)
    assert part.region == FACE
    features = part.encode(faces(5))
    assert features[0][0].shape == (40, 40, 3)
    np.testing.assert_array_equal(part.decode(mels(5), features), local.decode(mels(5), features))
    assert part.pid == remote.pid
    again = part.restricted(FACE)
    np.testing.assert_array_equal(again.decode(mels(5), features), local.decode(mels(5), features))


def test_features_and_pictures_outlive_the_call(remote: RemoteMouth) -> None:
    features = remote.encode(faces(1))
    picture = remote.decode(mels(1), features)
    kept = [map_.copy() for map_ in features[0]], picture.copy()
    remote.decode(mels(2, seed=3), remote.encode(faces(2)))
    np.testing.assert_array_equal(picture, kept[1])
    for map_, then in zip(features[0], kept[0], strict=True):
        np.testing.assert_array_equal(map_, then)


def test_several_threads_draw_at_once_and_each_gets_its_own(remote: RemoteMouth) -> None:
    local = Faulty()
    jobs = [(mels(2, seed), remote.encode(faces(2))) for seed in range(40)]
    with ThreadPoolExecutor(8) as threads:  # more than there are lanes
        pictures = list(threads.map(lambda job: remote.decode(*job), jobs))
        for (sound, features), drawn in zip(jobs, pictures, strict=True):
            np.testing.assert_array_equal(drawn, local.decode(sound, features))
        # Two calls that only sleep take the time of one.
        began = time.monotonic()
        list(threads.map(lambda _: remote.decode(fault(NAP), remote.encode(faces(1))), range(4)))
        assert time.monotonic() - began < 3.9 * NAP_S


@pytest.mark.parametrize("how", ["killed", "aborted", "raised"])
def test_a_death_is_told_at_once_and_mended_by_itself(remote: RemoteMouth, how: str) -> None:
    part = remote.restricted(FACE)
    features, of_part = remote.encode(faces(1)), part.encode(faces(1))
    pid = remote.pid
    assert pid is not None
    if how == "killed":
        os.kill(pid, signal.SIGKILL)
        until(lambda: remote.pid != pid)
    else:
        with pytest.raises(MouthLost, match="has ended; it is started anew"):
            remote.decode(fault(CRASH if how == "aborted" else RAISE), features)
    # Who prepares waits for the next process, which reads the same features, whole and restricted.
    np.testing.assert_array_equal(remote.encode(faces(1))[0][0], features[0][0])
    assert remote.pid not in (None, pid)
    for mouth, local, maps in ((remote, Faulty(), features), (part, Faulty(FACE), of_part)):
        np.testing.assert_array_equal(mouth.decode(mels(1), maps), local.decode(mels(1), maps))


def test_who_waits_for_an_answer_or_a_lane_hears_of_the_death(remote: RemoteMouth) -> None:
    features, pid = remote.encode(faces(1)), remote.pid
    assert pid is not None
    with ThreadPoolExecutor(5) as threads:
        calls = [threads.submit(remote.decode, fault(HANG), features) for _ in range(5)]
        time.sleep(0.1)  # whichever has a lane by then, and whichever waits for one
        os.kill(pid, signal.SIGKILL)
        for call in calls:
            assert isinstance(call.exception(timeout=20), MouthLost)  # long before `answer_s`
    drawn_again(remote, pid)


def test_a_process_that_hangs_is_given_up(tmp_path: Path) -> None:
    mouth, _ = open_remote(tmp_path, "fake", lanes=1, command=COMMAND, answer_s=0.5)
    features, pid = mouth.encode(faces(1)), mouth.pid
    assert pid is not None
    with pytest.raises(MouthLost, match="does not answer"):
        mouth.decode(fault(HANG), features)
    until(lambda: gone(pid))
    drawn_again(mouth, pid)
    mouth.decode(mels(1), features)


def test_a_stopped_process_counts_as_one_that_hangs(tmp_path: Path) -> None:
    mouth, _ = open_remote(tmp_path, "fake", lanes=1, command=COMMAND, answer_s=0.5)
    features, pid = mouth.encode(faces(1)), mouth.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    until(lambda: state(pid) in "T?")
    with pytest.raises(MouthLost, match="does not answer"):
        mouth.decode(mels(1), features)
    drawn_again(mouth, pid)
    mouth.decode(mels(1), features)


def test_a_mouth_that_cannot_be_opened_is_refused_with_its_own_sentence(tmp_path: Path) -> None:
    with pytest.raises(KouboError, match="There is no mouth in"):
        open_remote(tmp_path / "nowhere", "fake", command=COMMAND)
    with pytest.raises(MouthLost, match="ended while it was opened"):
        open_remote(tmp_path, "fake", command=(sys.executable, "-c", "pass"))


def test_it_is_tried_again_and_again_with_rests_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(mouth_process, "_REST_S", 0.01)
    folder = tmp_path / "mouth"
    folder.mkdir()
    mouth, _ = open_remote(folder, "fake", lanes=1, command=COMMAND, answer_s=30)
    features, pid = mouth.encode(faces(1)), mouth.pid
    folder.rmdir()
    with pytest.raises(MouthLost):
        mouth.decode(fault(CRASH), features)
    until(lambda: caplog.text.count("There is no mouth in") >= 2)
    with pytest.raises(MouthLost):
        mouth.decode(mels(1), features)
    folder.mkdir()
    drawn_again(mouth, pid)
    mouth.decode(mels(1), features)


def test_the_process_ends_when_nobody_uses_its_mouth(tmp_path: Path) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0  # noqa: PTH112, PTH208

    threads, held = threading.active_count(), descriptors()
    mouth, _ = open_remote(tmp_path, "fake", lanes=2, command=COMMAND)
    part, pid = mouth.restricted(FACE), mouth.pid
    assert pid is not None
    del mouth
    gc.collect()
    part.encode(faces(1))
    del part
    gc.collect()
    until(lambda: gone(pid))
    until(lambda: (threading.active_count(), descriptors()) <= (threads, held))


def test_the_process_ends_when_its_server_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from streaming.mouth_process import open_remote\n"
        f"mouth, _ = open_remote(Path({str(tmp_path)!r}), 'fake', lanes=1, command={COMMAND!r})\n"
        "print(mouth.pid, flush=True); time.sleep(600)"
    )
    server = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    with server:
        assert server.stdout is not None
        pid = int(server.stdout.readline())
        server.kill()
    until(lambda: gone(pid))


def test_the_real_worker_draws_as_openvino_does_here(tmp_path: Path) -> None:
    folder = write_tiny_mouth(tmp_path / "mouth", SIZE)
    mouth, sentence = open_remote(folder, "openvino", lanes=1)
    local = OpenVinoMouth(folder)
    assert sentence.startswith("The mouth runs on openvino")
    features = mouth.encode(faces(2))
    np.testing.assert_array_equal(
        mouth.decode(mels(2), features), local.decode(mels(2), local.encode(faces(2)))
    )


@pytest.mark.slow
def test_what_a_process_of_its_own_costs() -> None:
    """Prints (-s) ms and core-ms of one mouth, in this process and in its own, by turns in one run."""
    folder = shipped_mouth("lite192")
    whole, _ = open_remote(folder, "openvino", lanes=1)
    part = Region(48, 84, 144, 180)
    apart, here = whole.restricted(part), OpenVinoMouth(folder).restricted(part)
    idle = np.random.default_rng(0).integers(0, 256, (1, 192, 192, 3), dtype=np.uint8)
    features, sound = apart.encode(idle), mels(1)
    np.testing.assert_array_equal(apart.decode(sound, features), here.decode(sound, features))
    pid = whole.pid
    assert pid is not None
    spent = {"here": [0.0, 0.0], "apart": [0.0, 0.0]}
    rounds, some = 20, 20
    for _ in range(rounds):
        for name, mouth in (("here", here), ("apart", apart)):
            began, cpu = time.perf_counter(), time.process_time() + thread_s(pid)
            for _ in range(some):
                mouth.decode(sound, features)
            spent[name][0] += time.perf_counter() - began
            spent[name][1] += time.process_time() + thread_s(pid) - cpu
    each = {name: [1000 * value / (rounds * some) for value in values] for name, values in spent.items()}
    for name, (wall, cpu) in each.items():
        print(f"{name}: {wall:.2f} ms, {cpu:.2f} core-ms a mouth")
    assert each["apart"][1] < 2 * each["here"][1]
