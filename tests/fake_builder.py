"""TensorRT's builder without a GPU: takes only what the real one takes, writes plans for `tests.fake_gpu`.

`FakeBuilding` stands in for the module tensorrt, in version 10 or 11, whose differences it keeps.
"""

import ctypes
import enum
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx

from tests.fake_cuda import FakeCuda
from tests.fake_gpu import FakeTensorRt

PHASES = (("Optimizing graph", 4), ("Timing tactics", 10))
"""What happens within the one step of each of two phases, in order."""


class _Flag10(enum.IntEnum):
    EXPLICIT_BATCH = 0
    STRONGLY_TYPED = 1


class _Flag11(enum.IntEnum):
    STRONGLY_TYPED = 0


class _MemoryPool(enum.Enum):
    WORKSPACE = 0


class _Verbosity(enum.Enum):
    LAYER_NAMES_ONLY = 0
    NONE = 1
    DETAILED = 2


class _Format(enum.Enum):
    ONELINE = 0
    JSON = 1


class _Monitor:
    def __init__(self) -> None:
        self._ready = True

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        raise NotImplementedError

    def step_complete(self, phase_name: str, step: int) -> bool:
        raise NotImplementedError

    def phase_finish(self, phase_name: str) -> None:
        raise NotImplementedError


class FakeBuilding(FakeTensorRt):
    """The module tensorrt, builder and all.

    `gpu`: the card that timing caches are of. `has_gpu`: whether there is a builder at all. `refused_nodes`:
    types of nodes that the parser refuses. `fails`: what a build complains of instead of giving an engine.
    `report`: what the engine inspector tells. `during`: called after every step of a build. `built`: the
    configuration of every build; `stopped`: how many were given up.
    """

    MemoryPoolType = _MemoryPool
    ProfilingVerbosity = _Verbosity
    LayerInformationFormat = _Format
    IProgressMonitor = _Monitor

    def __init__(self, version: str = "10.16.1.11", gpu: str = "NVIDIA A10") -> None:
        super().__init__(FakeCuda(gpu), version)
        self.NetworkDefinitionCreationFlag = _Flag10 if version.startswith("10.") else _Flag11
        self.gpu = gpu
        self.has_gpu = True
        self.refused_nodes: set[str] = set()
        self.fails = ""
        self.report = json.dumps({"Layers": [_layer("conv", "Half"), _layer("mel", "Float"), "a name only"]})
        self.during: Callable[[], None] = lambda: None
        self.built: list[_Config] = []
        self.stopped = 0

    def Builder(self, logger: Any) -> "_Builder":
        if not isinstance(logger, self.ILogger):
            raise TypeError("Builder(): incompatible constructor arguments")
        if not self.has_gpu:
            logger.log(self.ILogger.Severity.ERROR, "CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")
        return _Builder(self, logger)

    def OnnxParser(self, network: "_Network", logger: Any) -> "_Parser":
        return _Parser(self, network)

    def Runtime(self, logger: Any) -> Any:
        return _Runtime(super().Runtime(logger), self.report)


class _Network:
    def __init__(self) -> None:
        self.model: Path | None = None
        self.inputs: list[_Input] = []

    @property
    def num_inputs(self) -> int:
        return len(self.inputs)

    def get_input(self, index: int) -> "_Input":
        return self.inputs[index]


class _Input:
    def __init__(self, value: Any) -> None:
        self.name: str = value.name
        sides = value.type.tensor_type.shape.dim
        self.shape = tuple(side.dim_value if side.HasField("dim_value") else -1 for side in sides)


class _Parser:
    def __init__(self, trt: FakeBuilding, network: _Network) -> None:
        self._trt, self._network = trt, network
        self._errors: list[_ParserError] = []

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> "_ParserError":
        return self._errors[index]

    def parse_from_file(self, model: str) -> bool:
        try:
            graph = onnx.load(model).graph
        except Exception:  # noqa: BLE001 - protobuf's own kind
            self._errors.append(_ParserError("", "", "Failed to parse the ONNX model."))
            return False
        for node in graph.node:
            if node.op_type in self._trt.refused_nodes:
                self._errors.append(_ParserError(node.name, node.op_type, "Invalid Node\nwrong type"))
        self._network.model = Path(model)
        self._network.inputs = [_Input(value) for value in graph.input]
        return not self._errors


class _ParserError:
    def __init__(self, name: str, operator: str, text: str) -> None:
        self._name, self._operator, self._text = name, operator, text

    def node_name(self) -> str:
        return self._name

    def node_operator(self) -> str:
        return self._operator

    def desc(self) -> str:
        return self._text


class _Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, list[tuple[int, ...]]] = {}

    def set_shape(
        self, name: str, least: tuple[int, ...], best: tuple[int, ...], most: tuple[int, ...]
    ) -> None:
        self.shapes[name] = [least, best, most]


class _TimingCache:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> Any:
        return _host_memory(self.content)


class _Config:
    """Takes only the attributes that a real one has."""

    __slots__ = (
        "_trt",
        "builder_optimization_level",
        "limits",
        "logger",
        "profiles",
        "profiling_verbosity",
        "progress_monitor",
        "timings",
    )

    def __init__(self, trt: FakeBuilding, logger: Any) -> None:
        self._trt, self.logger = trt, logger
        self.builder_optimization_level = 3
        self.profiling_verbosity = _Verbosity.LAYER_NAMES_ONLY
        self.progress_monitor: _Monitor | None = None
        self.limits: dict[_MemoryPool, int] = {}
        self.profiles: list[_Profile] = []
        self.timings: _TimingCache | None = None

    def set_memory_pool_limit(self, pool: _MemoryPool, pool_size: int) -> None:
        self.limits[pool] = pool_size

    def add_optimization_profile(self, profile: _Profile) -> int:
        for shapes in profile.shapes.values():
            for least, best, most in zip(*shapes, strict=True):
                if not 0 <= least <= best <= most:
                    return -1
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def create_timing_cache(self, serialized_timing_cache: bytes) -> _TimingCache:
        if serialized_timing_cache and not serialized_timing_cache.startswith(b"timings of "):
            raise AssertionError("TensorRT was given bytes that it never wrote")
        return _TimingCache(serialized_timing_cache)

    def set_timing_cache(self, cache: _TimingCache, ignore_mismatch: bool) -> bool:
        if cache.content and f" {self._trt.gpu}\n".encode() not in cache.content and not ignore_mismatch:
            return False
        self.timings = cache
        return True

    def get_timing_cache(self) -> _TimingCache | None:
        return self.timings


class _Builder:
    def __init__(self, trt: FakeBuilding, logger: Any) -> None:
        self._trt, self._logger = trt, logger

    def create_network(self, flags: int = 0) -> _Network:
        # TensorRT 10 would compute in types of its own choice; 11 knows no other flag.
        wanted = 1 << int(self._trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        assert flags == wanted, f"flags {flags} instead of {wanted}"
        return _Network()

    def create_optimization_profile(self) -> _Profile:
        return _Profile()

    def create_builder_config(self) -> _Config:
        return _Config(self._trt, self._logger)

    def build_serialized_network(self, network: _Network, config: _Config) -> Any:
        trt = self._trt
        trt.built.append(config)
        if config.progress_monitor is not None and not self._steps(config.progress_monitor):
            trt.stopped += 1
            return self._complain("Build canceled by user")
        if trt.fails:
            return self._complain(trt.fails)
        names = {port.name for port in network.inputs}
        if network.model is None or any(set(profile.shapes) != names for profile in config.profiles):
            return self._complain("Network has dynamic inputs, but no optimization profile for each of them.")
        assert config.timings is not None
        seen = config.timings.content or f"timings of {trt.gpu}\n".encode()
        config.timings.content = seen + b"one more\n"
        profiles = {name: [profile.shapes[name] for profile in config.profiles] for name in names}
        header = json.dumps({"profiles": profiles, "part": network.model.stem}).encode()
        return _host_memory(header + b"\n" + network.model.read_bytes())

    def _steps(self, monitor: _Monitor) -> bool:
        """Nested phases as the real builder tells them."""
        assert monitor._ready, "the constructor of IProgressMonitor was not called"
        assert threading.current_thread() is not threading.main_thread(), (
            "Ctrl-C would break into the builder"
        )
        monitor.phase_start("Building engine", None, 2)
        for number, (name, steps) in enumerate(PHASES):
            monitor.phase_start(name, "Building engine", steps)
            goes_on = True
            for step in range(steps):
                goes_on = monitor.step_complete(name, step)
                self._trt.during()
                if not goes_on:
                    break
            monitor.phase_finish(name)
            if not (goes_on and monitor.step_complete("Building engine", number)):
                monitor.phase_finish("Building engine")
                return False
        monitor.phase_finish("Building engine")
        return True

    def _complain(self, what: str) -> None:
        self._logger.log(self._trt.ILogger.Severity.ERROR, what)


class _Runtime:
    def __init__(self, runtime: Any, report: str) -> None:
        self._runtime, self._report = runtime, report

    def deserialize_cuda_engine(self, plan: bytes) -> "_Engine | None":
        engine = self._runtime.deserialize_cuda_engine(plan)
        return None if engine is None else _Engine(engine, self._report)


class _Engine:
    """An engine of `tests.fake_gpu` that can be inspected too."""

    device_memory_size_v2 = 7000

    def __init__(self, engine: Any, report: str) -> None:
        self._engine, self._report = engine, report

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def create_engine_inspector(self) -> "_Engine":
        return self

    def get_engine_information(self, format: _Format) -> str:
        assert format == _Format.JSON
        return self._report


def _layer(name: str, kind: str) -> dict[str, Any]:
    return {
        "Name": name,
        "LayerType": "CaskConvolution",
        "Outputs": [{"Name": name, "Format/Datatype": kind}],
    }


def _host_memory(content: bytes) -> Any:
    """Bytes as TensorRT gives them: memory of its own, which is neither `bytes` nor has a length."""
    return (ctypes.c_ubyte * len(content)).from_buffer_copy(content)
