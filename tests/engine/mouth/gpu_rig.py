"""A fake GPU with the tiny mouth's engines on it, and the same mouth by ONNX Runtime to compare with."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from engine.anchor.crop import Picture
from engine.mouth.cuda import CudaDevice
from engine.mouth.engines import EngineStore
from engine.mouth.tensorrt import TensorRtMouth
from engine.mouth.tensors import DECODER, ENCODER
from engine.speech.mel import Mel
from tests.fake_cuda import A10, FakeCuda
from tests.fake_gpu import FakeDevice, FakeTensorRt

SIZE = 32
BYTES = 1000
COUNTS = [0, 1, 3, 5, 33, 65]
NOTHING = {"device": 0, "pinned": 0, "streams": 0, "graphs": 0}


def faces(count: int, seed: int = 1) -> Picture:
    return np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def mels(count: int, seed: int = 2) -> Mel:
    return np.random.default_rng(seed).uniform(-4, 1, (count, 80, 16)).astype(np.float32)


class Trip:
    """Up to the GPU, to another place there, and down again."""

    def __init__(self, device: CudaDevice) -> None:
        self.device = device
        self.stream = device.stream()
        self.up = device.host_array((BYTES,), np.uint8)
        self.down = device.host_array((BYTES,), np.uint8)
        self.here, self.there = device.allocate(BYTES), device.allocate(BYTES)

    def queue(self) -> None:
        self.device.copy(self.here.handle, self.up.ctypes.data, BYTES, self.stream)
        self.device.copy(self.there.handle, self.here.handle, BYTES, self.stream)
        self.device.copy(self.down.ctypes.data, self.there.handle, BYTES, self.stream)


class Reference:
    """The same mouth by ONNX Runtime."""

    def __init__(self, folder: Path) -> None:
        self.encoder, self.decoder = (
            onnxruntime.InferenceSession(
                (folder / f"{part}.onnx").read_bytes(), providers=["CPUExecutionProvider"]
            )
            for part in (ENCODER, DECODER)
        )

    def maps(self, idle: Picture) -> list[Any]:
        return list(self.encoder.run(None, {"face": idle}))

    def draw(self, sound: Mel, idle: Picture) -> Picture:
        names = [value.name for value in self.encoder.get_outputs()]
        maps = dict(zip(names, self.maps(idle), strict=True))
        drawn: Picture = self.decoder.run(None, {"mel": sound, **maps})[0]
        return drawn


@dataclass
class Rig:
    """What tests of the GPU share: a fake GPU with engines of the tiny mouth for it."""

    folder: Path
    store: EngineStore
    cuda: FakeCuda
    trt: FakeTensorRt
    device: FakeDevice

    def open(self, **settings: Any) -> TensorRtMouth:
        chosen = {"gpu": A10, "store": self.store, "trt": self.trt, "device": self.device, **settings}
        return TensorRtMouth(self.folder, **chosen)


def make_rig(folder: Path, store: EngineStore, cuda: FakeCuda, version: str = "10.16.1.11") -> Rig:
    return Rig(folder, store, cuda, FakeTensorRt(cuda, version), FakeDevice(cuda))


def check_pictures(mouth: TensorRtMouth, reference: Reference, count: int, seed: int = 1) -> None:
    idle, sound = faces(count, seed), mels(count, seed + 1)
    drawn = mouth.decode(sound, mouth.encode(idle))
    assert drawn.shape == idle.shape
    assert drawn.dtype == np.uint8
    if count:
        np.testing.assert_array_equal(drawn, reference.draw(sound, idle))


def run_together(calls: Sequence[Callable[[], object]]) -> None:
    """Run each call in a thread of its own; raise what the first of them raised."""
    failed: list[BaseException] = []

    def run(call: Callable[[], object]) -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - it is raised below
            failed.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if failed:
        raise failed[0]
