"""A GPU without a GPU: `FakeDevice` is one, and `FakeTensorRt` stands in for the module tensorrt on it.

It runs the ONNX file inside a fake plan with ONNX Runtime, on the memory whose addresses it was told, when
the stream's turn comes; and it refuses what TensorRT refuses.
"""

import ctypes
import enum
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from engine.mouth.batches import PROFILES
from engine.mouth.cuda import CudaDevice
from engine.mouth.engines import EngineStore, engine_key
from engine.mouth.gpu import Gpu
from engine.mouth.tensors import DECODER, ENCODER
from tests.fake_cuda import A10, ALIGNMENT, GARBAGE, FakeCuda, Work


class FakeDevice(CudaDevice):
    """The real CudaDevice on a fake GPU: `cuda` tells what happened on it."""

    def __init__(self, cuda: FakeCuda | None = None, gpu: Gpu = A10) -> None:
        self.cuda = cuda or FakeCuda(gpu.name)
        super().__init__(gpu, self.cuda)


class _Severity(enum.Enum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    VERBOSE = 4


class _Logger:
    Severity = _Severity

    def __init__(self) -> None:
        self._ready = True

    def log(self, severity: _Severity, msg: str) -> None:
        raise NotImplementedError


class _DataType(enum.Enum):
    FLOAT = 0
    HALF = 1
    INT8 = 2
    INT32 = 3
    UINT8 = 5


class _TensorIOMode(enum.Enum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class _Strategy(enum.Enum):
    STATIC = 0
    ON_PROFILE_CHANGE = 1
    USER_MANAGED = 2


_TYPES: dict[int, tuple[_DataType, Any]] = {
    onnx.TensorProto.FLOAT: (_DataType.FLOAT, np.float32),
    onnx.TensorProto.FLOAT16: (_DataType.HALF, np.float16),
    onnx.TensorProto.UINT8: (_DataType.UINT8, np.uint8),
    onnx.TensorProto.INT32: (_DataType.INT32, np.int32),
}


class FakeTensorRt:
    """The module tensorrt as far as the runtime goes, on a FakeCuda.

    `starts`: whether there is a runtime at all. What it complains of instead of giving an engine (`refuses`),
    a context (`no_context`), running (`no_run`), and running in a capture (`no_capture`).
    """

    ILogger = _Logger
    DataType = _DataType
    TensorIOMode = _TensorIOMode
    ExecutionContextAllocationStrategy = _Strategy

    def __init__(self, cuda: FakeCuda, version: str = "10.16.1.11") -> None:
        self.__version__ = version
        self.cuda = cuda
        self.starts = True
        self.refuses = ""
        self.no_context = ""
        self.no_run = ""
        self.no_capture = ""
        self.contexts: list[_Context] = []

    def Runtime(self, logger: Any) -> "_Runtime":
        if not isinstance(logger, _Logger) or not logger.__dict__.get("_ready"):
            raise TypeError("Runtime(): incompatible constructor arguments")
        if not self.starts:
            logger.log(_Severity.ERROR, "CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")
        return _Runtime(self, logger)


class _Runtime:
    def __init__(self, trt: FakeTensorRt, logger: Any) -> None:
        self._trt, self._logger = trt, logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> "_Engine | None":
        header, _, model = serialized_engine.partition(b"\n")
        complaint = self._trt.refuses
        if not complaint and model.startswith(b"\x08"):  # its version, with which every ONNX file begins
            try:
                return _Engine(self._trt, self._logger, json.loads(header)["profiles"], model)
            except (ValueError, KeyError, TypeError) as error:
                complaint = f"Serialization assertion failed ({error!r})."
        self._logger.log(_Severity.ERROR, complaint or "Serialization assertion failed (no plan).")
        return None


@dataclass(frozen=True)
class _Port:
    name: str
    mode: _TensorIOMode
    type: _DataType
    numpy_type: Any
    shape: tuple[int, ...]


class _Engine:
    def __init__(self, trt: FakeTensorRt, logger: Any, profiles: dict[str, Any], model: bytes) -> None:
        self._trt, self._logger, self._profiles = trt, logger, profiles
        graph = onnx.load_from_string(model).graph
        ports = [_port(value, _TensorIOMode.INPUT) for value in graph.input]
        ports += [_port(value, _TensorIOMode.OUTPUT) for value in graph.output]
        self._ports = {port.name: port for port in ports}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    @property
    def num_io_tensors(self) -> int:
        return len(self._ports)

    @property
    def num_optimization_profiles(self) -> int:
        return len(next(iter(self._profiles.values())))

    def get_tensor_name(self, index: int) -> str:
        return list(self._ports)[index]

    def get_tensor_mode(self, name: str) -> _TensorIOMode:
        return self._ports[name].mode

    def get_tensor_dtype(self, name: str) -> _DataType:
        return self._ports[name].type

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._ports[name].shape

    def get_device_memory_size_for_profile_v2(self, profile_index: int) -> int:
        return 500 * (1 + profile_index) * self.num_io_tensors

    def create_execution_context(self, strategy: _Strategy = _Strategy.STATIC) -> "_Context | None":
        if not isinstance(strategy, _Strategy):
            raise TypeError("create_execution_context(): incompatible function arguments")
        if self._trt.no_context:
            self._logger.log(_Severity.ERROR, self._trt.no_context)
            return None
        context = _Context(self, strategy)
        self._trt.contexts.append(context)
        return context


class _Context:
    """An execution context: nothing is guessed, and what it was told is checked against the profile."""

    def __init__(self, engine: _Engine, strategy: _Strategy) -> None:
        self._engine, self._strategy = engine, strategy
        self._cuda = engine._trt.cuda
        self.profile: int | None = None
        self.scratch: tuple[int, int] | None = None
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._changes = 0
        self._settled = -1  # the state that a run outside of a capture has brought up to date
        self._captured: int | None = None

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        self._changed()
        if self._cuda.capturing(stream_handle):
            return self._complain("the profile cannot change during a capture")
        if not 0 <= profile_index < self._engine.num_optimization_profiles:
            return self._complain(f"Profile index {profile_index} is out of range.")
        self.profile = profile_index
        self._shapes.clear()
        return True

    def set_device_memory(self, memory: int, size: int) -> None:
        self._changed()
        if self._strategy != _Strategy.USER_MANAGED or memory % ALIGNMENT:
            self._cuda.fault("memory for a context that manages its own, or not aligned")
        self.scratch = (memory, size)

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._changed()
        port = self._engine._ports.get(name)
        if port is None or port.mode != _TensorIOMode.INPUT or self.profile is None:
            return self._complain(f"There is no input {name}, or no profile yet.")
        smallest, _, largest = self._engine._profiles[name][self.profile]
        if len(shape) != len(smallest) or not all(
            low <= side <= high for low, side, high in zip(smallest, shape, largest, strict=True)
        ):
            return self._complain(f"Set dimensions of {name} {shape} are not within the profile.")
        self._shapes[name] = tuple(shape)
        return True

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._changed()
        if name not in self._engine._ports or memory % ALIGNMENT:
            return self._complain(f"Address {memory:#x} of {name} is not aligned, or nobody's.")
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        trt, capturing = self._engine._trt, self._cuda.capturing(stream_handle)
        if complaint := trt.no_run or (capturing and trt.no_capture):
            return self._complain(complaint)
        if self._cuda.last_error:  # left by someone else, but it looks like its own
            return self._complain(f"CUDA failure {self._cuda.last_error.name}")
        if set(self._addresses) != set(self._engine._ports):
            return self._complain("Not all addresses are set.")
        inputs = {name for name, port in self._engine._ports.items() if port.mode == _TensorIOMode.INPUT}
        if set(self._shapes) != inputs:
            return self._complain("Not all input dimensions are specified.")
        needed = self._engine.get_device_memory_size_for_profile_v2(self.profile or 0)
        if self._strategy == _Strategy.USER_MANAGED and (self.scratch or (0, 0))[1] < needed:
            return self._complain(f"The context has less than {needed} bytes of memory.")
        if capturing:
            if self._settled != self._changes:
                return self._complain("operation not permitted when stream is capturing")
            self._captured = self._changes
        self._settled = state = self._changes
        scratch = [self.scratch] if self.scratch else []
        reads = [self._place(name) for name in sorted(inputs)]
        writes = [self._place(name) for name in self._engine._ports if name not in inputs] + scratch
        elsewhere = self._cuda.writing(besides=stream_handle)
        if any(address in elsewhere for address, _ in writes):
            self._cuda.fault("two streams work in the same memory")
        self._cuda.enqueue(stream_handle, Work(lambda: self._compute(state), reads, writes))
        return True

    def _compute(self, state: int) -> None:
        if state != self._changes:
            self._cuda.fault("a context was changed while its work was queued or captured")
        inputs = {}
        for name, shape in self._shapes.items():
            array = self._array(name, shape)
            inputs[name] = array.copy()
        if self.scratch:
            self._cuda.block(*self.scratch)
            ctypes.memset(self.scratch[0], GARBAGE, self.scratch[1])
        outputs = [name for name in self._engine._ports if name not in inputs]
        for name, value in zip(outputs, self._engine._session.run(outputs, inputs), strict=True):
            self._array(name, value.shape)[:] = value

    def _place(self, name: str) -> tuple[int, int]:
        port = self._engine._ports[name]
        batch = next(iter(self._shapes.values()))[0]
        return self._addresses[name], int(np.prod((batch, *port.shape[1:]))) * np.dtype(
            port.numpy_type
        ).itemsize

    def _array(self, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """The tensor's memory on the GPU."""
        dtype = np.dtype(self._engine._ports[name].numpy_type)
        size = int(np.prod(shape)) * dtype.itemsize
        if self._cuda.block(self._addresses[name], size).device is None:
            self._cuda.fault(f"{name} is not on the GPU")
        memory = (ctypes.c_uint8 * size).from_address(self._addresses[name])
        return np.ndarray(shape, dtype, memoryview(memory))

    def _changed(self) -> None:
        if self._captured is not None:
            self._cuda.fault("a context is changed that a graph was captured from")
        self._changes += 1

    def _complain(self, what: str) -> bool:
        self._engine._logger.log(_Severity.ERROR, what)
        return False


TWINS = {
    "Runtime": _Runtime,
    "ICudaEngine": _Engine,
    "IExecutionContext": _Context,
    "ILogger": _Logger,
    "DataType": _DataType,
    "TensorIOMode": _TensorIOMode,
    "ExecutionContextAllocationStrategy": _Strategy,
}
"""The fakes by the names of what they stand in for."""


def _port(value: Any, mode: _TensorIOMode) -> _Port:
    kind = value.type.tensor_type
    shape = tuple(side.dim_value if side.HasField("dim_value") else -1 for side in kind.shape.dim)
    return _Port(value.name, mode, *_TYPES[kind.elem_type], shape)


def fake_plan(model: Path, part: str, batches: tuple[tuple[int, int, int], ...] = PROFILES) -> bytes:
    """A serialized engine as the fake builder writes it: one line of JSON, then the ONNX file."""
    ports = [_port(value, _TensorIOMode.INPUT) for value in onnx.load(str(model)).graph.input]
    profiles = {
        port.name: [[[size, *port.shape[1:]] for size in sizes] for sizes in batches] for port in ports
    }
    header = json.dumps({"profiles": profiles, "part": part}).encode()
    return header + b"\n" + model.read_bytes()


def save_fake_engines(mouth: Path, store: EngineStore, gpu: Gpu = A10, version: str = "10.16.1.11") -> None:
    """Engines for both parts of a mouth, as if `koubo build` had run on this GPU."""
    for part in (ENCODER, DECODER):
        store.save(engine_key(mouth, part, gpu, version), fake_plan(mouth / f"{part}.onnx", part))


@contextmanager
def no_faults(cuda: FakeCuda) -> Iterator[FakeCuda]:
    """At the end nothing undefined has happened, not even where it was not noticed."""
    yield cuda
    assert cuda.faults == []
