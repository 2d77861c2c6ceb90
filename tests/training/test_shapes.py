"""The networks' shapes, pinned: seed384 module by module, every preset by its own rules."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from training.models.audio import CODE, AudioEncoder, CodeEar
from training.models.blocks import Conv, Up
from training.models.discriminator import (
    FRAMES,
    Discriminator,
    FaceBranch,
    crop_side,
    lower_half,
    stack_frames,
)
from training.models.generator import FaceEncoder, MouthDecoder, Parts
from training.models.presets import Preset, preset, preset_names

SEED = preset("seed384")


def on_meta(build: Callable[[Preset], nn.Module], plan: Preset) -> nn.Module:
    with torch.device("meta"):
        return build(plan).eval()


def passed(modules: nn.ModuleList, x: Tensor) -> list[tuple[int, ...]]:
    """(channels, height, width) after each module."""
    shapes = []
    for module in modules:
        x = module(x)
        shapes.append(tuple(x.shape[1:]))
    return shapes


def first_conv(module: nn.Module) -> nn.Conv2d:
    return next(m for m in module.modules() if isinstance(m, nn.Conv2d))


def test_the_seed_s_face_encoder_module_by_module() -> None:
    encoder = on_meta(FaceEncoder, SEED)
    assert isinstance(encoder, FaceEncoder)
    assert passed(encoder.stages, torch.zeros(1, 6, 384, 384, device="meta")) == [
        (16, 384, 384),
        (32, 192, 192),
        (64, 96, 96),
        (128, 48, 48),
        (256, 24, 24),
        (512, 12, 12),
        (1024, 6, 6),
        (1024, 3, 3),
        (1024, 1, 1),
    ]
    convs = [first_conv(module) for module in encoder.stages]
    assert [c.kernel_size for c in convs] == [(7, 7)] + [(3, 3)] * 8
    assert [c.stride for c in convs] == [(1, 1)] + [(2, 2)] * 7 + [(1, 1)]
    assert [c.padding for c in convs] == [(3, 3)] + [(1, 1)] * 7 + [(0, 0)]
    residual = [sum(isinstance(m, Conv) and m.residual for m in stage.modules()) for stage in encoder.stages]
    assert residual == [0] + [2] * 7 + [0]


def test_the_seed_s_decoder_doubles_seven_times() -> None:
    with torch.device("meta"):
        parts = Parts.create(SEED)
    for network in parts.named().values():
        network.eval()
    seen: list[tuple[int, ...]] = []
    for stage in (parts.decoder.open, *parts.decoder.stages):
        up = next(iter(stage.children()))
        assert isinstance(up, Up)
        last = list(stage.children())[-1]
        last.register_forward_hook(lambda _, __, out: seen.append(tuple(out.shape[1:])))
        assert sum(isinstance(m, Conv) and m.residual for m in stage.modules()) == 2
    skips = parts.face(torch.zeros(1, 6, 384, 384, device="meta"))
    sound = parts.ear(torch.zeros(1, 1, 80, 16, device="meta"))
    assert sound.shape == (1, 1024)
    assert parts.decoder(sound, skips).shape == (1, 3, 384, 384)
    assert seen == [
        (1024, 3, 3),
        (1024, 6, 6),
        (512, 12, 12),
        (256, 24, 24),
        (128, 48, 48),
        (64, 96, 96),
        (32, 192, 192),
        (16, 384, 384),
    ]
    opening = next(m for m in parts.decoder.open.modules() if isinstance(m, nn.ConvTranspose2d))
    assert (opening.stride, opening.padding) == ((1, 1), (0, 0))
    assert [m.in_channels for m in parts.decoder.output.modules() if isinstance(m, nn.Conv2d)] == [32, 32]


def test_the_seed_s_discriminator_module_by_module() -> None:
    branch = on_meta(FaceBranch, SEED)
    assert isinstance(branch, FaceBranch)
    frames = torch.zeros(1, 15, 192, 384, device="meta")
    assert passed(branch.stages, frames) == [
        (16, 192, 384),
        (32, 192, 192),
        (64, 96, 96),
        (128, 48, 48),
        (256, 24, 24),
        (512, 12, 12),
        (1024, 6, 6),
        (1024, 3, 3),
        (1024, 1, 1),
    ]
    convs = [first_conv(module) for module in branch.stages]
    assert convs[0].in_channels == 3 * FRAMES
    assert [c.kernel_size for c in convs] == [(7, 7)] + [(3, 3)] * 8
    assert [c.stride for c in convs] == [(1, 1), (1, 2)] + [(2, 2)] * 6 + [(1, 1)]
    assert convs[8].padding == (0, 0)
    compress = first_conv(branch.compress)
    assert (compress.kernel_size, compress.in_channels) == ((1, 1), 1024)
    assert branch(frames).shape == (1, 512, 1, 1)


def test_the_seed_s_size_is_the_one_measured() -> None:
    with torch.device("meta"):
        parts = Parts.create(SEED)
    weights = sum(p.numel() for network in parts.named().values() for p in network.parameters())
    assert weights / 1e6 == pytest.approx(158, rel=0.1)


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_consistent(name: str) -> None:
    plan = preset(name)
    assert plan.size == 3 * 2 ** (len(plan.widths) - 1)
    assert len(plan.discriminator.widths) == len(plan.widths)
    assert plan.code in (0, CODE)
    assert plan.code or not (plan.film or plan.from_idle)
    with torch.device("meta"):
        parts, judge = Parts.create(plan), Discriminator(plan)
    for network in (*parts.named().values(), judge):
        network.eval()
    skips = parts.face(torch.zeros(2, 6, plan.size, plan.size, device="meta"))
    assert [skip.shape[-1] for skip in skips[-2:]] == [3, 1]
    vector = parts.ear(torch.zeros(2, 1, 80, 16, device="meta"))
    assert vector.shape == (2, plan.code or plan.widths[-1])
    assert isinstance(parts.ear, CodeEar if plan.code else AudioEncoder)
    assert parts.decoder(vector, skips).shape == (2, 3, plan.size, plan.size)
    pictures = torch.zeros(2, FRAMES, 3, plan.size, plan.size, device="meta")
    frames = stack_frames(pictures, plan.size)
    assert frames.shape == (2, 15, plan.size // 2, plan.size)
    assert [m.shape[-2:] for m in judge.face.maps(frames, len(judge.face.stages))][-2:] == [(3, 3), (1, 1)]
    p_sync, verdict = judge(frames, torch.zeros(2, 1, 80, 16, device="meta"))
    assert p_sync.shape == verdict.shape == (2,)


def live_gmac(name: str) -> float:
    plan = preset(name)
    with torch.device("meta"):
        parts = Parts.create(plan)
    for network in parts.named().values():
        network.eval()
    skips = parts.face(torch.zeros(1, 6, plan.size, plan.size, device="meta"))
    with FlopCounterMode(display=False) as counter:
        MouthDecoder(parts.ear, parts.decoder)(torch.zeros(1, 1, 80, 16, device="meta"), *skips)
    return float(counter.get_total_flops()) / 2e9


def test_the_live_half_of_live384_fits_a_laptop() -> None:
    assert 0.5 < live_gmac("live384") < 2.5
    assert live_gmac("lite192") < live_gmac("live384") < live_gmac("seed384") / 4


@pytest.mark.parametrize("name", ["seed96", "lite96"])
def test_pictures_stay_within_tanh(name: str) -> None:
    torch.manual_seed(0)
    plan = preset(name)
    parts = Parts.create(plan)
    for network in parts.named().values():
        network.eval()
    torch.nn.init.normal_(list(parts.decoder.output.parameters())[-2], std=5.0)
    face = torch.rand(2, 6, plan.size, plan.size) * 2 - 1
    with torch.no_grad():
        picture = parts.decoder(parts.ear(torch.randn(2, 1, 80, 16)), parts.face(face))
    limit = 1 / 0.98 if plan.from_idle else 1
    assert picture.isfinite().all()
    assert 0.8 < picture.abs().max() <= limit + 1e-6


@pytest.mark.parametrize("side", [96, 137, 192, 384])
def test_the_judged_half_holds_the_mouth_and_no_eyes(side: int) -> None:
    """The house's crop begins at the eyes, its lips lie near 0.46 and its chin near 0.71 of the height."""
    rows = (torch.arange(side)[:, None].expand(side, side) + 0.5) / side
    half = lower_half(torch.stack([rows, rows.T, rows])[None], 96)
    assert half.shape == (1, 3, 48, 96)
    down, across = half[0, 0, :, 48], half[0, 1, 24]
    assert 0.2 < down[0] < 0.38
    assert 0.55 < down[-1] < 0.75
    assert across[48] == pytest.approx(0.5, abs=0.02)
    assert across[0] == pytest.approx(1 - float(across[-1]), abs=0.02)
    # Pixels stay square: half as many rows as columns show half the height.
    step_down, step_across = float(down[30] - down[10]), float(across[30] - across[10])
    assert step_down == pytest.approx(step_across, rel=0.05)


@pytest.mark.parametrize("name", preset_names())
def test_the_judge_s_own_crops_are_not_resampled(name: str) -> None:
    size = preset(name).size
    side = crop_side(size)
    rows = torch.arange(float(side))[:, None].expand(side, side)
    half = lower_half(torch.stack([rows, rows.T])[None], size)
    assert half.shape == (1, 2, size // 2, size)
    top, left = round(half[0, 0, 0, 0].item()), round(half[0, 1, 0, 0].item())
    torch.testing.assert_close(half[0, 0], rows[top : top + size // 2, :size])
    torch.testing.assert_close(half[0, 1], rows.T[: size // 2, left : left + size])


def test_stacked_frames_keep_their_order() -> None:
    pictures = torch.arange(FRAMES * 3.0).view(1, FRAMES, 3, 1, 1).expand(2, -1, -1, 48, 48)
    stacked = stack_frames(pictures, 48)
    assert stacked.shape == (2, 15, 24, 48)
    torch.testing.assert_close(stacked[1, :, 5, 7], torch.arange(15.0))


@pytest.fixture(scope="module")
def judge() -> Discriminator:
    torch.manual_seed(0)
    return Discriminator(preset("seed96")).eval()


def test_embeddings_are_not_negative_and_of_length_1(judge: Discriminator) -> None:
    with torch.no_grad():
        seen, heard = judge.see(torch.randn(3, 15, 48, 96)), judge.hear(torch.randn(3, 1, 80, 16) * 3)
    for vectors in (seen, heard):
        assert vectors.min() >= 0
        assert vectors.shape == (3, 128)
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))


def test_p_sync_is_the_cosine_in_0_to_1(judge: Discriminator) -> None:
    frames, mel = torch.randn(4, 15, 48, 96), torch.randn(4, 1, 80, 16)
    with torch.no_grad():
        p_sync, verdict = judge(frames, mel)
        v, s = judge.face(frames).flatten(1), judge.sound(mel)
    assert ((p_sync >= 0) & (p_sync <= 1 + 1e-6)).all()
    torch.testing.assert_close(p_sync, torch.cosine_similarity(v, s))
    assert verdict.shape == (4,)


def test_a_dead_embedding_gives_0_not_nan(judge: Discriminator) -> None:
    dead = torch.nn.functional.normalize(torch.zeros(2, 128, requires_grad=True), dim=1, eps=1e-6)
    alive = torch.rand(2, 128)
    p_sync, _ = judge.compare(dead, alive)
    assert p_sync.tolist() == [0, 0]
    frames = torch.zeros(1, 15, 48, 96)
    silenced = Discriminator(preset("seed96")).eval()
    bias = dict(silenced.face.compress.named_parameters())["bias"]
    torch.nn.init.constant_(bias, -1000.0)
    p_sync, verdict = silenced(frames, torch.zeros(1, 1, 80, 16))
    assert p_sync.item() == 0
    (p_sync + verdict).sum().backward()
    gradients = [p.grad for p in silenced.parameters() if p.grad is not None]
    assert gradients
    assert all(g.isfinite().all() for g in gradients)
