"""Pictures from a mouth on made-up faces and sounds, and what ONNX Runtime draws from the same."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.anchor.crop import Picture
from engine.mouth.runtime import MouthRuntime
from engine.mouth.sheet import FACE_ENCODER, MOUTH_DECODER, read_sheet
from engine.speech.mel import Mel
from trt_build.check import session

SHIPPED = Path(__file__).parents[1] / "avatars" / "mouths" / "lite192"
"""A mouth that was trained."""


def faces(count: int, size: int, seed: int = 1) -> Picture:
    return np.random.default_rng(seed).integers(100, 250, (count, size, size, 3), dtype=np.uint8)


def sounds(count: int, seed: int = 2) -> Mel:
    return np.random.default_rng(seed).uniform(-4, 2, (count, 80, 16)).astype(np.float32)


def draw(mouth: MouthRuntime, count: int, seed: int = 1) -> Picture:
    return mouth.decode(sounds(count, seed), mouth.encode(faces(count, mouth.size, seed)))


def reference(folder: Path, count: int, seed: int = 1) -> Picture:
    """What ONNX Runtime draws on the processor, which computes fp16 graphs in fp32."""
    sheet = read_sheet(folder)
    encoder, decoder = session(folder / FACE_ENCODER), session(folder / MOUTH_DECODER)
    maps: list[NDArray[Any]] = encoder.run(sheet.map_names, {"face": faces(count, sheet.size, seed)})
    inputs = {"mel": sounds(count, seed), **dict(zip(sheet.map_names, maps, strict=True))}
    pictures: Picture = decoder.run(["picture"], inputs)[0]
    return pictures


def check_close(ours: Picture, theirs: Picture) -> None:
    """Rounding alone may differ; and the pictures are not grey, or nothing would have been compared."""
    assert ours.dtype == np.uint8
    assert ours.shape == theirs.shape
    difference = np.abs(ours.astype(int) - theirs)
    assert difference.mean() < 0.1
    assert difference.max() <= 2
    assert theirs.std() > 2


def check_threads(mouth: MouthRuntime) -> None:
    """Four threads, each with batches of its own size, get their own pictures."""
    expected = {count: draw(mouth, count, seed=count) for count in (1, 2, 3, 5)}
    wrong: list[int] = []

    def work(count: int) -> None:
        for _ in range(10):
            difference = np.abs(draw(mouth, count, seed=count).astype(int) - expected[count])
            if difference.max() > 1:
                wrong.append(count)

    threads = [threading.Thread(target=work, args=(count,)) for count in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
