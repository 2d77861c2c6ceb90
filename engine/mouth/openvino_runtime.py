"""MouthRuntime by OpenVINO on the CPU: bf16 where the processor has it, f32 elsewhere."""

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import openvino as ov

from engine.anchor.crop import Picture
from engine.errors import AvatarError
from engine.mouth.runtime import Features, WholeSquare
from engine.mouth.sheet import FACE_ENCODER, MOUTH_DECODER, MouthSheet, read_sheet
from engine.speech.mel import MEL_BANDS, WINDOW_COLUMNS, Mel


class OpenVinoMouth(WholeSquare):
    """Runs the mouth in a folder (engine.mouth.sheet).

    Both networks are compiled for a single face: on a CPU a batch is no faster, and so a face's picture does
    not depend on who else is drawn. One inference at a time, with all its threads; callers from several
    threads wait.
    """

    name = "openvino"

    def __init__(
        self,
        folder: Path,
        *,
        threads: int | None = None,
        cache: Path | None = None,
        precision: str | None = None,
    ) -> None:
        """Load and compile; `threads` None: all cores; `cache`: a folder for compiled networks.

        `precision` "f32" or "bf16", None: bf16 where the processor computes in it. Raises AvatarError when a
        file is missing, damaged or does not follow the contract.
        """
        self._sheet = read_sheet(folder)
        core = ov.Core()
        if cache is not None:
            core.set_property({"CACHE_DIR": str(cache)})
        self._precision = precision or ("bf16" if has_bf16(core) else "f32")
        settings: dict[str, object] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": self._precision,
        }
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        self._encoder, self._decoder = _load(core, folder, self._sheet, settings)
        self._encode_lock = threading.Lock()
        self._decode_lock = threading.Lock()

    @property
    def precision(self) -> str:
        """What it computes in: "bf16" or "f32"."""
        return self._precision

    @property
    def size(self) -> int:
        """Side of its pictures in pixels."""
        return self._sheet.size

    def encode(self, faces: Picture) -> list[Features]:
        """The features of idle faces, RGB uint8 (n, S, S, 3), in fp16."""
        features: list[Features] = []
        for face in faces:
            with self._encode_lock:
                self._encoder.infer({"face": face[None]})
                maps = [self._encoder.get_tensor(name).data[0] for name in self._sheet.map_names]
                features.append(tuple(np.copy(map_) for map_ in maps))
        return features

    def decode(self, mels: Mel, features: Sequence[Features]) -> Picture:
        """Faces that speak: mel windows float32 (n, 80, 16) on n faces -> RGB uint8 (n, S, S, 3)."""
        if len(mels) != len(features):
            raise ValueError(f"{len(mels)} mel windows for {len(features)} faces")
        pictures = np.empty((len(mels), self.size, self.size, 3), np.uint8)
        names = self._sheet.map_names
        for number, (mel, maps) in enumerate(zip(mels, features, strict=True)):
            inputs = {name: map_[None] for name, map_ in zip(names, maps, strict=True)}
            with self._decode_lock:
                self._decoder.infer({"mel": np.ascontiguousarray(mel[None]), **inputs})
                pictures[number] = self._decoder.get_tensor("picture").data[0]
        return pictures


def has_bf16(core: ov.Core | None = None) -> bool:
    """Whether this processor computes in bfloat16."""
    return "BF16" in (core or ov.Core()).get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _load(
    core: ov.Core, folder: Path, sheet: MouthSheet, settings: dict[str, object]
) -> tuple[ov.InferRequest, ov.InferRequest]:
    maps = {name: [1, *shape] for name, shape in zip(sheet.map_names, sheet.maps, strict=True)}
    face = [1, sheet.size, sheet.size, 3]
    try:
        encoder = core.read_model(str(folder / FACE_ENCODER))
        decoder = core.read_model(str(folder / MOUTH_DECODER))
        encoder.reshape({"face": face})
        decoder.reshape({"mel": [1, MEL_BANDS, WINDOW_COLUMNS], **maps})
        made = {name: list(encoder.output(name).shape) for name in maps}
        drawn = list(decoder.output("picture").shape)
        networks = [core.compile_model(network, "CPU", settings) for network in (encoder, decoder)]
    except RuntimeError as error:
        what = str(error).strip().splitlines()[-1].strip()
        raise AvatarError(f"The mouth in {folder} is damaged ({what}); export it again.") from error
    if drawn != face or made != maps:
        raise AvatarError(
            f"The mouth in {folder} is damaged (its networks do not fit its sheet); export it again."
        )
    return networks[0].create_infer_request(), networks[1].create_infer_request()
