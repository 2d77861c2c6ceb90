"""Engines built by the fake builder: kept, rebuilt, refused; progress, timing cache, report, Ctrl-C."""

import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest

from engine.errors import AvatarError, KouboError, MissingToolError
from engine.mouth.batches import PROFILES
from engine.mouth.engines import EngineStore, engine_key, report_path
from engine.mouth.gpu import Gpu, find_gpu
from engine.mouth.sheet import FACE_ENCODER, MOUTH_DECODER
from engine.mouth.tensorrt import logger_for
from engine.mouth.tensors import DECODER, ENCODER
from tests.fake_builder import FakeBuilding
from tests.fake_cuda import A10, FakeCuda
from tests.fake_gpu import FakeDevice
from tests.tiny_mouth import write_tiny_mouth
from trt_build.build import Built, parse, tensorrt_to_build
from trt_build.build import build as real_build

VERSIONS = ("10.16.1.11", "11.4.0.106")
H200 = replace(A10, name="NVIDIA H200", capability="9.0", memory=141 << 30)


@pytest.fixture
def mouth(tmp_path: Path) -> Path:
    return write_tiny_mouth(tmp_path / "tiny", 32)


@pytest.fixture
def store(tmp_path: Path) -> EngineStore:
    return EngineStore(tmp_path / "engines")


def build(mouth: Path, gpu: Gpu, *, trt: FakeBuilding, **options: Any) -> list[Built]:
    return real_build(mouth, gpu, trt=trt, device=FakeDevice(trt.cuda, gpu), **options)


def files(store: EngineStore, ending: str = "*") -> list[str]:
    return sorted(path.name for path in store.folder.glob(ending))


@pytest.mark.parametrize("version", VERSIONS)
def test_both_parts_are_built_with_every_profile(mouth: Path, store: EngineStore, version: str) -> None:
    trt = FakeBuilding(version)
    built = build(mouth, A10, store=store, trt=trt)
    assert [part.part for part in built] == [ENCODER, DECODER]
    for part in built:
        assert part.why is not None
        assert "no engine of the" in part.why
        plan = store.load(engine_key(mouth, part.part, A10, version))
        assert part.engine.stat().st_size > len(plan) == part.bytes
        header = json.loads(plan.split(b"\n", 1)[0])
        assert header["part"] == part.part
        for shapes in header["profiles"].values():
            assert [tuple(shape[0] for shape in three) for three in shapes] == list(PROFILES)
    assert header["profiles"]["mel"][1] == [[4, 80, 16], [8, 80, 16], [16, 80, 16]]
    assert header["profiles"]["skip0"][2] == [[32, 3, 32, 32], [64, 3, 32, 32], [64, 3, 32, 32]]


def test_the_builder_is_configured(mouth: Path, store: EngineStore) -> None:
    trt = FakeBuilding()
    build(mouth, A10, store=store, trt=trt, level=5)
    assert len(trt.built) == 2
    for config in trt.built:
        assert config.builder_optimization_level == 5
        assert config.profiling_verbosity == trt.ProfilingVerbosity.DETAILED
        assert config.limits == {trt.MemoryPoolType.WORKSPACE: 4 << 30}
        assert len(config.profiles) == len(PROFILES)


def test_the_card_that_was_asked_for_is_used(mouth: Path, store: EngineStore) -> None:
    trt = FakeBuilding()
    trt.cuda = FakeCuda("NVIDIA T4", A10.name)
    used = []
    trt.during = lambda: used.append(trt.cuda.current)
    build(mouth, A10, store=store, trt=trt)
    assert set(used) == {1}


def test_cuda_has_to_see_the_card(mouth: Path, store: EngineStore) -> None:
    with pytest.raises(MissingToolError, match="CUDA sees NVIDIA A10 but not the NVIDIA H200"):
        build(mouth, H200, store=store, trt=FakeBuilding())


def test_a_small_card_keeps_three_quarters_for_others(mouth: Path, store: EngineStore) -> None:
    trt = FakeBuilding()
    build(mouth, replace(A10, memory=4 << 30), store=store, trt=trt)
    assert trt.built[0].limits == {trt.MemoryPoolType.WORKSPACE: 1 << 30}
    assert trt.built[0].builder_optimization_level == 3


def test_good_engines_are_kept(mouth: Path, store: EngineStore) -> None:
    trt = FakeBuilding()
    first = build(mouth, A10, store=store, trt=trt)
    again = build(mouth, A10, store=store, trt=trt)
    assert len(trt.built) == 2
    for old, new in zip(first, again, strict=True):
        assert new.why is None
        assert new.notes == ()
        assert (new.engine, new.bytes, new.report) == (old.engine, old.bytes, old.report)


@pytest.mark.parametrize("options", [{"force": True}, {"level": 1}])
def test_a_new_one_can_be_asked_for(mouth: Path, store: EngineStore, options: dict[str, int]) -> None:
    trt = FakeBuilding()
    build(mouth, A10, store=store, trt=trt)
    built = build(mouth, A10, store=store, trt=trt, **options)
    assert [part.why for part in built] == ["A new one was asked for."] * 2
    assert len(trt.built) == 4


def test_another_gpu_gets_its_own(mouth: Path, store: EngineStore) -> None:
    build(mouth, A10, store=store, trt=FakeBuilding())
    built = build(mouth, H200, store=store, trt=FakeBuilding(gpu=H200.name))
    assert built[0].why is not None
    assert "was built for NVIDIA A10, this is NVIDIA H200" in built[0].why
    assert all(part.why is None for part in build(mouth, A10, store=store, trt=FakeBuilding()))


def test_another_tensorrt_and_driver_get_their_own(mouth: Path, store: EngineStore) -> None:
    build(mouth, A10, store=store, trt=FakeBuilding("10.16.1.11"))
    built = build(mouth, A10, store=store, trt=FakeBuilding("11.4.0.106"))
    assert built[1].why is not None
    assert "with TensorRT 10.16.1.11, this is TensorRT 11.4.0.106" in built[1].why
    newer = replace(A10, driver="590.1")
    built = build(mouth, newer, store=store, trt=FakeBuilding("11.4.0.106"))
    assert built[1].why is not None
    assert "with driver 580.65.06, this is driver 590.1" in built[1].why


def test_only_the_part_that_changed_is_built(mouth: Path, store: EngineStore) -> None:
    trt = FakeBuilding()
    build(mouth, A10, store=store, trt=trt)
    model = onnx.load(mouth / MOUTH_DECODER)
    model.producer_name = "trained on"
    onnx.save(model, mouth / MOUTH_DECODER)
    encoder, decoder = build(mouth, A10, store=store, trt=trt)
    assert encoder.why is None
    assert decoder.why is not None
    assert "before its model changed" in decoder.why


@pytest.mark.parametrize("length", [0, 10, -1])
def test_a_damaged_engine_is_replaced(mouth: Path, store: EngineStore, length: int) -> None:
    trt = FakeBuilding()
    path = build(mouth, A10, store=store, trt=trt)[1].engine
    path.write_bytes(path.read_bytes()[:length])
    encoder, decoder = build(mouth, A10, store=store, trt=trt)
    assert encoder.why is None
    assert decoder.why is not None
    assert "damaged" in decoder.why or "cut short" in decoder.why
    assert build(mouth, A10, store=store, trt=trt)[1].why is None


def test_the_share_only_rises_to_one(mouth: Path, store: EngineStore) -> None:
    trt = FakeBuilding()
    told: dict[str, list[float]] = {}
    heard = threading.Event()

    def tell(what: str, share: float, figures: dict[str, float]) -> None:
        assert figures == {}
        told.setdefault(what, []).append(share)
        heard.set()

    def wait() -> None:
        # The builder does a step for each time that it is asked how far it is.
        heard.clear()
        heard.wait(2)

    trt.during = wait
    build(mouth, A10, store=store, trt=trt, progress=tell)
    assert list(told) == ["face encoder", "mouth decoder"]
    for shares in told.values():
        assert shares == sorted(shares)
        assert shares[-1] == 1
        assert sum(0 < share < 1 for share in shares) > 5


def test_trouble_in_telling_stops_the_build(mouth: Path, store: EngineStore) -> None:
    trt = FakeBuilding()
    raised = threading.Event()

    def tell(what: str, share: float, figures: dict[str, float]) -> None:
        raised.set()
        raise ZeroDivisionError

    trt.during = lambda: bool(raised.wait(5))  # type: ignore[assignment]
    with pytest.raises(ZeroDivisionError):
        build(mouth, A10, store=store, trt=trt, progress=tell)
    assert trt.stopped == 1
    assert files(store) == []


INTERRUPTED = """
import os, signal, sys, threading
from pathlib import Path
from engine.mouth.engines import EngineStore
from tests.fake_builder import FakeBuilding
from tests.fake_cuda import A10
from trt_build.build import build

signal.signal(signal.SIGINT, signal.default_int_handler)
mouth, store = Path(sys.argv[1]), EngineStore(Path(sys.argv[2]))
trt, begun, pressed = FakeBuilding(), threading.Event(), threading.Event()

def press():
    if not pressed.is_set():
        pressed.set()
        begun.wait(5)
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait(0.3)

trt.during = press
try:
    build(mouth, A10, store=store, trt=trt, progress=lambda *_: begun.set())
except KeyboardInterrupt:
    print("stopped", trt.stopped)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
def test_ctrl_c_stops_the_build_and_leaves_nothing(mouth: Path, store: EngineStore) -> None:
    # In a process of its own: the signals of this one belong to whoever started it.
    command = [sys.executable, "-c", INTERRUPTED, str(mouth), str(store.folder)]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "stopped 1\n"
    assert files(store) == []
    assert len(build(mouth, A10, store=store, trt=FakeBuilding())) == 2


def test_what_was_measured_is_kept_for_the_next_build(mouth: Path, store: EngineStore) -> None:
    trt = FakeBuilding()
    build(mouth, A10, store=store, trt=trt)
    (timings,) = store.folder.glob("timing-*.cache")
    assert timings.read_bytes().endswith(b"timings of NVIDIA A10\none more\none more\n")
    build(mouth, A10, store=store, trt=trt, force=True)
    assert timings.read_bytes().count(b"one more") == 4
    build(mouth, H200, store=store, trt=FakeBuilding(gpu=H200.name))
    build(mouth, A10, store=store, trt=FakeBuilding("11.4.0.106"))
    assert len(files(store, "*.cache")) == 3
    assert timings.read_bytes().count(b"one more") == 4


def test_a_damaged_timing_cache_starts_anew(mouth: Path, store: EngineStore) -> None:
    trt = FakeBuilding()
    build(mouth, A10, store=store, trt=trt)
    (timings,) = store.folder.glob("timing-*.cache")
    timings.write_bytes(timings.read_bytes()[:-3])
    encoder, decoder = build(mouth, A10, store=store, trt=trt, force=True)
    assert encoder.notes == (f"The timing cache {timings} was damaged; it starts anew.",)
    assert decoder.notes == ()
    assert timings.read_bytes().count(b"one more") == 2


def test_an_unreadable_timing_cache_is_no_hindrance(
    mouth: Path, store: EngineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    trt = FakeBuilding()
    read = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.suffix == ".cache":
            raise PermissionError(13, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    built = build(mouth, A10, store=store, trt=trt)
    assert "cannot be read (Permission denied); it starts anew" in built[0].notes[0]


def test_timings_that_tensorrt_does_not_want_start_anew(mouth: Path, store: EngineStore) -> None:
    trt = FakeBuilding()
    trt.gpu = "another stepping of the card"
    build(mouth, A10, store=store, trt=trt)
    built = build(mouth, A10, store=store, trt=FakeBuilding(), force=True)
    assert "is not of this GPU; it starts anew" in built[0].notes[0]
    assert built[1].notes == ()


def test_the_report_lies_beside_the_engine(mouth: Path, store: EngineStore) -> None:
    trt = FakeBuilding()
    built = build(mouth, A10, store=store, trt=trt)[1]
    report = built.report
    assert report is not None
    assert (report.layers, report.types) == (3, {"f16": 1, "f32": 1, "unknown": 1})
    engine = trt.Runtime(logger_for(trt)).deserialize_cuda_engine(
        store.load(engine_key(mouth, DECODER, A10, trt.__version__))
    )
    sizes = [engine.get_device_memory_size_for_profile_v2(number) for number in range(len(PROFILES))]
    assert sizes == sorted(set(sizes))
    assert (report.memory, report.profile_memory) == (engine.device_memory_size_v2, sizes)
    kept = json.loads(report_path(built.engine).read_text())
    assert kept["key"]["gpu"] == A10.name
    assert kept["inspector"]["Layers"][0]["LayerType"] == "CaskConvolution"


@pytest.mark.parametrize("report", ['{"Layers": [', '["no layers"]', "{}"])
def test_an_odd_report_is_kept_as_it_is(mouth: Path, store: EngineStore, report: str) -> None:
    trt = FakeBuilding()
    trt.report = report
    built = build(mouth, A10, store=store, trt=trt)[0]
    assert built.report is not None
    assert built.report.layers == 0
    assert build(mouth, A10, store=store, trt=trt)[0].report == built.report


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"layers": 1, "types": 3}'])
def test_a_damaged_report_is_no_report(mouth: Path, store: EngineStore, content: str) -> None:
    trt = FakeBuilding()
    report_path(build(mouth, A10, store=store, trt=trt)[0].engine).write_text(content)
    kept = build(mouth, A10, store=store, trt=trt)[0]
    assert kept.why is None
    assert kept.report is None


def test_an_engine_that_cannot_be_inspected_is_kept_and_said(mouth: Path, store: EngineStore) -> None:
    trt = FakeBuilding()
    trt.refuses = "out of memory"
    built = build(mouth, A10, store=store, trt=trt)[0]
    assert built.report is None
    assert built.notes == ("TensorRT could not load the engine to report on it (out of memory).",)
    assert not report_path(built.engine).exists()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_node_that_the_parser_refuses(mouth: Path, store: EngineStore, version: str) -> None:
    trt = FakeBuilding(version)
    trt.refused_nodes = {"GlobalAveragePool", "Slice"}
    with pytest.raises(AvatarError) as caught:
        build(mouth, A10, store=store, trt=trt)
    text = str(caught.value)
    assert text.startswith(f"TensorRT {version} cannot read {mouth / FACE_ENCODER} (")
    assert 'GlobalAveragePool "": Invalid Node wrong type' in text
    assert text.endswith("); export the mouth again.")
    assert "\n" not in text
    assert files(store) == []
    with pytest.raises(AvatarError, match="cannot read"):
        parse(mouth, trt)


def test_a_build_that_fails(mouth: Path, store: EngineStore) -> None:
    trt = FakeBuilding()
    trt.fails = "Could not find any implementation\nfor node conv"
    with pytest.raises(KouboError, match=r"could not build .*face_encoder.onnx for NVIDIA A10 \(Could not"):
        build(mouth, A10, store=store, trt=trt)
    assert files(store, "*.engine") == []


def test_a_failure_keeps_the_part_that_was_built(mouth: Path, store: EngineStore) -> None:
    trt = FakeBuilding()
    trt.refused_nodes = {"Clip"}
    with pytest.raises(AvatarError):
        build(mouth, A10, store=store, trt=trt)
    trt.refused_nodes = set()
    encoder, decoder = build(mouth, A10, store=store, trt=trt)
    assert encoder.why is None
    assert decoder.why is not None


def test_no_builder_without_a_gpu(mouth: Path, store: EngineStore) -> None:
    trt = FakeBuilding()
    trt.has_gpu = False
    for use in (lambda: build(mouth, A10, store=store, trt=trt), lambda: parse(mouth, trt)):
        with pytest.raises(MissingToolError, match=r"does not start here \(CUDA initialization failure"):
            use()


def test_a_model_that_breaks_the_contract_is_refused_at_once(mouth: Path, store: EngineStore) -> None:
    model = onnx.load(mouth / FACE_ENCODER)
    model.graph.output[0].name = model.graph.node[-1].output[0] = "elsewhere"
    onnx.save(model, mouth / FACE_ENCODER)
    trt = FakeBuilding()
    with pytest.raises(AvatarError, match="export the mouth again"):
        build(mouth, A10, store=store, trt=trt)
    assert trt.built == []


def test_a_mouth_that_is_not_there(tmp_path: Path, store: EngineStore) -> None:
    with pytest.raises(AvatarError):
        build(tmp_path, A10, store=store, trt=FakeBuilding())


def test_parsing_alone_builds_nothing(mouth: Path) -> None:
    trt = FakeBuilding()
    parse(mouth, trt)
    assert trt.built == []


def _module(monkeypatch: pytest.MonkeyPatch, module: object) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", module)


def test_without_tensorrt(monkeypatch: pytest.MonkeyPatch, mouth: Path) -> None:
    _module(monkeypatch, None)
    with pytest.raises(MissingToolError, match="pip install"):
        real_build(mouth, A10)


def test_an_old_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    _module(monkeypatch, FakeBuilding("10.13.3.9"))
    with pytest.raises(MissingToolError, match=r"TensorRT 10\.13\.3\.9 is too old, Koubo needs 10\.16"):
        tensorrt_to_build()


@pytest.mark.parametrize("version", [*VERSIONS, "12.0.0.1", "10.16.0"])
def test_a_tensorrt_that_is_new_enough(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    trt = FakeBuilding(version)
    _module(monkeypatch, trt)
    assert tensorrt_to_build() is trt


def test_everything_goes_to_koubos_cache(
    mouth: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KOUBO_CACHE", str(tmp_path / "cache"))
    built = build(mouth, A10, trt=FakeBuilding())
    assert {part.engine.parent for part in built} == {tmp_path / "cache" / "engines"}


@pytest.mark.gpu
@pytest.mark.parametrize("level", [None, 0])
def test_a_real_gpu(mouth: Path, store: EngineStore, level: int | None) -> None:
    try:
        gpu, trt = find_gpu(), tensorrt_to_build()
    except MissingToolError as error:
        pytest.skip(str(error))
    told: list[float] = []
    built = real_build(mouth, gpu, store=store, level=level, progress=lambda _, share, __: told.append(share))
    assert told[-1] == 1
    for part in built:
        assert part.notes == ()
        assert part.report is not None
        assert part.report.layers > 0
        assert part.report.types.get("f16", 0) > 0
        assert len(part.report.profile_memory) == len(PROFILES)
        assert part.report.memory >= max(part.report.profile_memory)
        key = engine_key(mouth, part.part, gpu, trt.__version__)
        assert store.load(key) == part.engine.read_bytes()[-part.bytes :]
    # What was measured is taken up, and good engines are kept.
    again = real_build(mouth, gpu, store=store, force=True)
    assert [part.notes for part in again] == [(), ()]
    assert [part.why for part in real_build(mouth, gpu, store=store)] == [None, None]
