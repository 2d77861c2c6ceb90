"""The OpenVINO runtime on a tiny mouth that keeps the ONNX contract."""

import os
import threading
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from engine.anchor.crop import Picture
from engine.errors import AvatarError
from engine.mouth.openvino_runtime import OpenVinoMouth, has_bf16
from engine.mouth.region import Region
from engine.speech.mel import Mel
from tests.conv_mouth import write_conv_mouth
from tests.tiny_mouth import write_tiny_mouth

SIZE = 48
LOUD: Mel = np.full((1, 80, 16), 0.0, np.float32)
SILENT: Mel = np.full((1, 80, 16), -4.0, np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_mouth(tmp_path_factory.mktemp("mouth"), SIZE)


@pytest.fixture(scope="module")
def mouth(folder: Path) -> OpenVinoMouth:
    return OpenVinoMouth(folder, threads=1, precision="f32")


def faces(count: int) -> Picture:
    return np.random.default_rng(1).integers(100, 250, (count, SIZE, SIZE, 3), dtype=np.uint8)


def test_says_what_it_is(mouth: OpenVinoMouth, folder: Path) -> None:
    assert (mouth.name, mouth.precision, mouth.size) == ("openvino", "f32", SIZE)
    assert OpenVinoMouth(folder, threads=1).precision == ("bf16" if has_bf16() else "f32")


def test_features_are_half_precision_maps_largest_first(mouth: OpenVinoMouth) -> None:
    features = mouth.encode(faces(3))
    assert len(features) == 3
    assert [(m.dtype.name, m.shape) for m in features[0]] == [
        ("float16", (SIZE, SIZE, 3)),
        ("float16", (1, 1, 3)),
    ]


def test_silence_leaves_the_face_and_sound_opens_it(mouth: OpenVinoMouth) -> None:
    idle = faces(1)
    features = mouth.encode(idle)
    silent, loud = mouth.decode(SILENT, features)[0], mouth.decode(LOUD, features)[0]
    assert np.abs(silent.astype(int) - idle[0]).max() <= 1
    middle = slice(20, 24), slice(22, 26)
    assert loud[middle].max() == 0
    np.testing.assert_array_equal(loud[:10], silent[:10])


def test_a_batch_gives_what_each_gives_alone(mouth: OpenVinoMouth) -> None:
    features = mouth.encode(faces(3))
    mels = np.random.default_rng(2).uniform(-4, 2, (3, 80, 16)).astype(np.float32)
    together = mouth.decode(mels, features)
    assert together.dtype == np.uint8
    for number in range(3):
        alone = mouth.decode(mels[number : number + 1], features[number : number + 1])
        np.testing.assert_array_equal(alone[0], together[number])


def test_bf16_is_close(folder: Path, mouth: OpenVinoMouth) -> None:
    if not has_bf16():
        pytest.skip("this processor has no bfloat16")
    fast = OpenVinoMouth(folder, threads=1, precision="bf16")
    features = mouth.encode(faces(1))
    mel = np.full((1, 80, 16), -2.5, np.float32)
    assert np.abs(fast.decode(mel, features).astype(int) - mouth.decode(mel, features)).max() <= 3


def test_threads_do_not_mix_their_pictures(mouth: OpenVinoMouth) -> None:
    idle = faces(4)
    features = mouth.encode(idle)
    wrong: list[int] = []

    def draw(number: int) -> None:
        for _ in range(20):
            picture = mouth.decode(SILENT, features[number : number + 1])[0]
            if np.abs(picture.astype(int) - idle[number]).max() > 1:
                wrong.append(number)

    threads = [threading.Thread(target=draw, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_compiled_networks_are_kept(folder: Path, tmp_path: Path) -> None:
    OpenVinoMouth(folder, threads=1, cache=tmp_path)
    assert list(tmp_path.glob("*.blob"))


def test_unequal_lengths_are_refused(mouth: OpenVinoMouth) -> None:
    with pytest.raises(ValueError, match="1 mel windows for 2 faces"):
        mouth.decode(LOUD, mouth.encode(faces(2)))


@pytest.mark.parametrize("name", ["face_encoder.onnx", "mouth_decoder.onnx"])
@pytest.mark.parametrize("content", [b"", b"no network", None])
def test_a_damaged_network_is_told_in_one_sentence(tmp_path: Path, name: str, content: bytes | None) -> None:
    write_tiny_mouth(tmp_path, SIZE)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(AvatarError, match="damaged") as caught:
        OpenVinoMouth(tmp_path)
    assert "\n" not in str(caught.value)


def test_halves_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    write_tiny_mouth(tmp_path / "small", SIZE)
    write_tiny_mouth(tmp_path / "large", 2 * SIZE)
    (tmp_path / "large" / "mouth_decoder.onnx").replace(tmp_path / "small" / "mouth_decoder.onnx")
    with pytest.raises(AvatarError, match="damaged"):
        OpenVinoMouth(tmp_path / "small")


def test_other_names_than_the_contract_are_refused(tmp_path: Path) -> None:
    write_tiny_mouth(tmp_path, SIZE)
    model = onnx.load(str(tmp_path / "mouth_decoder.onnx"))
    model.graph.input[0].name = model.graph.node[0].input[0] = "sound"
    onnx.save(model, str(tmp_path / "mouth_decoder.onnx"))
    with pytest.raises(AvatarError, match="damaged"):
        OpenVinoMouth(tmp_path)


REGION = Region(20, 40, 92, 84)
WIDE = 128


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> OpenVinoMouth:
    folder = write_conv_mouth(tmp_path_factory.mktemp("wide"), WIDE)
    return OpenVinoMouth(folder, threads=2, precision="f32")


def wide_faces(count: int) -> Picture:
    return np.random.default_rng(5).integers(0, 256, (count, WIDE, WIDE, 3), dtype=np.uint8)


def some_mels(count: int) -> Mel:
    return np.random.default_rng(6).uniform(-4, 2, (count, 80, 16)).astype(np.float32)


def test_a_restricted_mouth_draws_its_region_as_the_whole_one_does(wide: OpenVinoMouth) -> None:
    part = wide.restricted(REGION)
    assert part.region == REGION
    idle, mels = wide_faces(3), some_mels(3)
    whole, drawn = (mouth.decode(mels, mouth.encode(idle)) for mouth in (wide, part))
    assert drawn.shape == whole.shape
    inside = drawn[:, REGION.rows, REGION.columns].astype(int)
    apart = np.abs(inside - whole[:, REGION.rows, REGION.columns])
    assert apart.max() <= 1
    assert np.count_nonzero(apart) <= 0.001 * apart.size
    drawn[:, REGION.rows, REGION.columns] = 0
    assert not drawn.any()


def test_features_shrink_with_the_region(wide: OpenVinoMouth) -> None:
    part = wide.restricted(REGION)
    (whole,), (cut,) = wide.encode(wide_faces(1)), part.encode(wide_faces(1))
    assert [map_.shape for map_ in cut] == [(48, 76, 3), (48, 76, 4), (27, 41, 6), (32, 32, 8)]
    assert all(map_.flags.c_contiguous and map_.flags.owndata for map_ in cut)
    assert sum(map_.nbytes for map_ in cut) < 0.5 * sum(map_.nbytes for map_ in whole)
    np.testing.assert_array_equal(cut[0], whole[0][38:86, 18:94])


def test_features_are_named_by_what_they_depend_on(wide: OpenVinoMouth, mouth: OpenVinoMouth) -> None:
    part = wide.restricted(REGION)
    assert part.maps_key == "hwc-f16-f32-20-40-92-84"
    assert wide.maps_key == "hwc-f16-f32-0-0-128-128"
    assert mouth.maps_key != wide.maps_key


def test_regions_are_rounded_so_that_avatars_share_a_mouth(wide: OpenVinoMouth) -> None:
    part = wide.restricted(REGION)
    assert wide.restricted(Region(21, 43, 90, 81)) is part
    assert part.restricted(REGION) is part
    assert wide.restricted(Region(1, 1, 127, 127)) is wide
    assert part.restricted(Region.whole(WIDE)) is wide


def test_a_graph_that_is_not_understood_is_drawn_whole(tmp_path: Path) -> None:
    odd = OpenVinoMouth(write_conv_mouth(tmp_path, WIDE, odd="ReduceMean"), threads=1, precision="f32")
    assert odd.restricted(REGION) is odd
    assert odd.region == Region.whole(WIDE)
    assert odd.decode(some_mels(1), odd.encode(wide_faces(1))).all(axis=-1).any()


def test_read_only_features_are_drawn_the_same(wide: OpenVinoMouth) -> None:
    mels, features = some_mels(1), wide.encode(wide_faces(1))
    before = wide.decode(mels, features)
    for map_ in features[0]:
        map_.flags.writeable = False
    np.testing.assert_array_equal(wide.decode(mels, features), before)


def test_more_callers_than_networks_wait_for_each_other(wide: OpenVinoMouth) -> None:
    part = wide.restricted(REGION)
    features, mels = part.encode(wide_faces(6)), some_mels(6)
    expected = part.decode(mels, features)
    wrong: list[int] = []

    def draw(number: int) -> None:
        for _ in range(10):
            picture = part.decode(mels[number : number + 1], features[number : number + 1])
            if not np.array_equal(picture[0], expected[number]):
                wrong.append(number)

    threads = [threading.Thread(target=draw, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_call_works_in_its_own_thread(wide: OpenVinoMouth) -> None:
    features, mels = wide.encode(wide_faces(8)), some_mels(8)
    wide.decode(mels, features)
    own, everybody = time.thread_time(), time.process_time()
    for _ in range(5):
        wide.decode(mels, features)
    own, everybody = time.thread_time() - own, time.process_time() - everybody
    assert own > 0.7 * everybody


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs Linux, to see where a thread may run")
def test_a_call_may_run_on_any_core(wide: OpenVinoMouth) -> None:
    features = wide.encode(wide_faces(1))
    stop, began, caller = threading.Event(), threading.Event(), 0

    def draw() -> None:
        nonlocal caller
        caller = threading.get_native_id()
        while not stop.is_set():
            wide.decode(LOUD, features)
            began.set()

    thread = threading.Thread(target=draw)
    thread.start()
    began.wait(20)
    # Networks that tie their callers to a core tie all of them to the first one.
    seen = {frozenset(os.sched_getaffinity(caller)) for _ in range(300) if not stop.wait(0.0005)}
    stop.set()
    thread.join()
    assert seen == {frozenset(os.sched_getaffinity(0))}
