"""How long the live half of a mouth takes on this machine."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from engine.mouth.runtime import MouthRuntime
from engine.speech.mel import MEL_BANDS, WINDOW_COLUMNS

_WARM_UP = 20


def bench_mouth(mouth: MouthRuntime, model: Path, *, frames: int = 300, seed: int = 0) -> dict[str, Any]:
    """Times `frames` single pictures on random speech windows, face features at hand as they are live."""
    random = np.random.default_rng(seed)
    faces = random.integers(0, 256, (4, mouth.size, mouth.size, 3), np.uint8)
    features = mouth.encode(faces)
    spent = []
    for index in range(frames + _WARM_UP):
        mel = random.uniform(-4, 4, (1, MEL_BANDS, WINDOW_COLUMNS)).astype(np.float32)
        start = time.perf_counter()
        mouth.decode(mel, [features[index % len(features)]])
        spent.append(1000 * (time.perf_counter() - start))
    p50, p95, p99 = np.percentile(spent[_WARM_UP:], [50, 95, 99])
    return {
        "model": model.name,
        "runtime": mouth.name,
        "precision": mouth.precision,
        "ms_per_frame": {"p50": round(p50, 2), "p95": round(p95, 2), "p99": round(p99, 2)},
    }
