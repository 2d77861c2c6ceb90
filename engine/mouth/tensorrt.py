"""MouthRuntime by TensorRT on an NVIDIA GPU, in fp16, with a CUDA graph for every batch size.

Only names that TensorRT 10.16 and 11 both have are used.
"""

import logging
import queue
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from engine.anchor.crop import Picture
from engine.errors import MissingToolError
from engine.mouth.batches import PROFILES, chunks, padded, profile_of
from engine.mouth.cuda import CudaDevice, Device, GpuError, Resource
from engine.mouth.engines import EngineStore, EngineUnusable, engine_key
from engine.mouth.gpu import NOT_INSTALLED, Gpu, find_gpu
from engine.mouth.runtime import Features, WholeSquare
from engine.mouth.sheet import read_sheet
from engine.mouth.tensors import DECODER, ENCODER, MouthTensors
from engine.speech.mel import Mel

_ALIGNMENT = 256
"""TensorRT wants addresses that are multiples of this."""

_ANEW = "build it anew with `koubo build --force`"

_logger = logging.getLogger(__name__)


class TensorRtMouth(WholeSquare):
    """Runs a mouth by the engines that were built from it for this GPU.

    Features are memory on the GPU, one allocation a face. `workers` calls run side by side, each on its own
    stream with its own buffers; further callers wait. The first batch of each size takes longer.
    """

    name = "tensorrt"
    precision = "f16"

    def __init__(
        self,
        folder: Path,
        *,
        gpu: Gpu | None = None,
        store: EngineStore | None = None,
        workers: int = 2,
        trt: Any = None,
        device: Device | None = None,
    ) -> None:
        """Load the engines of the mouth in `folder` from `store` (default: Koubo's cache).

        `trt` stands in for the module tensorrt. Raises MissingToolError: no TensorRT, driver or GPU that
        fit; EngineUnusable: no engine for this GPU, or TensorRT refuses it; GpuError; AvatarError.
        """
        sheet = read_sheet(folder)
        trt = trt or load_tensorrt()
        gpu = gpu or find_gpu()
        store = store or EngineStore()
        keys = {part: engine_key(folder, part, gpu, trt.__version__) for part in (ENCODER, DECODER)}
        plans = {part: store.load(key) for part, key in keys.items()}
        self._size = sheet.size
        self._device = device or CudaDevice(gpu)
        self._device.activate()
        self._engines = _Engines(trt, plans, MouthTensors.of(sheet))
        # The last in is the first out: the second worker takes memory only once two calls meet.
        self._idle: queue.LifoQueue[_Worker] = queue.LifoQueue()
        for _ in range(workers):
            self._idle.put(_Worker(self._device, self._engines))

    @property
    def size(self) -> int:
        """Side of its pictures in pixels."""
        return self._size

    def encode(self, faces: Picture) -> list[Features]:
        """The features of idle faces, RGB uint8 (n, S, S, 3), on the GPU. Raises GpuError."""
        frames: list[Resource] = []
        with self._worker() as worker:
            for piece in chunks(len(faces)):
                frames += [self._device.allocate(self._engines.frame_size) for _ in piece]
                part = slice(piece.start, piece.stop)
                worker.encode(faces[part], frames[part])
        return [(frame,) for frame in frames]

    def decode(self, mels: Mel, features: Sequence[Features]) -> Picture:
        """Faces that speak: mel windows float32 (n, 80, 16) on n faces -> RGB uint8 (n, S, S, 3).

        Raises GpuError.
        """
        if len(mels) != len(features):
            raise ValueError(f"{len(mels)} mel windows for {len(features)} faces")
        # Held here too: the caller may drop its own while they are being read.
        frames: list[Resource] = [frame for (frame,) in features]
        pictures = np.empty((len(mels), self._size, self._size, 3), np.uint8)
        with self._worker() as worker:
            for piece in chunks(len(mels)):
                part = slice(piece.start, piece.stop)
                worker.decode(mels[part], frames[part], pictures[part])
        return pictures

    @contextmanager
    def _worker(self) -> Iterator["_Worker"]:
        """A free worker, for this thread alone. After a failure too, nothing that it queued is left."""
        worker = self._idle.get()
        try:
            self._device.activate()
            try:
                yield worker
            finally:
                self._device.synchronize(worker.stream)
        finally:
            self._idle.put(worker)


class _Engines:
    """Both engines of a mouth, found to fit it, and how the maps of a face lie in its memory."""

    def __init__(self, trt: Any, plans: dict[str, bytes], tensors: MouthTensors) -> None:
        self.tensors = tensors
        self.offsets, self.frame_size = _laid_out(map_.size for map_ in tensors.maps)
        self.without_graph: set[int] = set()
        self._trt = trt
        self._log = logger_for(trt)
        try:
            self._runtime = trt.Runtime(self._log)
        except (TypeError, RuntimeError) as error:  # the bindings' ways of saying that there is none
            raise MissingToolError(
                f"TensorRT {trt.__version__} does not start ({self._reason(str(error))}); "
                "install a newer NVIDIA driver."
            ) from error
        self._by_part = {part: self._open(part, plan) for part, plan in plans.items()}

    def context(self, part: str) -> Any:
        """A new execution context, without memory to work in. Raises GpuError."""
        strategy = self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
        context = self._by_part[part].create_execution_context(strategy)
        self.check(context is not None, f"prepare the {_spoken(part)}")
        return context

    def scratch(self, profile: int) -> int:
        """Bytes that a context of either engine needs to work in with this profile."""
        engines = self._by_part.values()
        return max(int(engine.get_device_memory_size_for_profile_v2(profile)) for engine in engines)

    def check(self, done: bool, what: str) -> None:
        """Raise GpuError unless TensorRT has `done` `what`."""
        if not done:
            raise GpuError(
                f"TensorRT cannot {what} ({self._reason()}); close other programs that use the GPU, or build "
                "the engines anew with `koubo build --force`."
            )

    def _reason(self, otherwise: str = "it gives no reason") -> str:
        """What TensorRT complained of first, from which the rest mostly follows; then all is forgotten."""
        errors = self._log.errors
        reason = str(errors[0]) if errors else otherwise
        errors.clear()
        return " ".join(reason.split())

    def _open(self, part: str, plan: bytes) -> Any:
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise EngineUnusable(
                f"TensorRT refuses the engine of the {_spoken(part)} ({self._reason()}); {_ANEW}."
            )
        other = sorted({name for name, *_ in self._found(engine) ^ self._wanted(part)})
        if engine.num_optimization_profiles != len(PROFILES):
            other.append("batch sizes")
        if other:
            raise EngineUnusable(
                f"The engine of the {_spoken(part)} does not fit the mouth (other {', '.join(other)}); "
                f"{_ANEW}."
            )
        return engine

    def _found(self, engine: Any) -> set[tuple[str, Any, Any, tuple[int, ...]]]:
        names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
        return {
            (
                name,
                engine.get_tensor_mode(name),
                engine.get_tensor_dtype(name),
                tuple(engine.get_tensor_shape(name)),
            )
            for name in names
        }

    def _wanted(self, part: str) -> set[tuple[str, Any, Any, tuple[int, ...]]]:
        types = {
            "uint8": self._trt.DataType.UINT8,
            "float16": self._trt.DataType.HALF,
            "float32": self._trt.DataType.FLOAT,
        }
        sides = {
            self._trt.TensorIOMode.INPUT: self.tensors.inputs(part),
            self._trt.TensorIOMode.OUTPUT: self.tensors.outputs(part),
        }
        return {
            (tensor.name, mode, types[tensor.dtype.name], (-1, *tensor.shape))
            for mode, tensors in sides.items()
            for tensor in tensors
        }


class _Buffers:
    """What batches of one profile need on one stream: memory on the GPU, and pinned arrays beside it.

    Both engines and all sizes of the profile share it, for a stream runs one of them at a time.
    """

    def __init__(self, device: Device, engines: _Engines, profile: int) -> None:
        largest, tensors = PROFILES[profile][-1], engines.tensors
        shared = [tensors.picture, tensors.mel, *tensors.maps]
        self.scratch_size = engines.scratch(profile)
        sizes = [*(tensor.size * largest for tensor in shared), self.scratch_size]
        offsets, total = _laid_out(sizes)
        self._memory = device.allocate(total)
        *starts, self.scratch = (self._memory.handle + offset for offset in offsets)
        self.address = {tensor.name: start for tensor, start in zip(shared, starts, strict=True)}
        self.address[tensors.face.name] = self.address[tensors.picture.name]
        self.pictures = device.host_array((largest, *tensors.picture.shape), tensors.picture.dtype)
        self.mels = device.host_array((largest, *tensors.mel.shape), tensors.mel.dtype)


class _Lane:
    """One engine, ready for batches of one size on one stream.

    It has an execution context of its own: a captured graph holds only as long as nobody changes the context
    that it was captured from.
    """

    def __init__(self, engines: _Engines, part: str, size: int, buffers: _Buffers, stream: Resource) -> None:
        self._context = context = engines.context(part)
        self._engines = engines
        self._what = f"run the {_spoken(part)} on {size} faces"
        self.size = size
        self.buffers = buffers
        self.graph: Resource | None = None
        inputs, outputs = engines.tensors.inputs(part), engines.tensors.outputs(part)
        done = context.set_optimization_profile_async(profile_of(size), stream.handle)
        engines.check(done, self._what)
        context.set_device_memory(buffers.scratch, buffers.scratch_size)
        for tensor in inputs:
            engines.check(context.set_input_shape(tensor.name, (size, *tensor.shape)), self._what)
        for tensor in (*inputs, *outputs):
            address = buffers.address[tensor.name]
            engines.check(context.set_tensor_address(tensor.name, address), self._what)

    def execute(self, stream: Resource) -> None:
        """Queue the engine's work. Raises GpuError."""
        self._engines.check(self._context.execute_async_v3(stream.handle), self._what)


class _Worker:
    """A stream with all that batches need on it, made when first needed. One thread at a time."""

    def __init__(self, device: Device, engines: _Engines) -> None:
        self.stream = device.stream()
        self._device = device
        self._engines = engines
        self._buffers: dict[int, _Buffers] = {}
        self._lanes: dict[tuple[str, int], _Lane] = {}

    def encode(self, faces: Picture, frames: Sequence[Resource]) -> None:
        """Fill the memory of 1 to MAX_BATCH frames with the maps of as many faces."""
        lane = self._lane(ENCODER, len(faces))
        pinned = lane.buffers.pictures[: len(faces)]
        pinned[:] = faces
        self._upload(pinned, lane.buffers.address["face"])
        lane.execute(self.stream)
        for kept, staged, size in self._places(lane.buffers, frames):
            self._device.copy(kept, staged, size, self.stream)
        self._device.synchronize(self.stream)

    def decode(self, mels: Mel, frames: Sequence[Resource], pictures: Picture) -> None:
        """Draw 1 to MAX_BATCH faces into `pictures`."""
        lane = self._lane(DECODER, len(mels))
        lane.buffers.mels[: len(mels)] = mels
        for kept, staged, size in self._places(lane.buffers, frames):
            self._device.copy(staged, kept, size, self.stream)
        if lane.graph is None:
            self._draw(lane)
        else:
            self._device.launch(lane.graph, self.stream)
        self._device.synchronize(self.stream)
        pictures[:] = lane.buffers.pictures[: len(mels)]
        if lane.graph is None and lane.size not in self._engines.without_graph:
            self._capture(lane)

    def _draw(self, lane: _Lane) -> None:
        """Queue what is the same for every batch of a size: mel up, engine, pictures down."""
        self._upload(lane.buffers.mels[: lane.size], lane.buffers.address["mel"])
        lane.execute(self.stream)
        pinned = lane.buffers.pictures[: lane.size]
        source = lane.buffers.address["picture"]
        self._device.copy(pinned.ctypes.data, source, pinned.nbytes, self.stream)

    def _capture(self, lane: _Lane) -> None:
        """Make the graph for later batches; the lane has run once, as TensorRT wants before a capture."""
        try:
            lane.graph = self._device.capture(self.stream, partial(self._draw, lane))
        except GpuError as error:
            self._engines.without_graph.add(lane.size)
            _logger.warning("Batches of %d faces run without a CUDA graph: %s", lane.size, error)

    def _upload(self, array: NDArray[Any], address: int) -> None:
        self._device.copy(address, array.ctypes.data, array.nbytes, self.stream)

    def _places(self, buffers: _Buffers, frames: Sequence[Resource]) -> Iterator[tuple[int, int, int]]:
        """Where each map of each frame lies: (address in the frame, address in the batch, bytes)."""
        for map_, offset in zip(self._engines.tensors.maps, self._engines.offsets, strict=True):
            for row, frame in enumerate(frames):
                yield frame.handle + offset, buffers.address[map_.name] + row * map_.size, map_.size

    def _lane(self, part: str, count: int) -> _Lane:
        """The lane for `count` faces, padded up."""
        size = padded(count)
        if (part, size) not in self._lanes:
            profile = profile_of(size)
            if profile not in self._buffers:
                self._buffers[profile] = _Buffers(self._device, self._engines, profile)
            lane = _Lane(self._engines, part, size, self._buffers[profile], self.stream)
            self._lanes[part, size] = lane
        return self._lanes[part, size]


def load_tensorrt() -> Any:
    """The module tensorrt. Raises MissingToolError: it is not installed, or its libraries do not load."""
    try:
        import tensorrt
    except ImportError as error:
        raise MissingToolError(NOT_INSTALLED) from error
    except OSError as error:
        raise MissingToolError(
            f"TensorRT does not load ({error}); install it again with "
            "`pip install --force-reinstall tensorrt`."
        ) from error
    return tensorrt


def logger_for(trt: Any) -> Any:
    """The logger of TensorRT, which writes to `logging`; its `errors`, oldest first, begin anew here.

    There is one for all: a process keeps the first logger it gets, and would call it after it was gone.
    """
    if trt not in _LOGGERS:
        _LOGGERS[trt] = _new_logger(trt)
    _LOGGERS[trt].errors.clear()
    return _LOGGERS[trt]


_LOGGERS: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


def _new_logger(trt: Any) -> Any:
    severities = trt.ILogger.Severity
    levels = {
        severities.INTERNAL_ERROR: logging.ERROR,
        severities.ERROR: logging.ERROR,
        severities.WARNING: logging.WARNING,
        severities.INFO: logging.DEBUG,
        severities.VERBOSE: logging.DEBUG,
    }

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: deque[str] = deque(maxlen=8)

        def log(self, severity: Any, msg: str) -> None:
            level = levels[severity]
            if level == logging.ERROR:
                self.errors.append(msg)
            _logger.log(level, "TensorRT: %s", msg)

    return Logger()


def _laid_out(sizes: Iterable[int]) -> tuple[list[int], int]:
    """Where pieces of these sizes begin, one after the other and aligned, and where the last one ends."""
    ends = list(accumulate((-(-size // _ALIGNMENT) * _ALIGNMENT for size in sizes), initial=0))
    return ends[:-1], ends[-1]


def _spoken(part: str) -> str:
    return part.replace("_", " ")
