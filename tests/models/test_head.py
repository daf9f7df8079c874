"""The paper's head and the poolings offered beside it."""

import pytest
import torch
from torch import nn

from glioscope.models.head import Head
from glioscope.models.region import counted_of_slice


def apply(
    head: Head, features: torch.Tensor, weight: torch.Tensor, tissue: torch.Tensor | None = None, training: bool = False
):
    convolution = nn.Conv2d(features.shape[1], weight.shape[0], 1)
    convolution.weight.data = weight[:, :, None, None]
    convolution.bias.data = torch.linspace(-1, 1, weight.shape[0])
    image = torch.rand(len(features), 2, *features.shape[2:], generator=torch.Generator().manual_seed(2))
    return head(features, convolution, tissue, image=image, training=training)


@pytest.fixture
def features() -> torch.Tensor:
    return torch.randn(3, 4, 9, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def weight() -> torch.Tensor:
    return torch.randn(2, 4, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def tissue() -> torch.Tensor:
    masks = torch.zeros(3, 9, 8, dtype=torch.bool)
    masks[0, 2:7, 1:6] = True
    masks[1, 4, 4] = True
    masks[2, :, :5] = True
    return masks


def test_the_papers_logit_is_the_convolution_of_each_features_own_maximum(features, weight):
    out = apply(Head(), features, weight)
    torch.testing.assert_close(out.logits, features.amax((2, 3)) @ weight.T + torch.tensor([-1.0, 1.0]))


def test_the_papers_logit_reaches_the_heatmaps_maximum_only_for_positive_weights(features, weight):
    positive = apply(Head(), features, weight.abs())
    assert (positive.logits > positive.heatmap.amax((2, 3))).all()
    negative = apply(Head(), features, -weight.abs())
    assert (negative.logits < negative.heatmap.amax((2, 3))).any()


def test_lse_lies_between_mean_and_maximum_and_sharpens_towards_it(features, weight):
    heatmap = apply(Head(), features, weight).heatmap
    soft = apply(Head(pooling="lse", sharpness=0.01), features, weight).logits
    sharp = apply(Head(pooling="lse", sharpness=500.0), features, weight).logits
    torch.testing.assert_close(soft, heatmap.mean((2, 3)), atol=0.05, rtol=0)
    torch.testing.assert_close(sharp, heatmap.amax((2, 3)), atol=0.02, rtol=0)
    expected = (heatmap * 4).exp().mean((2, 3)).log() / 4
    torch.testing.assert_close(apply(Head(pooling="lse"), features, weight).logits, expected)


@pytest.mark.parametrize("guide", [0.0, 0.3])
@pytest.mark.parametrize("region", ["all", "tissue", "inner"])
@pytest.mark.parametrize(
    ("head", "count"),
    [
        ({"pooling": "top_k", "k": 6}, lambda area: min(6, area)),
        ({"pooling": "top_k", "k": 10_000}, lambda area: area),
        ({"pooling": "top_fraction", "fraction": 0.1}, lambda area: max(1, -(-area // 10))),
        ({"pooling": "top_fraction", "fraction": 1.0}, lambda area: area),
        ({"pooling": "top_fraction", "fraction": 1e-6}, lambda area: 1),
    ],
    ids=["k", "k-above-area", "tenth", "all-pixels", "at-least-one"],
)
def test_the_highest_counted_pixels_are_averaged(features, weight, tissue, region, guide, head, count):
    out = apply(Head(region=region, guide=guide, **head), features, weight, tissue)
    for item in range(3):
        for channel in range(2):
            pixels = out.heatmap[item, channel]
            counted = counted_of_slice(tissue[item].numpy(), region)
            pixels = pixels.flatten() if counted is None else pixels[torch.from_numpy(counted)]
            expected = pixels.sort(descending=True).values[: count(len(pixels))].mean()
            torch.testing.assert_close(out.logits[item, channel], expected)


@pytest.mark.parametrize(
    "options",
    [
        *({"pooling": pooling} for pooling in ("max", "lse", "top_k", "top_fraction")),
        {"pooling": "lse", "guide": 0.3},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_pixels_outside_the_tissue_change_no_logit_and_get_no_gradient(features, weight, tissue, options):
    head = Head(region="tissue", **options)
    changed = torch.where(tissue[:, None], features, 100.0).requires_grad_()
    out = apply(head, changed, weight, tissue)
    torch.testing.assert_close(out.logits, apply(head, features, weight, tissue).logits)
    out.logits.square().sum().backward()
    assert changed.grad.masked_select(~tissue[:, None]).abs().max() == 0
    assert torch.isfinite(changed.grad).all()
    assert (changed.grad.abs().sum((1, 2, 3)) > 0).all()


def test_the_heatmap_is_given_back_unmasked(features, weight, tissue):
    masked = apply(Head(region="tissue"), features, weight, tissue)
    torch.testing.assert_close(masked.heatmap, apply(Head(), features, weight).heatmap)


@pytest.mark.parametrize("pooling", ["max", "lse", "top_k", "top_fraction"])
def test_an_empty_mask_counts_every_pixel_of_its_slice_only(features, weight, tissue, pooling):
    tissue[1] = False
    inside = apply(Head(pooling=pooling, region="tissue"), features, weight, tissue).logits
    everywhere = apply(Head(pooling=pooling), features, weight).logits
    torch.testing.assert_close(inside[1], everywhere[1])
    assert not torch.allclose(inside[0], everywhere[0])


@pytest.mark.parametrize("guide", [0.0, 0.3])
def test_reductions_are_float32_under_autocast(features, weight, tissue, guide):
    head = Head(pooling="lse", region="tissue", guide=guide)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = apply(head, features, weight, tissue)
    assert torch.equal(rough.logits, apply(head, features, weight, tissue).logits)


def test_what_is_filtered_is_shown_and_decides(features, weight, tissue):
    plain, filtered = (
        apply(Head(pooling="lse", region="tissue", guide=guide), features, weight, tissue) for guide in (0.0, 0.3)
    )
    inside = tissue[:, None].expand_as(plain.heatmap)
    assert torch.equal(plain.heatmap[~inside], filtered.heatmap[~inside])
    assert filtered.heatmap[inside].std() < 0.9 * plain.heatmap[inside].std()
    area = tissue.flatten(1).sum(1)[:, None]
    expected = ((filtered.heatmap * 4).exp() * tissue[:, None]).sum((2, 3)).div(area).log() / 4
    torch.testing.assert_close(filtered.logits, expected)


def test_training_filters_nothing(features, weight, tissue):
    plain, filtered = (
        apply(Head(pooling="lse", region="tissue", guide=guide), features, weight, tissue, training=True)
        for guide in (0.0, 0.3)
    )
    assert torch.equal(plain.logits, filtered.logits)
    assert torch.equal(plain.heatmap, filtered.heatmap)
