"""A CUDA device for PyTorch made of the processor: streams, pinned memory and graphs keep CUDA's promises.

What the fake is strict about: a graph's nodes read and write the very memory that they were captured with,
capturing computes nothing, a capture needs a warm-up before it and a stream of its own, and a copy to pinned
memory has not happened until its stream was waited for.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

GARBAGE = 77
"""What lies in memory that a capture has reserved and nothing has written yet."""


class FakeCuda(TorchFunctionMode):
    """While entered, `device="cuda"` works in this thread; `installed` patches `torch.cuda` to fit."""

    def __init__(self) -> None:
        super().__init__()
        self.streams: list[FakeStream] = []
        self.current: FakeStream | None = None
        self.graphs: list[FakeGraph] = []
        self.pinned: set[int] = set()
        self.runs = 0

    @contextmanager
    def installed(self, monkeypatch: pytest.MonkeyPatch) -> Iterator["FakeCuda"]:
        """The device is there within the block."""
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "Stream", lambda device: FakeStream(self))
        monkeypatch.setattr(torch.cuda, "stream", self._stream)
        monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: FakeGraph(self))
        monkeypatch.setattr(torch.cuda, "graph", self._graph)
        monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 1))
        with self:
            yield self

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is torch.device:
            return func(*args, **(kwargs or {}))
        settings = {name: _on_processor(value) for name, value in (kwargs or {}).items()}
        pinned = settings.pop("pin_memory", False)
        args = [_on_processor(value) for value in args]
        if func is torch.Tensor.copy_ and settings.get("non_blocking"):
            return self._copy_later(*args)
        # Every decoder rounds; one that is only tried for its shapes is in no stream.
        self.runs += func is torch.round and self.current is not None
        result = func(*args, **settings)
        if pinned:
            self.pinned.add(result.untyped_storage().data_ptr())
        return result

    def _copy_later(self, target: torch.Tensor, source: torch.Tensor, **_: Any) -> torch.Tensor:
        assert self.current is not None, "copied outside of a stream"
        if target.untyped_storage().data_ptr() in self.pinned:
            kept = source.clone()
            self.current.pending.append(lambda: target.copy_(kept))
            return target
        assert source.untyped_storage().data_ptr() in self.pinned, "only pinned memory is copied meanwhile"
        return target.copy_(source)

    @contextmanager
    def _stream(self, stream: "FakeStream") -> Iterator[None]:
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    @contextmanager
    def _graph(
        self, graph: "FakeGraph", *, pool: object, stream: "FakeStream", capture_error_mode: str
    ) -> Iterator[None]:
        assert stream is not None, "the default stream cannot be captured"
        assert stream is self.current
        assert self.runs, "no decoder ran before the capture"
        assert pool == (0, 1)
        assert capture_error_mode == "thread_local"
        self.runs = 0
        recorder = _Recorder()
        with recorder:
            yield
        graph.nodes = recorder.nodes
        graph.stream = stream
        for _, _, _, result in graph.nodes:
            if isinstance(result, torch.Tensor):
                result.fill_(GARBAGE)
        self.graphs.append(graph)


class FakeStream:
    """A queue of copies that happen when somebody waits for them."""

    def __init__(self, cuda: FakeCuda) -> None:
        self.pending: list[Callable[[], object]] = []
        cuda.streams.append(self)

    def synchronize(self) -> None:
        """Do what is pending."""
        for step in self.pending:
            step()
        self.pending.clear()


class FakeGraph:
    """The operations of a capture, run again on the same memory."""

    def __init__(self, cuda: FakeCuda) -> None:
        self._cuda = cuda
        self.nodes: list[tuple[Any, Any, Any, Any]] = []
        self.stream: FakeStream | None = None
        self.replays = 0

    def replay(self) -> None:
        """Every node computes again, into the memory where its capture put the result."""
        assert self._cuda.current is self.stream, "replayed in another stream"
        self.replays += 1
        for func, args, kwargs, result in self.nodes:
            result.copy_(func(*args, **kwargs))


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps each operation that makes new memory; views of it follow by themselves."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.nodes: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("operation not permitted when stream is capturing")
        result = func(*args, **(kwargs or {}))
        views = any(returned.alias_info is not None for returned in func._schema.returns)
        if not views:
            self.nodes.append((func, args, kwargs or {}, result))
        return result


def _on_processor(value: Any) -> Any:
    on_gpu = isinstance(value, (str, torch.device)) and torch.device(value).type == "cuda"
    return torch.device("cpu") if on_gpu else value
