"""MouthRuntime by PyTorch in fp16: for GPUs without TensorRT, and to compare with."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.anchor.crop import Picture
from engine.errors import KouboError, MissingToolError
from engine.mouth.batches import MAX_BATCH, chunks, padded
from engine.mouth.runtime import Features, WholeSquare
from engine.mouth.sheet import FACE_ENCODER, MOUTH_DECODER, MouthSheet, read_sheet
from engine.mouth.tensors import DECODER, ENCODER, MouthTensors
from engine.speech.mel import MEL_BANDS, WINDOW_COLUMNS, Mel

if TYPE_CHECKING:
    import torch

_WARM_UPS = 3
"""Runs before a CUDA graph is captured, in which libraries choose their algorithms and take their memory."""

_capturing = threading.Lock()
"""PyTorch allows one capture at a time in a process."""


class TorchMouth(WholeSquare):
    """Runs the mouth in a folder of `face_encoder.onnx`, `mouth_decoder.onnx` and `model.json`.

    Batches are padded to the sizes of `batches.LADDER`. On a GPU each of these sizes is a CUDA graph,
    captured when it is first needed: the first picture of a new size takes longer. Features stay on the
    device. One caller at a time; others wait.
    """

    name = "torch"
    precision = "f16"

    def __init__(self, folder: Path, *, device: str = "cuda", compiled: bool = False) -> None:
        """Load onto `device`, such as "cuda", "cuda:1" or "cpu" (no graphs there, and slow).

        `compiled`: torch.compile the decoder, which takes up to minutes for each size of batch. Raises
        MissingToolError without PyTorch or a GPU that it can use, AvatarError when a file is missing, damaged
        or does not follow the contract, KouboError when the GPU's memory is full.
        """
        _check(device)
        import torch

        from engine.mouth.onnx_torch import load_network

        self._sheet = read_sheet(folder)
        self._device = torch.device(device)
        self._compiled = compiled
        self._lock = threading.Lock()
        on_gpu = self._device.type == "cuda"
        self._stream: torch.cuda.Stream | None = None
        if on_gpu:
            self._stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        # Graphs never run at the same time, so all may use the same memory between their nodes.
        self._pool = torch.cuda.graph_pool_handle() if on_gpu else None
        self._slots: dict[int, _Slot] = {}
        tensors = MouthTensors.of(self._sheet)
        encoder = load_network(folder / FACE_ENCODER, tensors.inputs(ENCODER), tensors.outputs(ENCODER))
        decoder = load_network(folder / MOUTH_DECODER, tensors.inputs(DECODER), tensors.outputs(DECODER))
        with self._turn():
            self._encoder = encoder.to(self._device)
            self._decoder: Callable[..., tuple[torch.Tensor]] = decoder.to(self._device)
        if compiled:
            self._decoder = torch.compile(self._decoder, dynamic=False, fullgraph=True)

    @property
    def size(self) -> int:
        """Side of its pictures in pixels."""
        return self._sheet.size

    def encode(self, faces: Picture) -> list[Features]:
        """The features of idle faces, RGB uint8 (n, S, S, 3): fp16 tensors (1, C, H, W) on the device."""
        import torch

        features: list[Features] = []
        with self._turn():
            for part in chunks(len(faces)):
                batch = torch.tensor(np.ascontiguousarray(faces[part.start : part.stop])).to(self._device)
                maps = self._encoder(batch)
                # Copies, so that a face's memory is free again when its features are dropped.
                features += [
                    tuple(m[k : k + 1].clone(memory_format=torch.channels_last) for m in maps)
                    for k in range(len(part))
                ]
            self._wait()
        return features

    def decode(self, mels: Mel, features: Sequence[Features]) -> Picture:
        """Faces that speak: mel windows float32 (n, 80, 16) on n faces -> RGB uint8 (n, S, S, 3).

        Raises KouboError when the GPU's memory is full, or PyTorch cannot compile.
        """
        if len(mels) != len(features):
            raise ValueError(f"{len(mels)} mel windows for {len(features)} faces")
        pictures = np.empty((len(mels), self.size, self.size, 3), np.uint8)
        with self._turn():
            for part in chunks(len(mels)):
                here = slice(part.start, part.stop)
                slot = self._slot(len(part))
                slot.draw(mels[here], features[here])
                self._wait()
                pictures[here] = slot.pictures[: len(part)]
        return pictures

    def _slot(self, count: int) -> "_Slot":
        """The memory for `count` faces, prepared when first needed."""
        import torch

        size = padded(count)
        if size not in self._slots:
            slot = _Slot(size, self._decoder, self._sheet, self._device)
            if self._compiled:
                try:
                    slot.run()
                except torch.OutOfMemoryError:
                    raise
                except RuntimeError as error:
                    raise KouboError(
                        f"PyTorch could not compile the mouth ({_reason(error)}); run it uncompiled, or "
                        "install the C++ compiler or Triton that torch.compile needs."
                    ) from error
            if self._stream is not None:
                slot.capture(self._stream, self._pool)
            self._slots[size] = slot
        return self._slots[size]

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One caller alone, whose work goes into the mouth's own stream."""
        import torch

        stream = torch.cuda.stream(self._stream) if self._stream is not None else nullcontext()
        try:
            with self._lock, torch.no_grad(), stream:
                yield
        except torch.OutOfMemoryError as error:
            megabytes = sum(tensor.size for tensor in MouthTensors.of(self._sheet).maps) / 1e6
            raise KouboError(
                f"The GPU's memory is full: each idle picture of a presenter takes {megabytes:.1f} MB of it "
                f"at {self.size} px, and up to {MAX_BATCH} faces are drawn at once; load fewer presenters, "
                "shorten their videos, or use a smaller mouth."
            ) from error

    def _wait(self) -> None:
        if self._stream is not None:
            self._stream.synchronize()


class _Slot:
    """Fixed memory for one size of batch; on a GPU also the CUDA graph that works in it.

    `pictures`: what was drawn last, uint8 (size, S, S, 3), in memory of the host.
    """

    def __init__(
        self,
        size: int,
        decoder: "Callable[..., tuple[torch.Tensor]]",
        sheet: MouthSheet,
        device: "torch.device",
    ) -> None:
        import torch

        pinned = device.type == "cuda"
        mel = torch.zeros(size, MEL_BANDS, WINDOW_COLUMNS, device=device)
        maps = [
            torch.zeros(size, *shape, dtype=torch.float16, device=device).to(
                memory_format=torch.channels_last
            )
            for shape in sheet.maps
        ]
        self._host_mel = torch.zeros(size, MEL_BANDS, WINDOW_COLUMNS, pin_memory=pinned)
        self._picture = torch.zeros(size, sheet.size, sheet.size, 3, dtype=torch.uint8, pin_memory=pinned)
        self.pictures: Picture = self._picture.numpy()
        self._mel, self._maps = mel, maps
        # Without `self` in it, so that the memory is free as soon as the slot is dropped.
        self.run: Callable[[], torch.Tensor] = lambda: decoder(mel, *maps)[0]

    def capture(self, stream: "torch.cuda.Stream", pool: Any) -> None:
        """From now on `run` replays a CUDA graph, whose output has its own fixed memory."""
        import torch

        for _ in range(_WARM_UPS):
            self.run()
        graph = torch.cuda.CUDAGraph()
        # "thread_local": other threads may go on to take memory meanwhile.
        with (
            _capturing,
            torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"),
        ):
            picture = self.run()

        def replay() -> torch.Tensor:
            graph.replay()
            return picture

        self.run = replay

    def draw(self, mels: Mel, features: Sequence[Features]) -> None:
        """Begin to draw into `pictures`; they are there when the stream has come to its end."""
        import torch

        count = len(mels)
        np.copyto(self._host_mel.numpy()[:count], mels)
        self._mel[:count].copy_(self._host_mel[:count], non_blocking=True)
        for batch, maps in zip(self._maps, zip(*features, strict=True), strict=True):
            torch.cat(maps, out=batch[:count])
        # What an earlier batch left in the padding is drawn too, and not looked at.
        self._picture[:count].copy_(self.run()[:count], non_blocking=True)


def _check(device: str) -> None:
    """Raises MissingToolError when PyTorch cannot work on `device`."""
    try:
        import torch

        from engine.mouth import onnx_torch  # noqa: F401
    except (ImportError, OSError) as error:
        raise MissingToolError(
            f"The PyTorch runtime needs PyTorch and ONNX ({_reason(error)}); install them with "
            "`pip install torch onnx`."
        ) from error
    if torch.device(device).type == "cpu":
        return
    if not torch.cuda.is_available():
        if torch.version.cuda is None:
            raise MissingToolError(
                f"PyTorch {torch.__version__} is built for the CPU alone; install a build with CUDA, "
                "such as Linux gets by `pip install --force-reinstall torch`."
            )
        raise MissingToolError(
            f"PyTorch {torch.__version__} finds no GPU; check that the card is free and visible and that "
            f"its driver is new enough for CUDA {torch.version.cuda}."
        )
    try:
        # A build may lack the code for a very old or very new card, and only says so when asked to compute.
        (torch.ones(1, device=device) + 1).item()
    except RuntimeError as error:
        raise MissingToolError(
            f"PyTorch {torch.__version__} cannot compute on {device} ({_reason(error)}); free the card, "
            "or install a build of PyTorch for it."
        ) from error


def _reason(error: BaseException) -> str:
    """The first line of an error's text that says something; "backend raised:" announces one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line.rstrip(".") for line in lines if not line.endswith(":")), type(error).__name__)
