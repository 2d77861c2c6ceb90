"""What TensorRT made of a network: its layers, their types, its memory."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import KouboError

_TYPES = {
    "FP16": "f16",
    "Half": "f16",
    "BF16": "bf16",
    "FP32": "f32",
    "Float": "f32",
    "UInt8": "uint8",
    "Int8": "int8",
    "Int32": "int32",
    "Int64": "int64",
}


@dataclass(frozen=True, slots=True)
class Report:
    """Of an engine: its layers in all its profiles, the types they write, bytes of memory.

    `types` counts layers by the type of their first output; `memory` is what one context needs of the GPU at
    most, `profile_memory` in each profile; `inspector` is all that TensorRT's engine inspector tells.
    """

    layers: int
    types: dict[str, int]
    memory: int
    profile_memory: list[int]
    inspector: Any


def inspect(trt: Any, logger: Any, plan: bytes) -> Report:
    """The report on a serialized engine. Raises KouboError when TensorRT cannot load the engine here.

    `logger` is the builder's, for TensorRT hears only one at a time.
    """
    logger.errors.clear()
    runtime = trt.Runtime(logger)
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise KouboError(f"TensorRT could not load the engine to report on it ({first(logger.errors)}).")
    text = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    try:
        told = json.loads(text)
    except ValueError:  # not every version minds its quotes
        told = text
    layers = told.get("Layers", []) if isinstance(told, dict) else []
    return Report(
        len(layers),
        dict(Counter(_type(layer) for layer in layers).most_common()),
        int(engine.device_memory_size_v2),
        [
            int(engine.get_device_memory_size_for_profile_v2(number))
            for number in range(engine.num_optimization_profiles)
        ],
        told,
    )


def first(errors: Sequence[str]) -> str:
    """The first of a logger's errors in one line: the others mostly follow from it."""
    return " ".join(errors[0].split()) if errors else "it gives no reason"


def read_report(path: Path) -> Report | None:
    """The report kept beside an engine; None when there is none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Report(
            int(content["layers"]),
            {str(kind): int(count) for kind, count in content["types"].items()},
            int(content["memory"]),
            [int(size) for size in content["profile_memory"]],
            content["inspector"],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _type(layer: Any) -> str:
    """The type that a layer writes; a layer that is only a name says nothing."""
    try:
        text = str(layer["Outputs"][0]["Format/Datatype"])
    except (KeyError, IndexError, TypeError):
        return "unknown"
    return next((kind for name, kind in _TYPES.items() if name in text), text)
