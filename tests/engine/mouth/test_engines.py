"""Engines on disk: kept whole, verified, and refused with the reason."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import AvatarError, KouboError
from engine.mouth.engines import (
    KEPT,
    EngineKey,
    EngineStore,
    EngineUnusable,
    engine_key,
    profile_text,
    report_path,
    write_whole,
)
from engine.mouth.gpu import Gpu
from engine.mouth.sheet import FACE_ENCODER, file_hash

KEY = EngineKey("mouth_decoder", "ab" * 32, "NVIDIA H200", "9.0", "580.65.06", "11.4.0.106", profile_text())
GPU = Gpu(0, "NVIDIA H200", "9.0", "580.65.06", 141 << 30)
PLAN = bytes(range(256)) * 40


@pytest.fixture
def store(tmp_path: Path) -> EngineStore:
    return EngineStore(tmp_path / "engines")


def refusal(store: EngineStore, key: EngineKey) -> str:
    with pytest.raises(EngineUnusable) as caught:
        store.load(key)
    return str(caught.value)


def test_what_is_saved_is_loaded(store: EngineStore) -> None:
    path = store.save(KEY, PLAN)
    assert path == store.path(KEY)
    assert store.load(KEY) == PLAN
    assert [file.name for file in store.folder.iterdir()] == [path.name]


def test_saving_again_replaces(store: EngineStore) -> None:
    store.save(KEY, PLAN)
    store.save(KEY, b"new")
    assert store.load(KEY) == b"new"


def test_the_folder_is_koubos_cache_unless_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOUBO_CACHE", str(tmp_path))
    assert EngineStore().path(KEY).parent == tmp_path / "engines"


def test_none_yet(store: EngineStore) -> None:
    assert refusal(store, KEY) == (
        f"There is no engine of the mouth decoder in {store.folder} yet; "
        "build one for this machine with `koubo build`."
    )


def test_an_engine_of_the_other_part_is_no_engine_of_this_one(store: EngineStore) -> None:
    store.save(replace(KEY, part="face_encoder"), PLAN)
    assert "no engine of the mouth decoder" in refusal(store, KEY)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"gpu": "NVIDIA A10", "capability": "8.6"},
            "The engine was built for NVIDIA A10, this is NVIDIA H200",
        ),
        ({"capability": "8.6"}, "built for compute capability 8.6, this is compute capability 9.0"),
        ({"driver": "570.1"}, "The engine was built with driver 570.1, this is driver 580.65.06"),
        (
            {"tensorrt": "10.16.1.11"},
            "The engine was built with TensorRT 10.16.1.11, this is TensorRT 11.4.0.106",
        ),
        (
            {"gpu": "NVIDIA A10", "capability": "8.6", "tensorrt": "10.16.1.11"},
            "built for NVIDIA A10 with TensorRT 10.16.1.11, this is NVIDIA H200 with TensorRT 11.4.0.106",
        ),
        (
            {"driver": "570.1", "tensorrt": "10.16.1.11"},
            "with driver 570.1 with TensorRT 10.16.1.11, this is driver 580.65.06 with TensorRT 11.4.0.106",
        ),
        ({"profile": "1-8-16"}, f"built for batches of 1-8-16, this Koubo wants {profile_text()}"),
        ({"model": "cd" * 32}, "for other mouths, or for this one before its model changed"),
    ],
)
def test_an_engine_for_something_else(store: EngineStore, changes: dict[str, str], sentence: str) -> None:
    store.save(replace(KEY, **changes), PLAN)
    text = refusal(store, KEY)
    assert sentence in text
    assert text.endswith("build one for this machine with `koubo build`.")


def test_the_nearest_of_several_says_why(store: EngineStore) -> None:
    store.save(replace(KEY, gpu="NVIDIA A10", capability="8.6", tensorrt="10.16.1.11"), PLAN)
    store.save(replace(KEY, driver="570.1"), PLAN)
    store.save(replace(KEY, model="cd" * 32), PLAN)
    assert "built with driver 570.1" in refusal(store, KEY)


def test_a_file_under_the_name_of_another_key(store: EngineStore) -> None:
    other = replace(KEY, tensorrt="10.16.1.11")
    store.save(other, PLAN).replace(store.path(KEY))
    assert "with TensorRT 10.16.1.11" in refusal(store, KEY)
    foreign = replace(KEY, model="cd" * 32)
    store.save(foreign, PLAN).replace(store.path(KEY))
    assert "another model than this mouth decoder" in refusal(store, KEY)


def test_a_cut_file(store: EngineStore) -> None:
    path = store.save(KEY, PLAN)
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    assert f"cut short: {len(PLAN) - 100} of {len(PLAN)} bytes" in refusal(store, KEY)


@pytest.mark.parametrize("place", [-1, -5000])
def test_a_flipped_bit(store: EngineStore, place: int) -> None:
    path = store.save(KEY, PLAN)
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    assert "damaged: its bytes have changed" in refusal(store, KEY)


def test_bytes_after_the_end(store: EngineStore) -> None:
    path = store.save(KEY, PLAN)
    path.write_bytes(path.read_bytes() + b"more")
    assert "damaged" in refusal(store, KEY)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not an engine",
        b"KOUBO ENGINE 1\n",
        b"KOUBO ENGINE 1\n{}\nplan",
        b"KOUBO ENGINE 1\n[]\nplan",
        b'KOUBO ENGINE 1\n{"key": 3, "size": 1, "sha256": ""}\nplan',
        b"KOUBO ENGINE 1\n\xff\xfe\n",
        b"KOUBO ENGINE 2\n{}\n",
    ],
)
def test_a_damaged_header(store: EngineStore, content: bytes) -> None:
    path = store.save(KEY, PLAN)
    path.write_bytes(content)
    assert f"The engine {path} is damaged" in refusal(store, KEY)
    # It is no hindrance for others either.
    assert "no engine of the mouth decoder" in refusal(store, replace(KEY, driver="1"))


def test_a_folder_in_its_place_is_not_read(store: EngineStore) -> None:
    store.path(KEY).mkdir(parents=True)
    assert "cannot be read" in refusal(store, KEY)
    assert "no engine" in refusal(store, replace(KEY, driver="1"))


def test_only_the_newest_stay(store: EngineStore) -> None:
    keys = [replace(KEY, driver=f"{number}.0") for number in range(KEPT + 3)]
    for age, key in enumerate(keys):
        path = store.save(key, PLAN)
        report_path(path).write_text("{}")
        os.utime(path, (1000 + age, 1000 + age))
    last = store.save(KEY, PLAN)
    left = set(store.folder.glob("*.engine"))
    assert left == {last, *(store.path(key) for key in keys[-(KEPT - 1) :])}
    assert {report_path(path) for path in left - {last}} == set(store.folder.glob("*.json"))


def test_engines_of_another_gpu_or_part_do_not_push_out(store: EngineStore) -> None:
    other_gpu = store.save(replace(KEY, gpu="NVIDIA A10"), PLAN)
    other_part = store.save(replace(KEY, part="face_encoder"), PLAN)
    for number in range(KEPT + 1):
        store.save(replace(KEY, driver=f"{number}.0"), PLAN)
    assert other_gpu.exists()
    assert other_part.exists()


def test_a_failed_save_leaves_the_old_engine_whole(
    store: EngineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save(KEY, PLAN)

    def full(part: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(KouboError, match=r"cannot be written \(No space left on device\)"):
        store.save(KEY, b"new")
    monkeypatch.undo()
    assert store.load(KEY) == PLAN
    assert [file.name for file in store.folder.iterdir()] == [store.path(KEY).name]


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "engines").write_text("")
    with pytest.raises(KouboError, match="cannot be written"):
        write_whole(tmp_path / "engines" / "a.engine", b"")


def test_a_key_names_the_model_and_the_machine(tmp_path: Path) -> None:
    (tmp_path / FACE_ENCODER).write_bytes(b"model")
    key = engine_key(tmp_path, "face_encoder", GPU, "11.4.0.106")
    assert key == replace(KEY, part="face_encoder", model=file_hash(tmp_path / FACE_ENCODER))
    (tmp_path / FACE_ENCODER).write_bytes(b"trained on")
    assert engine_key(tmp_path, "face_encoder", GPU, "11.4.0.106").model != key.model


def test_a_key_needs_its_model(tmp_path: Path) -> None:
    with pytest.raises(AvatarError, match=r"lacks face_encoder\.onnx; export it again"):
        engine_key(tmp_path, "face_encoder", GPU, "11.4.0.106")


def test_every_field_of_the_key_matters(store: EngineStore) -> None:
    paths = {store.path(replace(KEY, **{name: "x"})) for name in EngineKey.__dataclass_fields__}
    assert len(paths | {store.path(KEY)}) == len(EngineKey.__dataclass_fields__) + 1
