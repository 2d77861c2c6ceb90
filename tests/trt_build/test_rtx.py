"""Our build with a real builder and parser of TensorRT's family (TensorRT for RTX), which need no GPU.

What is built cannot be run or inspected here, and a timing cache stays empty: both need a GPU.
"""

from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import helper

from engine.anchor.package import avatar_roots
from engine.mouth.sheet import FACE_ENCODER, MOUTH_DECODER
from tests.tiny_mouth import write_tiny_mouth
from tests.trt_build.bindings import VERSIONS, Bindings, open_bindings

_BUILD = """
import json, sys
from dataclasses import asdict
from pathlib import Path
import tensorrt_bindings as trt
from engine.errors import KouboError
from engine.mouth.engines import EngineStore, engine_key
from engine.mouth.gpu import Gpu
from trt_build.build import build

mouth, store = Path(sys.argv[1]), EngineStore(Path(sys.argv[2]))
gpu = Gpu(0, "NVIDIA RTX 4090", "8.9", "580.65.06", 24 << 30)
shares = {}
def tell(what, share, figures):
    shares.setdefault(what, []).append(share)
try:
    options = json.loads(sys.argv[3])
    built = build(mouth, gpu, store=store, trt=trt, progress=tell, **options)
except KouboError as error:
    print(json.dumps({"error": type(error).__name__, "sentence": str(error)}))
    raise SystemExit
plans = [store.load(engine_key(mouth, part.part, gpu, trt.__version__)) for part in built]
print(json.dumps({
    "parts": [asdict(part) for part in built], "shares": shares, "sizes": [len(plan) for plan in plans],
    "version": trt.__version__, "files": sorted(path.name for path in store.folder.iterdir()),
}, default=str))
"""

_CANCEL = """
import json, sys
from pathlib import Path
import tensorrt_bindings as trt
from engine.mouth.engines import EngineStore
from engine.mouth.gpu import Gpu
from trt_build.build import build

def tell(what, share, figures):
    raise KeyboardInterrupt

mouth, store = Path(sys.argv[1]), EngineStore(Path(sys.argv[2]))
gpu = Gpu(0, "NVIDIA RTX 4090", "8.9", "580.65.06", 24 << 30)
try:
    build(mouth, gpu, store=store, trt=trt, progress=tell)
except KeyboardInterrupt:
    print(json.dumps({"files": [path.name for path in store.folder.glob("*")]}))
"""

_PARSE = """
import json, sys
from pathlib import Path
import tensorrt_bindings as trt
from engine.errors import AvatarError
from trt_build.build import parse

try:
    parse(Path(sys.argv[1]), trt)
except AvatarError as error:
    print(json.dumps({"sentence": str(error)}))
"""

_TIMINGS = """
import json
import tensorrt_bindings as trt
from engine.mouth.tensorrt import logger_for

config = trt.Builder(logger_for(trt)).create_builder_config()
taken = config.set_timing_cache(config.create_timing_cache(b""), False)
content = bytes(memoryview(config.get_timing_cache().serialize()))
again = config.create_timing_cache(content)
damaged = config.create_timing_cache(content[:-8] + b"damaged!")
print(json.dumps({"taken": taken, "size": len(content), "again": again is not None}))
"""


@pytest.fixture(scope="module")
def rtx(tmp_path_factory: pytest.TempPathFactory) -> Bindings:
    return open_bindings("11", tmp_path_factory.mktemp("stub"), rtx=True)


def build(rtx: Bindings, mouth: Path, store: Path, options: str = "{}") -> Any:
    return rtx.run(_BUILD, mouth, store, options)[0]


def test_the_tiny_mouth_becomes_real_engines(rtx: Bindings, tmp_path: Path) -> None:
    mouth = write_tiny_mouth(tmp_path / "tiny", 48)
    told = build(rtx, mouth, tmp_path / "engines")
    assert told["version"].startswith("11.")
    assert [part["part"] for part in told["parts"]] == ["face_encoder", "mouth_decoder"]
    assert told["sizes"] == [part["bytes"] for part in told["parts"]]
    assert min(told["sizes"]) > 10_000
    endings = sorted(name.rsplit(".", 1)[1] for name in told["files"])
    assert endings == ["cache", "engine", "engine"]
    for part in told["parts"]:
        # A report needs the engine loaded, and that needs a GPU.
        assert part["report"] is None
        assert "could not load the engine to report on it" in part["notes"][-1]
        assert "CUDA" in part["notes"][-1]

    kept = build(rtx, mouth, tmp_path / "engines")
    assert [part["why"] for part in kept["parts"]] == [None, None]
    assert kept["shares"] == {}


def test_the_progress_of_a_real_builder(rtx: Bindings, tmp_path: Path) -> None:
    mouth = write_tiny_mouth(tmp_path / "tiny", 48)
    for shares in build(rtx, mouth, tmp_path / "engines")["shares"].values():
        assert shares == sorted(shares)
        assert shares[-1] == 1


def test_a_level_is_taken(rtx: Bindings, tmp_path: Path) -> None:
    mouth = write_tiny_mouth(tmp_path / "tiny", 48)
    told = build(rtx, mouth, tmp_path / "engines", '{"level": 0}')
    assert all(part["why"] for part in told["parts"])


def test_a_build_is_given_up(rtx: Bindings, tmp_path: Path) -> None:
    mouth = write_tiny_mouth(tmp_path / "tiny", 48)
    told, _ = rtx.run(_CANCEL, mouth, tmp_path / "engines")
    assert told == {"files": []}


def test_a_timing_cache_goes_out_and_in(rtx: Bindings) -> None:
    told, errors = rtx.run(_TIMINGS)
    assert told["taken"]
    assert told["again"]
    assert told["size"] > 32
    # Why the build verifies what it kept: a damaged one is only mentioned.
    assert "Failed to deserialize timing cache" in errors


def test_a_transpose_of_bytes_is_refused(rtx: Bindings, tmp_path: Path) -> None:
    mouth = write_tiny_mouth(tmp_path / "tiny", 48)
    model = onnx.load(mouth / FACE_ENCODER)
    for node in model.graph.node:
        node.input[:] = ["turned" if name == "face" else name for name in node.input]
    turn = helper.make_node("Transpose", ["face"], ["turned"], name="turn", perm=[0, 2, 1, 3])
    model.graph.node.insert(0, turn)
    onnx.save(model, mouth / FACE_ENCODER)
    ours = build(rtx, mouth, tmp_path / "engines")
    assert ours["error"] == "AvatarError"
    assert "Transpose 'turn': UINT8 is not supported here" in ours["sentence"]

    theirs, _ = rtx.run(_PARSE, mouth)
    assert theirs["sentence"].startswith(f"TensorRT {VERSIONS['11']} cannot read {mouth / FACE_ENCODER} (")
    assert 'Transpose "turn": Invalid Node - turn' in theirs["sentence"]
    assert "first input has type UInt8 but must have type" in theirs["sentence"]
    assert theirs["sentence"].endswith("); export the mouth again.")


def test_a_file_that_is_no_model(rtx: Bindings, tmp_path: Path) -> None:
    mouth = write_tiny_mouth(tmp_path / "tiny", 48)
    (mouth / MOUTH_DECODER).write_bytes(b"not a model at all")
    told, _ = rtx.run(_PARSE, mouth)
    assert "Failed to parse the ONNX model" in told["sentence"]


def test_the_shipped_mouths(rtx: Bindings, tmp_path: Path) -> None:
    sheets = sorted((avatar_roots()[0] / "mouths").glob("*/model.json"))
    assert sheets
    for sheet in sheets:
        _becomes_engines(rtx, sheet.parent, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["live384", "seed384"])
def test_presets_of_random_weights(rtx: Bindings, tmp_path: Path, preset: str) -> None:
    pytest.importorskip("torch")
    from trt_build.export import export_untrained

    export_untrained(preset, tmp_path / preset)
    _becomes_engines(rtx, tmp_path / preset, tmp_path)


def _becomes_engines(rtx: Bindings, mouth: Path, folder: Path) -> None:
    told = build(rtx, mouth, folder / "engines")
    for part, size in zip(told["parts"], told["sizes"], strict=True):
        # The weights are in it, and in the type that they had.
        weights = (mouth / f"{part['part']}.onnx").stat().st_size
        assert size > 0.9 * weights
    for shares in told["shares"].values():
        assert shares == sorted(shares)
        assert any(0 < share < 1 for share in shares)
