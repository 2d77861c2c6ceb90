"""HDR to standard range, against the formulas of BT.2100."""

import numpy as np
import pytest

from engine.picture.tone import PEAK, WHITE, ToneMap, Transfer, pq_light, pq_signal, roll_off
from tests.fakes import paint_face
from tests.phone_films import display_light, hdr_signal


def sixteen(signal: np.ndarray) -> np.ndarray:
    return np.asarray(np.rint(signal * 65535), np.uint16)


def test_pq_is_that_of_the_standard() -> None:
    # BT.2100 and BT.2408: 58 % is 203 cd/m2, 75 % about 1000, 100 % is 10 000.
    assert pq_light(np.array(1.0)) == pytest.approx(10_000)
    assert pq_light(np.array(0.0)) == pytest.approx(0, abs=1e-6)
    assert pq_signal(np.array(203.0)) == pytest.approx(0.58, abs=0.002)
    assert pq_signal(np.array(1000.0)) == pytest.approx(0.752, abs=0.001)
    light = np.geomspace(0.01, 10_000, 50)
    np.testing.assert_allclose(pq_light(pq_signal(light)), light, rtol=1e-6)


def test_the_roll_off_keeps_faces_and_never_turns_back() -> None:
    light = np.linspace(0, PEAK / WHITE, 400)
    out = roll_off(light)
    assert out[0] == pytest.approx(0, abs=1e-6)
    assert out[-1] == pytest.approx(1, abs=1e-6)
    assert (np.diff(out) >= -1e-9).all()
    face = light[light < 0.44]
    np.testing.assert_allclose(roll_off(face), face, rtol=0.01)
    # No knee to be seen: the slope changes little from step to step.
    slope = np.diff(out) / np.diff(light)
    assert np.abs(np.diff(slope)).max() < 0.05


@pytest.mark.parametrize("transfer", ["pq", "hlg"])
def test_a_standard_picture_graded_to_hdr_comes_back(transfer: Transfer) -> None:
    picture = paint_face(160, 192)
    back = ToneMap(transfer)(sixteen(hdr_signal(display_light(picture), transfer)))
    assert back.dtype == np.uint8
    dark = picture.max(axis=2) < 170  # what lies below the knee comes back as it was
    away = np.abs(back.astype(int) - picture)
    assert away[dark].mean() < 1.5
    assert away[~dark].mean() < 14
    assert np.corrcoef(back.ravel(), picture.ravel())[0, 1] > 0.995


@pytest.mark.parametrize("transfer", ["pq", "hlg"])
def test_grey_stays_grey_and_grows(transfer: Transfer) -> None:
    light = np.repeat(np.geomspace(0.002, 4.9, 64)[None, :, None], 3, axis=2)
    out = ToneMap(transfer)(sixteen(hdr_signal(light, transfer))).astype(int)
    assert np.abs(np.ptp(out, axis=2)).max() <= 2
    assert (np.diff(out[0, :, 0]) >= 0).all()
    assert out[0, 0, 0] < 25
    assert out[0, -1, 0] >= 250


@pytest.mark.parametrize("transfer", ["pq", "hlg"])
def test_highlights_keep_their_hue(transfer: Transfer) -> None:
    orange = np.array([[[4.0, 2.0, 0.8]]])  # a lamp, four times as bright as paper, in BT.2020
    red, green, blue = ToneMap(transfer)(sixteen(hdr_signal(orange, transfer)))[0, 0].astype(int)
    assert red > green > blue
    assert red - blue > 60, "not burnt to white"


@pytest.mark.parametrize("transfer", ["pq", "hlg"])
def test_black_white_and_colours_outside_709_stay_in_range(transfer: Transfer) -> None:
    corners = np.array([[[r, g, b] for r in (0, 1) for g in (0, 1) for b in (0, 1)]], np.float64)
    out = ToneMap(transfer)(sixteen(corners))
    assert out[0, 0].tolist() == [0, 0, 0]
    assert out[0, 7].tolist() == [255, 255, 255]
    green = out[0, 2].astype(int)
    assert green[1] > 200 > green[0]
