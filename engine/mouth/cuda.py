"""The little of CUDA that a mouth needs: memory, streams, copies and graphs, on one GPU."""

import ctypes
import logging
import threading
import weakref
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from engine.errors import KouboError, MissingToolError
from engine.mouth.gpu import NOT_INSTALLED, Gpu

_log = logging.getLogger(__name__)


class GpuError(KouboError):
    """The GPU refuses what it is asked for, or has no memory left for it."""


class Resource:
    """Memory, a stream or a graph of a GPU, by its address or handle; given back once nothing holds it."""

    __slots__ = ("__weakref__", "handle")

    def __init__(self, handle: int, give_back: Callable[[int], None]) -> None:
        self.handle = handle
        # A process that ends gives everything back by itself, in an order that is safe.
        weakref.finalize(self, give_back, handle).atexit = False


class Device(Protocol):
    """One GPU. Calls may come from any thread that has called `activate`; each may raise GpuError."""

    def activate(self) -> None:
        """Make this the GPU of the calling thread."""
        ...

    def allocate(self, size: int) -> Resource:
        """`size` > 0 bytes of its memory, aligned to 256; nothing queued may use them when it is dropped."""
        ...

    def host_array(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """An array in pinned memory, which copies can reach while the processor goes on."""
        ...

    def stream(self) -> Resource:
        """A queue of work: what is put on one runs in order, beside the others."""
        ...

    def copy(self, target: int, source: int, size: int, stream: Resource) -> None:
        """Queue a copy of `size` bytes between addresses on the GPU or in pinned memory."""
        ...

    def synchronize(self, stream: Resource) -> None:
        """Wait until all that was queued has run."""
        ...

    def capture(self, stream: Resource, work: Callable[[], None]) -> Resource:
        """The graph of what `work` queues on the stream, none of which runs. The stream stays usable."""
        ...

    def launch(self, graph: Resource, stream: Resource) -> None:
        """Queue all the work of a graph."""
        ...


class CudaDevice:
    """Device by the CUDA runtime; `cuda` stands in for cuda.bindings.runtime.

    Raises MissingToolError when cuda-bindings or a driver that it can work with is missing, or CUDA does
    not see the GPU.
    """

    def __init__(self, gpu: Gpu, cuda: Any = None) -> None:
        self._cuda = cuda or _cuda_runtime()
        # What the garbage collector wants to give back during a capture, by the capturing thread.
        self._late: dict[int, list[tuple[str, int]]] = {}
        self._ordinal = self._find(gpu)
        self.activate()
        # Threads that wait for the GPU sleep, and leave the processor to the video encoders.
        self._call("cudaSetDeviceFlags", self._cuda.cudaDeviceScheduleBlockingSync)

    def activate(self) -> None:
        """Make this the GPU of the calling thread."""
        self._call("cudaSetDevice", self._ordinal)

    def allocate(self, size: int) -> Resource:
        """`size` > 0 bytes of its memory, aligned to 256."""
        return self._resource(self._call("cudaMalloc", size), "cudaFree")

    def host_array(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """An array in pinned memory."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        address = int(self._call("cudaMallocHost", size))
        memory = (ctypes.c_uint8 * size).from_address(address)
        weakref.finalize(memory, self._give_back, "cudaFreeHost", address).atexit = False
        return np.ndarray(shape, dtype, memoryview(memory))

    def stream(self) -> Resource:
        """A stream that never waits for the default one."""
        handle = self._call("cudaStreamCreateWithFlags", self._cuda.cudaStreamNonBlocking)
        return self._resource(handle, "cudaStreamDestroy")

    def copy(self, target: int, source: int, size: int, stream: Resource) -> None:
        """Queue a copy; CUDA tells host from device by the addresses."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDefault
        self._call("cudaMemcpyAsync", target, source, size, kind, stream.handle)

    def synchronize(self, stream: Resource) -> None:
        """Wait until all that was queued has run."""
        self._call("cudaStreamSynchronize", stream.handle)

    def capture(self, stream: Resource, work: Callable[[], None]) -> Resource:
        """The graph of what `work` queues on the stream."""
        # Only this thread has to keep off calls that cannot be captured; the others go on as ever.
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", stream.handle, mode)
        self._late[threading.get_ident()] = []
        try:
            work()
        finally:
            # Also after a failure: until its end the stream can do nothing else.
            ended = self._cuda.cudaStreamEndCapture(stream.handle)
            for function, handle in self._late.pop(threading.get_ident()):
                self._give_back(function, handle)
            recipe = self._resource(self._check("cudaStreamEndCapture", ended), "cudaGraphDestroy")
        return self._resource(self._call("cudaGraphInstantiate", recipe.handle, 0), "cudaGraphExecDestroy")

    def launch(self, graph: Resource, stream: Resource) -> None:
        """Queue all the work of a graph."""
        self._call("cudaGraphLaunch", graph.handle, stream.handle)

    def _find(self, gpu: Gpu) -> int:
        """CUDA's number of the GPU, which need not be the driver's."""
        names = []
        for ordinal in range(self._call("cudaGetDeviceCount")):
            properties = self._call("cudaGetDeviceProperties", ordinal)
            names.append(properties.name.decode())
            # A slice of a GPU has a longer name: "NVIDIA H200 MIG 1g.18gb".
            if names[-1] == gpu.name or names[-1].startswith(f"{gpu.name} MIG"):
                return ordinal
        raise MissingToolError(
            f"CUDA sees {', '.join(names) or 'no GPU'} but not the {gpu.name} of this machine; "
            "check CUDA_VISIBLE_DEVICES."
        )

    def _resource(self, handle: Any, function: str) -> Resource:
        return Resource(int(handle), lambda handle: self._give_back(function, handle))

    def _give_back(self, function: str, handle: int) -> None:
        """Free or destroy; called by the garbage collector, so in any thread and between any two lines."""
        late = self._late.get(threading.get_ident())
        if late is not None:
            late.append((function, handle))  # a capture would be spoilt
            return
        try:
            self._call(function, handle)
        except KouboError as error:
            _log.warning("%s", error)

    def _call(self, function: str, *arguments: Any) -> Any:
        return self._check(function, getattr(self._cuda, function)(*arguments))

    def _check(self, function: str, result: tuple[Any, ...]) -> Any:
        """The value that a function of CUDA gave, if any; else what went wrong, in a sentence."""
        error, *values = result
        codes = self._cuda.cudaError_t
        if error == codes.cudaSuccess:
            return values[0] if values else None
        self._cuda.cudaGetLastError()  # else the next to ask, such as TensorRT, takes the error for its own
        if error == codes.cudaErrorMemoryAllocation:
            raise GpuError(
                "The GPU is out of memory; load fewer presenters or a smaller mouth, or close other "
                "programs that use it."
            )
        text = self._cuda.cudaGetErrorString(error)[1].decode()
        if error in (codes.cudaErrorInsufficientDriver, codes.cudaErrorNoDevice):
            raise MissingToolError(
                f"CUDA finds no GPU to work with ({text}); install a newer NVIDIA driver, or an older "
                "cuda-bindings that fits yours."
            )
        raise GpuError(f"The GPU refuses {function} ({text}); restart Koubo, and the machine if it persists.")


def _cuda_runtime() -> Any:
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        raise MissingToolError(NOT_INSTALLED) from error
    return runtime
