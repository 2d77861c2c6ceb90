"""The anchor's detail under a drawn mouth."""

import cv2
import numpy as np
import pytest

from engine.anchor.crop import Crop, extract
from engine.picture.detail import Carried, DetailCarrier
from engine.picture.paste import Paster
from engine.picture.yuv import Levels, planes, to_i420, to_levels
from tests.engine.picture.faces import LIPS, SIDE, fine, place_in, skin, talking, with_lips

CROP = Crop(160, 120, 200, 0.0)  # twice the size of the drawn picture and more
BOX = tuple(value * SIDE for value in LIPS)
EVERYWHERE = np.ones((SIDE, SIDE), np.float32)


def carry(drawn: Levels, idle: Levels) -> Carried:
    return DetailCarrier().carry(drawn, idle, EVERYWHERE, (BOX[0], BOX[1], BOX[2], BOX[3]))


def textured(shift: int = 0) -> Levels:
    picture = skin(SIDE + 40, SIDE + 40, grain=25, seed=3)
    soft = cv2.GaussianBlur(picture, (0, 0), 1.2)
    return to_levels(np.ascontiguousarray(soft[20 - shift : 20 - shift + SIDE, 20 : 20 + SIDE]))


@pytest.mark.parametrize("shift", [0, 2, 5, -4])
def test_motion_is_found(shift: int) -> None:
    found = carry(textured(shift), textured())
    middle = found.flow[16:-16, 16:-16] * 2
    assert float(np.median(middle[..., 1])) == pytest.approx(-shift, abs=0.5)
    assert abs(float(np.median(middle[..., 0]))) < 0.4
    assert float(np.mean(found.share[24:-24, 24:-24])) > 0.9


def test_where_nothing_changes_nothing_moves() -> None:
    found = DetailCarrier().carry(
        textured(3), textured(), np.zeros((SIDE, SIDE), np.float32), (BOX[0], BOX[1], BOX[2], BOX[3])
    )
    assert not found.flow.any()


def test_what_the_anchor_does_not_show_stays_as_drawn() -> None:
    idle = textured()
    drawn = Levels(idle.luma.copy(), idle.chroma)
    drawn.luma[40:60, 36:60] = 20
    drawn.luma[48:52, 36:60] = 200
    found = carry(drawn, idle)
    assert found.share[44:56, 44:52].max() < 0.1
    assert float(found.rest.luma[44, 48] + 128) < 60


def test_new_light_lies_on_the_anchors_own_skin() -> None:
    idle = textured()
    x = np.linspace(0, 12, SIDE, dtype=np.float32)
    found = carry(Levels(idle.luma + x, idle.chroma), idle)
    middle = slice(20, -20)
    # What is added is the light alone: grey 128 is counted where nothing is taken.
    added = found.rest.luma + 128 * (1 - found.share)
    np.testing.assert_allclose(
        added[middle, middle], np.broadcast_to(x, (SIDE, SIDE))[middle, middle], atol=3
    )
    assert float(found.share[middle, middle].mean()) > 0.95


def test_pores_of_the_anchor_survive_the_coarser_mouth() -> None:
    """The drawn picture is less than half as fine; the skin around the lips keeps its finest structure."""
    anchor, place, patch = talking(CROP)
    out = Paster().paste(anchor, patch, place, 1.0)
    cheek = slice(128, 160), slice(135, 185)  # below the lips, inside the mask
    ours, true = (fine(planes(one)[0])[cheek] for one in (out, anchor))
    assert np.abs(planes(out)[0][cheek].astype(int) - planes(anchor)[0][cheek]).max() > 4
    assert 0.75 < ours.std() / true.std() < 1.3


def test_a_mole_moves_with_the_chin_and_stays_sharp() -> None:
    """The lower half of a face slides down by ten pixels and takes a mole along, too fine for the mouth."""
    face = with_lips(skin(grain=4, seed=5), CROP)
    cv2.circle(face, (160, 150), 2, (90, 60, 50), -1, cv2.LINE_AA)
    for x, y in ((130, 146), (190, 152), (150, 165), (172, 166)):
        cv2.circle(face, (x, y), 7, (170, 130, 115), -1, cv2.LINE_AA)  # broad marks that the mouth sees
    rows, columns = np.indices((240, 320), np.float32)
    slide = 10 * np.clip((rows - 110) / 20, 0, 1) * np.clip((215 - rows) / 30, 0, 1)
    truth = np.asarray(cv2.remap(face, columns, rows - slide, cv2.INTER_CUBIC), np.uint8)
    patch = np.asarray(cv2.GaussianBlur(extract(truth, CROP, SIDE), (0, 0), 1.0), np.uint8)
    anchor = to_i420(face)
    out = planes(Paster().paste(anchor, patch, place_in(anchor, CROP), 1.0))[0]
    around = out[140:175, 150:170].astype(float)
    row, column = np.unravel_index(np.argmin(cv2.GaussianBlur(around, (0, 0), 1.0)), around.shape)
    assert 140 + row == pytest.approx(160, abs=2.2)  # a pixel of the mouth's
    assert 150 + column == pytest.approx(160, abs=2.2)
    there = planes(to_i420(truth))[0][140:175, 150:170].astype(float)
    assert np.ptp(around) > 0.75 * np.ptp(there)
    grown = cv2.resize(planes(to_i420(patch))[0], (200, 200), interpolation=cv2.INTER_CUBIC)[120:155, 90:110]
    assert np.ptp(around) > 1.5 * np.ptp(grown.astype(float))  # what the mouth's own pixels show of it


def test_grain_of_the_anchor_goes_on_under_the_mouth() -> None:
    """Each picture has fresh noise; pasted skin has as much of it as the skin beside it."""
    clean = with_lips(skin(grain=0), CROP)
    patch = extract(clean, CROP, SIDE)
    light = (16 * np.clip((np.arange(SIDE) - 30) / 40, 0, 1)).astype(np.uint8)
    patch = np.asarray(cv2.add(patch, np.repeat(light[:, None, None], SIDE, 1).repeat(3, 2)), np.uint8)
    paster = Paster()
    shown = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        grainy = np.clip(clean + rng.normal(0, 4, clean.shape[:2])[..., None], 0, 255).astype(np.uint8)
        anchor = to_i420(grainy)
        out = paster.paste(anchor, patch, place_in(anchor, CROP), 1.0)
        assert planes(out)[0][150:170].mean() > planes(anchor)[0][150:170].mean() + 1
        shown.append(planes(out)[0].astype(float))
    spread = np.std(np.diff(shown, axis=0), axis=0)
    assert spread[145:170, 130:190].mean() == pytest.approx(spread[10:40, 10:60].mean(), rel=0.2)


def test_a_soft_mouth_is_drawn_with_edges_as_strong_as_the_anchors() -> None:
    idle = textured()
    soft = Levels(np.asarray(cv2.GaussianBlur(idle.luma, (0, 0), 1.0), np.float32), idle.chroma)
    soft.luma[44:50, 36:60] = 30
    found = carry(soft, idle)
    inside = found.share < 0.2
    drawn = np.abs(fine(soft.luma))[inside].mean()
    assert np.abs(fine(found.rest.luma))[inside].mean() > 1.3 * drawn
