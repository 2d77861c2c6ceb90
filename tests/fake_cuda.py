"""CUDA's runtime without a GPU, as strict as the real one and more suspicious.

Memory has real addresses, a stream runs nothing before someone waits for it (several then take turns by
chance), graphs record and replay. Whatever a real GPU would answer with wrong pictures or a crash raises
`GpuFault`, and stays in `FakeCuda.faults`.
"""

import bisect
import ctypes
import enum
import random
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from engine.mouth.gpu import Gpu

A10 = Gpu(0, "NVIDIA A10", "8.6", "580.65.06", 24 << 30)
"""A GPU that `FakeCuda` has."""

ALIGNMENT = 256
GARBAGE = 0xFF  # read as fp16 or float32 it is not a number


class GpuFault(AssertionError):
    """What would be undefined on a real GPU."""


class _Code(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorNoDevice = 100
    cudaErrorInvalidDevice = 101
    cudaErrorInvalidResourceHandle = 400
    cudaErrorStreamCaptureUnsupported = 900
    cudaErrorStreamCaptureInvalidated = 901


class _CopyKind(enum.IntEnum):
    cudaMemcpyDefault = 4


class _CaptureMode(enum.IntEnum):
    cudaStreamCaptureModeThreadLocal = 1


@dataclass
class _Block:
    """An allocation; its memory is never given away again, so that a late access is found out."""

    address: int
    size: int
    device: int | None
    """The GPU it lies on; None: pinned on the host."""
    memory: NDArray[np.uint8]
    alive: bool = True


@dataclass
class Work:
    """One piece of queued work: `run` it; it reads and writes these (address, size)."""

    run: Callable[[], None]
    reads: list[tuple[int, int]]
    writes: list[tuple[int, int]]
    before: dict[int, bytes] = field(default_factory=dict)
    """What the pinned memory that it reads held when it was queued."""


@dataclass
class _Stream:
    device: int
    queue: deque[Work] = field(default_factory=deque)
    captured: list[Work] | None = None
    capturing_thread: int = 0
    spoilt: bool = False


@dataclass
class _Properties:
    name: bytes


class FakeCuda:
    """cuda.bindings.runtime with GPUs of these names; `seed` decides how streams take turns.

    `memory`: bytes that they have together. `refuse_graphs`: every capture ends as a failure. `fail`: the
    code that a function of CUDA returns from now on.
    """

    cudaError_t = _Code
    cudaMemcpyKind = _CopyKind
    cudaStreamCaptureMode = _CaptureMode
    cudaStreamNonBlocking = 1
    cudaDeviceScheduleBlockingSync = 4

    def __init__(self, *names: str, seed: int = 0, memory: int = 1 << 40) -> None:
        self.names = names or (A10.name,)
        self.memory = memory
        self.refuse_graphs = False
        self.fail: dict[str, int] = {}
        self.faults: list[str] = []
        self.launches = 0
        self.copies = 0
        self._random = random.Random(seed)
        self._lock = threading.RLock()
        self._current = threading.local()
        self._handles = count(0x1000, 0x10)
        self._addresses: list[int] = []
        self._blocks: dict[int, _Block] = {}
        self._streams: dict[int, _Stream] = {}
        self._recipes: dict[int, list[Work]] = {}
        self._graphs: dict[int, list[Work]] = {}

    # What tests ask.

    @property
    def used(self) -> int:
        """Bytes that are allocated on the GPUs."""
        return sum(block.size for block in self._blocks.values() if block.alive and block.device is not None)

    @property
    def left(self) -> dict[str, int]:
        """How many of each kind of thing have not been given back."""
        alive = [block.device is not None for block in self._blocks.values() if block.alive]
        return {
            "device": sum(alive),
            "pinned": len(alive) - sum(alive),
            "streams": len(self._streams),
            "graphs": len(self._graphs) + len(self._recipes),
        }

    # Devices.

    def cudaGetDeviceCount(self) -> tuple[Any, ...]:
        if code := self._failing("cudaGetDeviceCount"):
            return code, None
        return _Code.cudaSuccess, len(self.names)

    def cudaGetDeviceProperties(self, device: int) -> tuple[Any, ...]:
        return _Code.cudaSuccess, _Properties(self.names[device].encode())

    def cudaSetDevice(self, device: int) -> tuple[Any, ...]:
        self._current.device = device
        return (_Code.cudaSuccess,)

    def cudaSetDeviceFlags(self, flags: int) -> tuple[Any, ...]:
        return (_Code.cudaSuccess if flags == self.cudaDeviceScheduleBlockingSync else self._invalid(),)

    def cudaGetLastError(self) -> tuple[Any, ...]:
        last, self._current.error = self.last_error, _Code.cudaSuccess
        return (last,)

    @property
    def last_error(self) -> _Code:
        """What went wrong last in the calling thread, until someone asks cudaGetLastError for it."""
        return getattr(self._current, "error", _Code.cudaSuccess)

    def cudaGetErrorString(self, error: int) -> tuple[Any, ...]:
        return _Code.cudaSuccess, _Code(error).name.removeprefix("cudaError").encode()

    @property
    def current(self) -> int:
        """The GPU of the calling thread."""
        return int(getattr(self._current, "device", 0))

    # Memory.

    def cudaMalloc(self, size: int) -> tuple[Any, ...]:
        return self._allocate("cudaMalloc", size, self.current)

    def cudaMallocHost(self, size: int) -> tuple[Any, ...]:
        return self._allocate("cudaMallocHost", size, None)

    def cudaFree(self, address: int) -> tuple[Any, ...]:
        return (self._free("cudaFree", address, pinned=False),)

    def cudaFreeHost(self, address: int) -> tuple[Any, ...]:
        return (self._free("cudaFreeHost", address, pinned=True),)

    def cudaMemcpyAsync(self, target: int, source: int, size: int, kind: int, stream: int) -> tuple[Any, ...]:
        if code := self._failing("cudaMemcpyAsync"):
            return (code,)
        if kind != _CopyKind.cudaMemcpyDefault or stream not in self._streams:
            return (self._invalid(),)
        work = Work(lambda: self._move(target, source, size), [(source, size)], [(target, size)])
        self.enqueue(stream, work)
        return (_Code.cudaSuccess,)

    # Streams and graphs.

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Any, ...]:
        if flags != self.cudaStreamNonBlocking:
            return self._invalid(), None
        handle = next(self._handles)
        self._streams[handle] = _Stream(self.current)
        return _Code.cudaSuccess, handle

    def cudaStreamDestroy(self, handle: int) -> tuple[Any, ...]:
        if self._streams[handle].queue:
            self.fault("a stream is destroyed with work on it")
        del self._streams[handle]
        return (_Code.cudaSuccess,)

    def cudaStreamSynchronize(self, handle: int) -> tuple[Any, ...]:
        with self._lock:
            if code := self._failing("cudaStreamSynchronize"):
                self._lose_work()
                return (code,)
            waited = self._streams[handle]
            if waited.captured is not None:
                waited.spoilt = True
                return (self._told(_Code.cudaErrorStreamCaptureUnsupported),)
            while waited.queue:
                busy = [stream for stream in list(self._streams.values()) if stream.queue]
                self._run(self._random.choice(busy).queue.popleft())
        return (_Code.cudaSuccess,)

    def cudaStreamBeginCapture(self, handle: int, mode: int) -> tuple[Any, ...]:
        stream = self._streams[handle]
        if mode != _CaptureMode.cudaStreamCaptureModeThreadLocal or stream.captured is not None:
            return (self._invalid(),)
        stream.captured, stream.spoilt, stream.capturing_thread = [], False, threading.get_ident()
        return (_Code.cudaSuccess,)

    def cudaStreamEndCapture(self, handle: int) -> tuple[Any, ...]:
        stream = self._streams[handle]
        work, stream.captured = stream.captured, None
        if work is None:
            return self._invalid(), None
        if stream.spoilt or self.refuse_graphs:
            return self._told(_Code.cudaErrorStreamCaptureInvalidated), None
        recipe = next(self._handles)
        self._recipes[recipe] = work
        return _Code.cudaSuccess, recipe

    def cudaGraphInstantiate(self, recipe: int, flags: int) -> tuple[Any, ...]:
        if code := self._failing("cudaGraphInstantiate"):
            return code, None
        graph = next(self._handles)
        self._graphs[graph] = list(self._recipes[recipe])
        return _Code.cudaSuccess, graph

    def cudaGraphDestroy(self, recipe: int) -> tuple[Any, ...]:
        del self._recipes[recipe]
        return (_Code.cudaSuccess,)

    def cudaGraphExecDestroy(self, graph: int) -> tuple[Any, ...]:
        del self._graphs[graph]
        return (_Code.cudaSuccess,)

    def cudaGraphLaunch(self, graph: int, stream: int) -> tuple[Any, ...]:
        if graph not in self._graphs:
            return (self._told(_Code.cudaErrorInvalidResourceHandle),)
        self.launches += 1
        for work in self._graphs[graph]:
            self.enqueue(stream, Work(work.run, work.reads, work.writes))
        return (_Code.cudaSuccess,)

    # What the fake TensorRT needs of the GPU.

    def enqueue(self, handle: int, work: Work) -> None:
        """Put work on a stream, or into the graph that is being captured from it."""
        with self._lock:
            stream = self._streams[handle]
            if stream.device != self.current:
                self.fault(f"a thread on GPU {self.current} uses a stream of GPU {stream.device}")
            if stream.captured is not None:
                stream.captured.append(work)
                return
            for address, size in work.reads:
                if self.block(address, size).device is None:
                    work.before[address] = ctypes.string_at(address, size)
            for address, size in work.writes:
                if self.block(address, size).device is None:
                    ctypes.memset(address, GARBAGE, size)  # undefined until the stream has been waited for
            stream.queue.append(work)

    def capturing(self, handle: int) -> bool:
        """Whether a stream is being captured."""
        return self._streams[handle].captured is not None

    def writing(self, besides: int) -> set[int]:
        """Where work that is queued on other streams will write."""
        with self._lock:
            others = [stream for handle, stream in self._streams.items() if handle != besides]
            return {address for stream in others for work in list(stream.queue) for address, _ in work.writes}

    def block(self, address: int, size: int) -> _Block:
        """The living allocation that holds all these bytes; anything else is a fault."""
        place = bisect.bisect_right(self._addresses, address) - 1
        block = self._blocks[self._addresses[place]] if place >= 0 else None
        if block is None or address + size > block.address + block.size:
            self.fault(f"{size} bytes at {address:#x} are no one's")
        if not block.alive:
            self.fault(f"{size} bytes at {address:#x} are used after they were freed")
        return block

    def _run(self, work: Work) -> None:
        try:
            for address, before in work.before.items():
                if ctypes.string_at(address, len(before)) != before:
                    self.fault("pinned memory was changed before it was copied")
            work.run()
        except GpuFault:
            self._lose_work()
            raise

    def _lose_work(self) -> None:
        """What follows when a piece of work fails."""
        for stream in self._streams.values():
            stream.queue.clear()

    def _move(self, target: int, source: int, size: int) -> None:
        self.block(target, size)
        self.block(source, size)
        self.copies += 1
        ctypes.memmove(target, source, size)

    def _allocate(self, function: str, size: int, device: int | None) -> tuple[Any, ...]:
        if code := self._failing(function):
            return code, None
        if size <= 0:
            return self._invalid(), None
        with self._lock:
            if device is not None and self.used + size > self.memory:
                return self._told(_Code.cudaErrorMemoryAllocation), None
            self._spoil_captures()
            memory = np.full(size + ALIGNMENT, GARBAGE, np.uint8)
            address = -(-memory.ctypes.data // ALIGNMENT) * ALIGNMENT
            self._blocks[address] = _Block(address, size, device, memory)
            bisect.insort(self._addresses, address)
        return _Code.cudaSuccess, address

    def _free(self, function: str, address: int, *, pinned: bool) -> _Code:
        # Called by the garbage collector too, so nothing here may change what others walk through.
        if code := self._failing(function):
            return code
        block = self._blocks.get(address)
        if block is None or not block.alive or (block.device is None) != pinned:
            self.fault(f"{function} of {address:#x}, which is not there")
        for stream in list(self._streams.values()):
            for work in list(stream.queue):
                if any(
                    block.address <= at < block.address + block.size for at, _ in work.reads + work.writes
                ):
                    self.fault(f"{function} of memory that queued work uses")
        if self._spoil_captures():
            return self._told(_Code.cudaErrorStreamCaptureUnsupported)
        block.alive = False
        return _Code.cudaSuccess

    def _spoil_captures(self) -> bool:
        """What CUDA does to this thread's captures at calls that cannot be captured."""
        mine = [
            stream
            for stream in list(self._streams.values())
            if stream.captured is not None and stream.capturing_thread == threading.get_ident()
        ]
        for stream in mine:
            stream.spoilt = True
        return bool(mine)

    def _failing(self, function: str) -> _Code | None:
        return self._told(_Code(self.fail[function])) if function in self.fail else None

    def _invalid(self) -> _Code:
        self.faults.append("an invalid value was passed to CUDA")
        return self._told(_Code.cudaErrorInvalidValue)

    def _told(self, code: _Code) -> _Code:
        self._current.error = code
        return code

    def fault(self, what: str) -> NoReturn:
        self.faults.append(what)
        raise GpuFault(what)
