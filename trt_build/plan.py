"""What would be built of a mouth, told and checked without TensorRT and without a GPU."""

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import AvatarError, MissingToolError
from engine.mouth.engines import EngineKey, EngineStore, EngineUnusable, engine_key
from engine.mouth.gpu import Gpu
from engine.mouth.sheet import MouthSheet, read_sheet
from engine.mouth.tensors import DECODER, ENCODER, MouthTensors, Tensor
from trt_build.operators import refusals

PARTS = (ENCODER, DECODER)
UNKNOWN = "unknown here"

Shape = tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of a network: its ONNX data type, and its shape with None for the free batch."""

    name: str
    kind: str
    shape: Shape

    def __str__(self) -> str:
        sides = " x ".join("n" if side is None else str(side) for side in self.shape)
        return f"{self.name} {self.kind.lower()} ({sides})"


@dataclass(frozen=True, slots=True)
class PartPlan:
    """What would be built of one part, and why that cannot work, should it be so.

    `key` has UNKNOWN for what only a GPU or TensorRT can tell; `state` says whether the engine is there;
    `problems` are clauses.
    """

    part: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    opset: int
    operators: dict[str, int]
    weights: int
    weight_bytes: int
    key: EngineKey
    state: str
    problems: tuple[str, ...]


def plan(
    mouth: Path, *, gpu: Gpu | None = None, tensorrt: str | None = None, store: EngineStore | None = None
) -> list[PartPlan]:
    """The plan of both parts of the mouth in the folder `mouth`.

    Raises AvatarError (no mouth, or a damaged file), MissingToolError (the ONNX package is not installed).
    """
    sheet = read_sheet(mouth)
    known = gpu or Gpu(0, UNKNOWN, UNKNOWN, UNKNOWN, 0)
    plans = []
    for part in PARTS:
        key = engine_key(mouth, part, known, tensorrt or UNKNOWN)
        state = UNKNOWN if UNKNOWN in (key.gpu, key.tensorrt) else _state(key, store or EngineStore())
        plans.append(_part(mouth / f"{part}.onnx", sheet, key, state))
    return plans


def check(mouth: Path, part: str) -> None:
    """Raises AvatarError for a part that does not keep to its contract or that TensorRT would refuse."""
    model, types = _load(mouth / f"{part}.onnx")
    refuse(mouth, part, _problems(model, types, read_sheet(mouth), part))


def refuse(mouth: Path, part: str, problems: tuple[str, ...]) -> None:
    """Raises AvatarError that names the problems, should there be any."""
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise AvatarError(
            f"{mouth / part}.onnx cannot become an engine: {'; '.join(problems[:3])}{more}; "
            "export the mouth again."
        )


def _part(path: Path, sheet: MouthSheet, key: EngineKey, state: str) -> PartPlan:
    model, types = _load(path)
    return PartPlan(
        key.part,
        tuple(_port(value, types) for value in model.graph.input),
        tuple(_port(value, types) for value in model.graph.output),
        _opset(model),
        dict(Counter(str(node.op_type) for node in model.graph.node).most_common()),
        sum(math.prod(tensor.dims) for tensor in model.graph.initializer),
        sum(_bytes(tensor) for tensor in model.graph.initializer),
        key,
        state,
        _problems(model, types, sheet, key.part),
    )


def _problems(model: Any, types: dict[str, str], sheet: MouthSheet, part: str) -> tuple[str, ...]:
    graph = model.graph
    tensors = MouthTensors.of(sheet)
    problems = []
    for what, found, wanted in (
        ("inputs", graph.input, tensors.inputs(part)),
        ("outputs", graph.output, tensors.outputs(part)),
    ):
        there = {port.name: port for port in (_port(value, types) for value in found)}
        asked = {port.name: port for port in map(_asked, wanted)}
        if list(there) != list(asked):
            problems.append(f"its {what} are {', '.join(there)} instead of {', '.join(asked)}")
            continue
        problems += [f"{there[name]} should be {asked[name]}" for name in asked if there[name] != asked[name]]
    return (*problems, *refusals(model, types))


def _asked(tensor: Tensor) -> Port:
    from onnx import TensorProto
    from onnx.helper import np_dtype_to_tensor_dtype

    kind = TensorProto.DataType.Name(np_dtype_to_tensor_dtype(tensor.dtype))
    return Port(tensor.name, kind, (None, *tensor.shape))


def _load(path: Path) -> tuple[Any, dict[str, str]]:
    """(ONNX model, the data type of each of its tensors)."""
    try:
        import onnx
    except ImportError as error:
        raise MissingToolError(
            "The ONNX package is not installed; install it with `pip install onnx`."
        ) from error
    # The checker goes first: it has a word for bytes that are no model at all.
    try:
        onnx.checker.check_model(str(path))
        model = onnx.load(str(path))
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    except (OSError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise AvatarError(
            f"{path} is missing or damaged ({' '.join(str(error).split())}); export the mouth again."
        ) from error
    graph = inferred.graph
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kinds[value.name] = value.type.tensor_type.elem_type
    return model, {name: onnx.TensorProto.DataType.Name(kind) for name, kind in kinds.items()}


def _port(value: Any, types: dict[str, str]) -> Port:
    sides = value.type.tensor_type.shape.dim
    return Port(
        value.name,
        types[value.name],
        tuple(side.dim_value if side.HasField("dim_value") else None for side in sides),
    )


def _bytes(tensor: Any) -> int:
    from onnx.helper import tensor_dtype_to_np_dtype

    return int(tensor_dtype_to_np_dtype(tensor.data_type).itemsize * math.prod(tensor.dims))


def _opset(model: Any) -> int:
    return next((int(entry.version) for entry in model.opset_import if not entry.domain), 0)


def _state(key: EngineKey, store: EngineStore) -> str:
    try:
        store.load(key)
    except EngineUnusable as error:
        return str(error)
    return f"kept in {store.path(key)}"
