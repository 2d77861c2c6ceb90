"""Decoders that draw a part of their square: there, exactly what the whole one draws."""

from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from numpy.typing import NDArray

from engine.mouth.openvino_graph import channels_last, flatten_tail, restrict
from engine.mouth.region import Region
from engine.mouth.sheet import MOUTH_DECODER, MouthSheet, read_sheet
from tests.conv_mouth import write_conv_mouth
from tests.tiny_mouth import write_tiny_mouth

SIZE = 128
REGIONS = {
    "middle": Region(36, 44, 92, 88),
    "a corner": Region(0, 0, 40, 40),
    "the other corner": Region(96, 72, 128, 128),
    "odd edges": Region(31, 57, 64, 63),
    "a band": Region(0, 60, 128, 70),
    "one pixel": Region(77, 41, 78, 42),
    "all": Region.whole(SIZE),
}
Arrays = dict[str, NDArray[np.generic]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_conv_mouth(tmp_path_factory.mktemp("mouth"), SIZE)


def decoder(folder: Path) -> tuple[ov.Model, MouthSheet]:
    sheet = read_sheet(folder)
    model = ov.Core().read_model(str(folder / MOUTH_DECODER))
    shapes = {name: [1, *shape] for name, shape in zip(sheet.map_names, sheet.maps, strict=True)}
    model.reshape({"mel": [1, 80, 16], **shapes})
    return model, sheet


def values(sheet: MouthSheet) -> Arrays:
    random = np.random.default_rng(3)
    maps = zip(sheet.map_names, sheet.maps, strict=True)
    return {
        "mel": random.uniform(-4, 2, (1, 80, 16)).astype(np.float32),
        **{name: random.normal(0, 0.5, (1, *shape)).astype(np.float16) for name, shape in maps},
    }


def draw(model: ov.Model, inputs: Arrays) -> NDArray[np.uint8]:
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    picture: NDArray[np.uint8] = compiled(inputs)[0][0]
    return picture


def cut(inputs: Arrays, boxes: dict[str, Region]) -> Arrays:
    return {
        name: each[:, :, boxes[name].rows, boxes[name].columns] if name in boxes else each
        for name, each in inputs.items()
    }


def same(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> None:
    """Equal, but for single levels where another order of sums rounds the other way."""
    apart = np.abs(one.astype(int) - other)
    assert apart.max() <= 1
    assert np.count_nonzero(apart) <= 0.001 * apart.size


@pytest.mark.parametrize("region", REGIONS.values(), ids=REGIONS)
def test_a_region_is_drawn_as_the_whole_is(folder: Path, region: Region) -> None:
    model, sheet = decoder(folder)
    inputs = values(sheet)
    whole = draw(model, inputs)
    assert whole.std() > 5
    boxes = restrict(model, region)
    assert boxes is not None
    part = region.within(boxes["picture"])
    drawn = draw(model, cut(inputs, boxes))
    same(drawn[part.rows, part.columns], whole[region.rows, region.columns])


def test_little_more_is_drawn_than_asked_for(folder: Path) -> None:
    model, _ = decoder(folder)
    region = REGIONS["middle"]
    boxes = restrict(model, region)
    assert boxes is not None
    assert boxes["picture"] == Region(region.left - 2, region.top - 2, region.right + 2, region.bottom + 2)
    # Half the size: what the deconvolution reads, and a pixel for the residual convolution there.
    assert boxes["skip2"] == Region(16, 20, 49, 47)
    assert boxes["skip0"] == boxes["skip1"] == boxes["picture"]
    assert "skip3" not in boxes


def test_a_constant_picture_is_cut_too(tmp_path: Path) -> None:
    model, sheet = decoder(write_tiny_mouth(tmp_path, SIZE))
    inputs = values(sheet)
    region = REGIONS["odd edges"]
    whole = draw(model, inputs)
    boxes = restrict(model, region)
    assert boxes == {"picture": region, "skip0": region}
    np.testing.assert_array_equal(draw(model, cut(inputs, boxes)), whole[region.rows, region.columns])


def test_what_is_not_understood_is_left_as_it_is(tmp_path: Path) -> None:
    model, sheet = decoder(write_conv_mouth(tmp_path, SIZE, odd="ReduceMean"))
    inputs = values(sheet)
    whole = draw(model, inputs)
    assert restrict(model, REGIONS["middle"]) is None
    np.testing.assert_array_equal(draw(model, inputs), whole)


def test_the_flat_tail_draws_the_same(folder: Path) -> None:
    model, sheet = decoder(folder)
    inputs = values(sheet)
    whole = draw(model, inputs)
    flatten_tail(model)
    assert "Reshape" in {node.get_type_name() for node in model.get_ops()}
    tanh = next(node for node in model.get_ops() if node.get_type_name() == "Tanh")
    assert list(tanh.output(0).get_shape()) == [1, SIZE * SIZE * 3]
    same(draw(model, inputs), whole)


def test_channels_last(folder: Path) -> None:
    model, sheet = decoder(folder)
    inputs = values(sheet)
    whole = draw(model, inputs)
    turned = channels_last(model, sheet.map_names)
    last = {name: each if each.ndim == 3 else each.transpose(0, 2, 3, 1) for name, each in inputs.items()}
    same(draw(turned, {name: np.ascontiguousarray(each) for name, each in last.items()}), whole)


@pytest.mark.parametrize("side", [32, 40])
def test_small_squares_are_drawn_whole(tmp_path: Path, side: int) -> None:
    model, sheet = decoder(write_conv_mouth(tmp_path, side))
    assert restrict(model, Region(8, 8, 16, 16)) is None
    assert draw(model, values(sheet)).shape == (side, side, 3)
