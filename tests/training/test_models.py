import pytest
import torch

from engine.errors import KouboError
from training.losses import Weights, gradient_loss, mouth_weight, picture_loss
from training.models.audio import CODE
from training.models.generator import MouthDecoder, Parts
from training.models.presets import preset, preset_names
from training.studio.visemes import VISEMES


@pytest.fixture(scope="module")
def parts() -> Parts:
    torch.manual_seed(0)
    parts = Parts.create(preset("lite192"))
    for network in parts.named().values():
        network.eval()
    return parts


def test_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(KouboError, match="lite192"):
        preset("giant")


def test_the_code_has_one_place_for_each_viseme() -> None:
    assert len(VISEMES) == CODE


@pytest.mark.parametrize("name", preset_names())
def test_six_halvings_end_in_3x3(name: str) -> None:
    plan = preset(name)
    assert plan.size == 3 * 2 ** (len(plan.widths) - 1)


def test_skips_shrink_to_one(parts: Parts) -> None:
    with torch.no_grad():
        skips = parts.face(torch.zeros(1, 6, 192, 192))
    sides = [skip.shape[-1] for skip in skips]
    assert sides == [192, 192, 96, 48, 24, 12, 6, 3, 1]
    assert [skip.shape[1] for skip in skips[1:8]] == list(preset("lite192").widths)


def test_an_untrained_decoder_starts_near_the_idle_picture(parts: Parts) -> None:
    face = torch.rand(2, 6, 192, 192) * 1.6 - 0.8
    with torch.no_grad():
        picture = parts.decoder(torch.rand(2, CODE), parts.face(face))
    bias = parts.decoder.state_dict()["output.1.bias"].abs().max().item()
    assert (picture - face[:, 3:]).abs().max().item() <= bias + 0.05


def test_the_live_half_listens_to_mel_and_paints(parts: Parts) -> None:
    with torch.no_grad():
        skips = parts.face(torch.zeros(3, 6, 192, 192))
        picture = MouthDecoder(parts.ear, parts.decoder)(torch.zeros(3, 1, 80, 16), *skips)
        code = parts.ear(torch.randn(3, 1, 80, 16))
    assert picture.shape == (3, 3, 192, 192)
    assert code.shape == (3, CODE)
    assert 0 <= code.min() <= code.max() <= 1


def test_a_true_picture_costs_nothing() -> None:
    picture = torch.rand(4, 3, 192, 192) * 2 - 1
    lips = torch.full((4, 2), 0.5)
    assert picture_loss(picture, picture, picture, lips, Weights()).item() == pytest.approx(0, abs=1e-5)


def test_the_same_error_costs_more_at_the_lips() -> None:
    truth = torch.zeros(4, 3, 192, 192)
    lips = torch.tensor([[0.5, 0.45]]).repeat(4, 1)
    at_lips, at_corner = truth.clone(), truth.clone()
    at_lips[:, :, 80:100, 80:110] = 0.5
    at_corner[:, :, 2:22, 2:32] = 0.5
    near = picture_loss(at_lips, truth, truth, lips, Weights())
    far = picture_loss(at_corner, truth, truth, lips, Weights())
    assert near > 2 * far


def test_blur_costs_gradient() -> None:
    truth = (torch.arange(192) % 8 < 4).float().expand(1, 3, 192, 192)
    weight = torch.ones(1, 1, 192, 192)
    blurred = torch.nn.functional.avg_pool2d(truth, 5, 1, 2)
    assert gradient_loss(blurred, truth, weight) > gradient_loss(truth * 0.9, truth, weight)


def test_weight_peaks_at_the_lips() -> None:
    weight = mouth_weight(torch.tensor([[0.25, 0.5]]), 64)[0, 0]
    assert weight.argmax().item() % 64 == pytest.approx(16, abs=1)
    assert 1 <= weight.min() < weight.max() <= 5
