"""A trained mouth to the two networks that every runtime takes (engine.mouth.sheet tells what they are).

PyTorch's exporter folds batch norm into the convolutions; `trt_build.half` makes the graphs fp16;
`trt_build.check` asks ONNX Runtime whether they still draw what PyTorch draws in fp32.
"""

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from engine.anchor.crop import Picture, input_mask
from engine.errors import KouboError
from engine.mouth.batches import MAX_BATCH
from engine.mouth.features import face_input
from engine.mouth.sheet import MouthSheet
from engine.speech.mel import MEL_BANDS, WINDOW_COLUMNS, WINDOW_LEAD_TICKS, Mel
from training import checkpoint
from training.clip_data import FILMED_MASK_TOP
from training.models.generator import MouthDecoder, Parts
from training.models.presets import Preset, preset
from trt_build.check import Difference
from trt_build.write import write_mouth

_OPSET = 20
_CALIBRATION = 4


def export(
    checkpoint_file: Path, output: Path, trained: dict[str, Any] | None = None
) -> dict[str, Difference]:
    """Writes the mouth in `checkpoint_file` into the folder `output`, whole or not at all.

    `trained` is told in model.json (data, minutes, scores). Returns how far it is from PyTorch's, by kind of
    input. Raises KouboError for an unusable checkpoint.
    """
    state = checkpoint.read_state(checkpoint_file)
    plan = preset(state["preset"])
    parts = Parts.create(plan)
    checkpoint.load_trained(checkpoint_file, parts.named())
    return _export(plan, parts, output, trained or {}, filmed=bool(state.get("filmed")))


def export_untrained(name: str, output: Path) -> dict[str, Difference]:
    """Writes a mouth of the preset `name` with random weights: as fast as a trained one, for benchmarks.

    Raises KouboError for an unknown preset.
    """
    plan = preset(name)
    parts = untrained(plan)
    return _export(plan, parts, output, {"weights": "random, for benchmarks only"})


def untrained(plan: Preset) -> Parts:
    """Networks of random weights, the same each time, whose numbers are as large as a trained network's.

    Fresh ones would paint one grey or the idle picture whatever they hear, and then nothing can be compared.
    """
    torch.manual_seed(0)
    parts = Parts.create(plan)
    for tensor in (*parts.decoder.films.parameters(), *parts.decoder.output[-1].parameters()):
        nn.init.normal_(tensor, std=0.02)
    networks = nn.ModuleList(parts.named().values()).train()
    for module in networks.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # takes over what this one batch shows
    face = torch.rand(_CALIBRATION, 6, plan.size, plan.size) * 2 - 1
    mel = torch.rand(_CALIBRATION, 1, MEL_BANDS, WINDOW_COLUMNS) * 8 - 4
    with torch.no_grad():
        parts.decoder(parts.ear(mel), parts.face(face))
    return parts


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
) -> dict[str, Difference]:
    face = torch.zeros(2, 6, plan.size, plan.size)
    encoder = (MaskedEncoder(parts.face, plan.size) if filmed else parts.face).eval()
    decoder = MouthDecoder(parts.ear, parts.decoder).eval()
    with torch.no_grad():
        skips = encoder(face)
    sheet = MouthSheet(
        plan.name, plan.size, tuple(_shape(skip) for skip in skips), WINDOW_LEAD_TICKS, trained
    )
    mel = torch.zeros(2, 1, MEL_BANDS, WINDOW_COLUMNS)
    names = sheet.map_names
    networks = (
        _network(encoder, (face,), ["face"], names),
        _network(decoder, (mel, *skips), ["mel", *names], ["picture"]),
    )

    def draw(faces: Picture, mels: Mel) -> NDArray[np.float32]:
        with torch.no_grad():
            maps = encoder(torch.from_numpy(face_input(faces)))
            picture: NDArray[np.float32] = decoder(torch.from_numpy(mels[:, None]), *maps).numpy()
        return picture

    return write_mouth(*networks, sheet, output, draw)


def _shape(skip: torch.Tensor) -> tuple[int, int, int]:
    _, channels, height, width = skip.shape
    return channels, height, width


def _network(
    network: nn.Module, inputs: tuple[torch.Tensor, ...], names: list[str], outputs: list[str]
) -> onnx.ModelProto:
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
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
    model: onnx.ModelProto = program.model_proto
    _forget_origin(model)
    return model


def _forget_origin(model: onnx.ModelProto) -> None:
    """Drops the exporter's notes on where each operator came from: source paths of the machine it ran on."""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]
