import math

import pytest
import torch
from pytorch_msssim import ms_ssim
from torch import Tensor

from engine.errors import KouboError
from training.losses import (
    Weights,
    change_weight,
    feature_loss,
    gradient_loss,
    mouth_weight,
    picture_loss,
    structure_loss,
    sync_loss,
)


def pictures(size: int, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    coarse = torch.rand(2, 3, size // 8, size // 8, generator=random) * 2 - 1
    return torch.nn.functional.interpolate(coarse, (size, size), mode="bilinear")


def test_sync_loss_by_hand() -> None:
    p = torch.tensor([0.9, 0.2, 0.5, 0.4])
    right = torch.tensor([1.0, 0, 0, 0])
    wrong = (math.log(1 / 0.8) + math.log(1 / 0.5) + math.log(1 / 0.6)) / 3
    assert sync_loss(p, right).item() == pytest.approx(0.5 * math.log(1 / 0.9) + 0.5 * wrong, rel=1e-5)


@pytest.mark.parametrize("wrongs", [1, 3, 9])
def test_right_and_wrong_count_the_same(wrongs: int) -> None:
    right = torch.zeros(2, 1 + wrongs)
    right[:, 0] = 1
    half = torch.full_like(right, 0.5)
    assert sync_loss(half, right).item() == pytest.approx(math.log(2), rel=1e-5)
    always = torch.full_like(right, 0.99)
    never = torch.full_like(right, 0.01)
    assert sync_loss(always, right).item() == pytest.approx(sync_loss(never, right).item(), rel=1e-4)


def test_all_right_is_plain_cross_entropy() -> None:
    p = torch.tensor([0.5, 0.25])
    assert sync_loss(p, torch.ones(2)).item() == pytest.approx((math.log(2) + math.log(4)) / 2, rel=1e-5)
    assert sync_loss(p, torch.zeros(2)).item() == pytest.approx((math.log(2) + math.log(4 / 3)) / 2, rel=1e-5)


@pytest.mark.parametrize("value", [0.0, 1.0, 1.0001])
def test_certainty_stays_finite(value: float) -> None:
    p = torch.tensor([value, value], requires_grad=True)
    loss = sync_loss(p, torch.tensor([1.0, 0.0]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.isfinite()
    assert p.grad is not None
    assert p.grad.isfinite().all()


def test_bf16_judgements_are_read_in_fp32() -> None:
    p = torch.tensor([0.875, 0.25], dtype=torch.bfloat16)
    assert sync_loss(p, torch.tensor([1.0, 0.0])).dtype == torch.float32


def test_what_is_left_goes_to_l1() -> None:
    assert Weights(0.05, 0.1, 0.15, 0.25).l1 == pytest.approx(0.45)
    assert Weights(0, 0, 0, 0).l1 == 1
    assert Weights(0.25, 0.25, 0.25, 0.25).l1 == 0


@pytest.mark.parametrize("shares", [(0.5, 0.5, 0.1, 0.0), (-0.1, 0, 0, 0), (0, 0, 0, 1.01), (0, 0, -1, 0)])
def test_impossible_shares_are_told(shares: tuple[float, float, float, float]) -> None:
    with pytest.raises(KouboError, match="shares of the loss") as error:
        Weights(*shares)
    assert str(shares[0]) in str(error.value)
    assert str(error.value).count(".\n") == 0


def test_the_sync_share_warms_up() -> None:
    weights = Weights(sync=0.2, warm_up=100)
    assert [weights.sync_at(step) for step in (0, 25, 50, 100, 5000)] == pytest.approx(
        [0, 0.05, 0.1, 0.2, 0.2]
    )
    assert Weights(sync=0.2, warm_up=0).sync_at(1) == 0.2


@pytest.mark.parametrize("size", [192, 384])
def test_structure_is_ms_ssim(size: int) -> None:
    ours, truth = pictures(size), pictures(size, 1) * 0.3 + pictures(size) * 0.7
    expected = 1 - ms_ssim(ours / 2 + 0.5, truth / 2 + 0.5, data_range=1.0)
    assert structure_loss(ours, truth).item() == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize("size", [48, 96, 160, 161, 192])
def test_structure_works_at_every_size(size: int) -> None:
    truth = pictures(size)
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(2))
    assert structure_loss(truth, truth).item() == pytest.approx(0, abs=1e-5)
    little, much = ((truth + share * noise).clamp(-1, 1) for share in (0.05, 0.3))
    assert 0.001 < structure_loss(little, truth).item() < structure_loss(much, truth).item() < 1


def test_structure_of_opposites_gives_no_nan() -> None:
    truth = pictures(96)
    ours = (-truth).requires_grad_()
    structure_loss(ours, truth).backward()  # type: ignore[no-untyped-call]
    assert ours.grad is not None
    assert ours.grad.isfinite().all()


def test_features_are_compared_in_units_of_the_truth() -> None:
    truth = [torch.rand(2, 4, 8, 8) + 0.5, 100 * (torch.rand(2, 8, 4, 4) + 0.5)]
    assert feature_loss(truth, truth).item() == 0
    off = [1.1 * each for each in truth]
    assert feature_loss(off, truth).item() == pytest.approx(0.1, rel=1e-3)
    with pytest.raises(ValueError, match="zip"):
        feature_loss(truth[:1], truth)


def test_speech_is_weighed_where_it_changes_the_picture() -> None:
    idle = torch.zeros(1, 3, 48, 48)
    target = idle.clone()
    target[:, :, 20:30, 20:30] = 1.0
    weight = change_weight(target, idle)
    assert weight.shape == (1, 1, 48, 48)
    assert weight[0, 0, 25, 25] == 6
    assert weight[0, 0, 5, 5] == 0
    assert not change_weight(idle, idle).any()


def test_each_share_buys_its_own_term() -> None:
    ours, truth = pictures(96), pictures(96, 1)
    lips = torch.full((2, 2), 0.5)
    weight = mouth_weight(lips, 96)
    weight = weight / weight.mean()
    l1 = ((ours - truth).abs() * weight).mean()

    def cost(ms: float, gradient: float) -> float:
        return picture_loss(ours, truth, None, lips, Weights(0, 0, ms, gradient)).item()

    assert cost(0, 0) == pytest.approx(l1.item(), rel=1e-5)
    assert cost(1, 0) == pytest.approx(structure_loss(ours[:1], truth[:1]).item(), rel=1e-5)
    assert cost(0, 1) == pytest.approx(gradient_loss(ours, truth, weight).item(), rel=1e-5)
    assert cost(0.2, 0.3) == pytest.approx(0.5 * cost(0, 0) + 0.2 * cost(1, 0) + 0.3 * cost(0, 1), rel=1e-4)


def test_the_sync_share_is_taken_from_l1() -> None:
    ours, truth = pictures(96), pictures(96, 1)
    lips = torch.full((2, 2), 0.5)
    whole = picture_loss(ours, truth, None, lips, Weights(0, 0, 0, 0))
    less = picture_loss(ours, truth, None, lips, Weights(0.25, 0.25, 0, 0))
    assert less.item() == pytest.approx(whole.item() / 2, rel=1e-5)
