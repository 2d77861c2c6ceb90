"""Checkpoint to the two ONNX files that the engine runs.

face_encoder.onnx: `face` (n, 6, S, S) -> `skip0` ... `skipK`; mouth_decoder.onnx: `mel` (n, 1, 80, 16)
and the skips -> `picture` (n, 3, S, S). Batch norm is folded by the exporter; the batch is dynamic.
"""

import json
import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

from engine.anchor.crop import input_mask
from engine.errors import KouboError
from engine.speech.mel import MEL_BANDS, WINDOW_COLUMNS, WINDOW_LEAD_TICKS
from training import checkpoint
from training.clip_data import FILMED_MASK_TOP
from training.models.generator import MouthDecoder, Parts
from training.models.presets import Preset, preset

_OPSET = 20


def export(checkpoint_file: Path, output: Path, trained: dict[str, Any] | None = None) -> Path:
    """Writes the mouth in `checkpoint_file` into the folder `output`, whole or not at all.

    `trained` is told in model.json (data, minutes, scores). Raises KouboError for an unusable checkpoint.
    """
    state = checkpoint.read_state(checkpoint_file)
    plan = preset(state["preset"])
    parts = Parts.create(plan)
    checkpoint.load_trained(checkpoint_file, parts.named())
    return _export(plan, parts, output, trained or {}, filmed=bool(state.get("filmed")))


def export_untrained(name: str, output: Path) -> Path:
    """Writes a mouth of the preset `name` with random weights: as fast as a trained one, for benchmarks.

    Raises KouboError for an unknown preset.
    """
    plan = preset(name)
    torch.manual_seed(0)
    return _export(plan, Parts.create(plan), output, {"weights": "random, for benchmarks only"})


class MaskedEncoder(nn.Module):
    """A face encoder that learned from filmed clips: it blanks what the engine's own mask still shows."""

    shown: torch.Tensor

    def __init__(self, encoder: nn.Module, size: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("shown", torch.from_numpy(~input_mask(size, FILMED_MASK_TOP)).float())

    def forward(self, face: torch.Tensor) -> list[torch.Tensor]:
        """(n, 6, S, S) -> the encoder's maps."""
        whole = face[:, 3:]
        maps: list[torch.Tensor] = self.encoder(torch.cat([whole * self.shown, whole], dim=1))
        return maps


def _export(
    plan: Preset, parts: Parts, output: Path, trained: dict[str, Any], *, filmed: bool = False
) -> Path:
    output.mkdir(parents=True, exist_ok=True)
    face = torch.zeros(2, 6, plan.size, plan.size)
    encoder = (MaskedEncoder(parts.face, plan.size) if filmed else parts.face).eval()
    decoder = MouthDecoder(parts.ear, parts.decoder).eval()
    with torch.no_grad():
        skips = encoder(face)
    names = [f"skip{i}" for i in range(len(skips))]
    mel = torch.zeros(2, 1, MEL_BANDS, WINDOW_COLUMNS)
    with tempfile.TemporaryDirectory(dir=output) as scratch:
        folder = Path(scratch)
        _write(encoder, (face,), ["face"], names, folder / "face_encoder.onnx")
        _write(decoder, (mel, *skips), ["mel", *names], ["picture"], folder / "mouth_decoder.onnx")
        sheet = {
            "schema": 1,
            "preset": plan.name,
            "size": plan.size,
            "mel_lead_ticks": WINDOW_LEAD_TICKS,
            "trained": trained,
        }
        (folder / "model.json").write_text(json.dumps(sheet, indent=2, ensure_ascii=False) + "\n")
        for file in sorted(folder.iterdir()):
            file.replace(output / file.name)
    return output


def _write(
    network: nn.Module, inputs: tuple[torch.Tensor, ...], names: list[str], outputs: list[str], path: Path
) -> None:
    batch = torch.export.Dim("batch", min=1, max=64)
    shapes: Any = tuple({0: batch} for _ in inputs)
    if isinstance(network, MouthDecoder):
        shapes = ({0: batch}, tuple({0: batch} for _ in inputs[1:]))
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's notes on its own internals
        program = torch.onnx.export(
            network, inputs, input_names=names, output_names=outputs, dynamic_shapes=shapes,
            opset_version=_OPSET, dynamo=True, verbose=False,
        )  # fmt: skip
    if program is None:
        raise KouboError(
            "PyTorch could not export the network; install the versions that `koubo[train]` asks for."
        )
    model = program.model_proto
    _forget_origin(model)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _forget_origin(model: onnx.ModelProto) -> None:
    """Drops the exporter's notes on where each operator came from: source paths of the machine it ran on."""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]
