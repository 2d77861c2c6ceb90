"""MouthRuntime by OpenVINO on the CPU: bf16 where the processor has it, f32 elsewhere."""

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import openvino as ov

from engine.anchor.crop import Picture
from engine.anchor.package import FACE_ENCODER, MOUTH_DECODER, mouth_size
from engine.errors import AvatarError
from engine.mouth.features import face_input, to_pictures
from engine.mouth.runtime import Features
from engine.speech.mel import MEL_BANDS, WINDOW_COLUMNS, Mel


class OpenVinoMouth:
    """Runs the mouth in a folder of `face_encoder.onnx`, `mouth_decoder.onnx` and `model.json`.

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
        self._size = mouth_size(folder)
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
        self._encoder, self._decoder = _load(core, folder, self._size, settings)
        self._maps = len(self._encoder.model_outputs)
        self._encode_lock = threading.Lock()
        self._decode_lock = threading.Lock()

    @property
    def precision(self) -> str:
        """What it computes in: "bf16" or "f32"."""
        return self._precision

    @property
    def size(self) -> int:
        """Side of its pictures in pixels."""
        return self._size

    def encode(self, faces: Picture) -> list[Features]:
        """The features of idle faces, RGB uint8 (n, S, S, 3), in fp16."""
        features: list[Features] = []
        for face in face_input(faces):
            with self._encode_lock:
                self._encoder.infer({"face": face[None]})
                maps = [self._encoder.get_tensor(f"skip{k}").data[0] for k in range(self._maps)]
                features.append(tuple(feature.astype(np.float16) for feature in maps))
        return features

    def decode(self, mels: Mel, features: Sequence[Features]) -> Picture:
        """Faces that speak: mel windows float32 (n, 80, 16) on n faces -> RGB uint8 (n, S, S, 3)."""
        if len(mels) != len(features):
            raise ValueError(f"{len(mels)} mel windows for {len(features)} faces")
        pictures = np.empty((len(mels), self._size, self._size, 3), np.uint8)
        for number, (mel, maps) in enumerate(zip(mels, features, strict=True)):
            inputs = {f"skip{k}": feature[None] for k, feature in enumerate(maps)}
            with self._decode_lock:
                self._decoder.infer({"mel": np.ascontiguousarray(mel[None, None]), **inputs})
                pictures[number] = to_pictures(self._decoder.get_tensor("picture").data)[0]
        return pictures


def has_bf16(core: ov.Core | None = None) -> bool:
    """Whether this processor computes in bfloat16."""
    return "BF16" in (core or ov.Core()).get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _load(
    core: ov.Core, folder: Path, size: int, settings: dict[str, object]
) -> tuple[ov.InferRequest, ov.InferRequest]:
    try:
        encoder = core.read_model(str(folder / FACE_ENCODER))
        decoder = core.read_model(str(folder / MOUTH_DECODER))
        encoder.reshape({"face": [1, 6, size, size]})
        maps = {f"skip{k}": list(encoder.output(f"skip{k}").shape) for k in range(len(encoder.outputs))}
        decoder.reshape({"mel": [1, 1, MEL_BANDS, WINDOW_COLUMNS], **maps})
        drawn = list(decoder.output("picture").shape)
        decoder = _with_half_inputs(decoder, maps)
        networks = [core.compile_model(network, "CPU", settings) for network in (encoder, decoder)]
    except RuntimeError as error:
        what = str(error).strip().splitlines()[-1].strip()
        raise AvatarError(f"The mouth in {folder} is damaged ({what}); export it again.") from error
    if drawn != [1, 3, size, size]:
        raise AvatarError(
            f"The mouth in {folder} is damaged (it draws {drawn}, not {size} px); export it again."
        )
    return networks[0].create_infer_request(), networks[1].create_infer_request()


def _with_half_inputs(decoder: ov.Model, names: Iterable[str]) -> ov.Model:
    """The decoder that takes its feature maps in fp16, as they are kept."""
    steps = ov.preprocess.PrePostProcessor(decoder)
    for name in names:
        steps.input(name).tensor().set_element_type(ov.Type.f16)
    return steps.build()
