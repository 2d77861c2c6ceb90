"""Decoders with int8 weights: as close as they must be, and nothing left half-written."""

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from engine.anchor.crop import Picture
from engine.errors import AvatarError, MissingToolError
from engine.mouth.onnx_file import check_network
from engine.mouth.openvino_runtime import OpenVinoMouth
from engine.mouth.region import Region
from engine.mouth.sheet import QUANTISED
from engine.speech.mel import Mel
from tests.conv_mouth import write_conv_mouth
from trt_build.quantise import Apart, quantise

SIZE = 64


def faces(count: int) -> Picture:
    return np.random.default_rng(1).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def mels(count: int) -> Mel:
    return np.random.default_rng(2).uniform(-4, 2, (count, 80, 16)).astype(np.float32)


def test_how_far_pictures_are_apart() -> None:
    one = faces(2)
    assert Apart.of(one, one) == Apart(0, 0.0, float("inf"))
    other = one.copy()
    other[0, 0, 0, 0] ^= 16
    apart = Apart.of(one, other)
    assert apart.largest == 16
    assert apart.mean == pytest.approx(16 / one.size)
    assert apart.psnr == pytest.approx(10 * np.log10(255**2 * one.size / 256))


def test_without_nncf_one_sentence_tells_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def none(name: str, *rest: Any, **named: Any) -> Any:
        if name == "nncf":
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", none)
    folder = write_conv_mouth(tmp_path, SIZE)
    with pytest.raises(MissingToolError, match=r"koubo\[quantise\]"):
        quantise(folder, faces(2), mels(4))
    assert not (folder / QUANTISED).exists()


def test_int8_that_is_not_there_is_told(tmp_path: Path) -> None:
    folder = write_conv_mouth(tmp_path, SIZE)
    with pytest.raises(AvatarError, match="koubo quantise"):
        OpenVinoMouth(folder, threads=1, precision="int8")


def test_a_foreign_int8_decoder_is_looked_at_first(tmp_path: Path) -> None:
    folder = write_conv_mouth(tmp_path, SIZE)
    (folder / QUANTISED).write_bytes(b"no network")
    with pytest.raises(AvatarError, match=QUANTISED):
        OpenVinoMouth(folder, threads=1, precision="int8")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_an_int8_decoder_draws_nearly_the_same(tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    folder = write_conv_mouth(tmp_path, SIZE)
    apart = quantise(folder, faces(6), mels(12))
    assert apart.psnr > 30
    assert sorted(path.name for path in folder.iterdir()) == [
        "face_encoder.onnx", "model.json", "mouth_decoder.onnx", QUANTISED,
    ]  # fmt: skip
    check_network(folder / QUANTISED)
    kinds = {node.op_type for node in onnx.load(str(folder / QUANTISED)).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    mouth = OpenVinoMouth(folder, threads=1, precision="int8")
    assert mouth.precision == "int8"
    region = Region(12, 20, 52, 56)
    part = mouth.restricted(region)
    assert part.region == region
    idle, heard = faces(2), mels(2)
    whole, drawn = (each.decode(heard, each.encode(idle)) for each in (mouth, part))
    inside = np.abs(whole[:, region.rows, region.columns].astype(int) - drawn[:, region.rows, region.columns])
    assert inside.max() <= 2
