"""What is kept, what is hidden, and what the copy is said to show, with a teacher whose heatmap is known."""

from __future__ import annotations

from math import pi, sqrt
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from glioscope.models import NetworkOutput, create_model
from glioscope.training.hide import hide
from glioscope.training.loss import NONE

SIDE, BORDER = 40, 4
SPOT = 0.0088  # share of the 32 × 32 tissue: the nine pixels of a spot
REACH = 1 + 2  # from a spot's middle: the spot and the margin


class Brightness(nn.Module):
    """Its evidence for a class is the brightness of the channel of that number."""

    def forward(self, images: Tensor, tissue: Tensor) -> NetworkOutput:
        return NetworkOutput(images.amax((2, 3)), images)


def noise(count: int) -> tuple[Tensor, Tensor]:
    """Slices of three channels, grey within a square of tissue, other numbers around it."""
    images = 0.1 * torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) - 1
    tissue = torch.zeros(count, SIDE, SIDE, dtype=torch.bool)
    tissue[:, BORDER:-BORDER, BORDER:-BORDER] = True
    return images + 1.5 * tissue[:, None], tissue


def draw_spot(images: Tensor, number: int, channel: int, at: tuple[int, int], value: float = 5.0) -> None:
    row, column = at
    images[number, channel, row - 1 : row + 2, column - 1 : column + 2] = value


def place(at: tuple[int, int], reach: int = REACH) -> Tensor:
    """(H, W) True around ``at``."""
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    return torch.maximum((y - at[0]).abs(), (x - at[1]).abs()) <= reach


def changed(images: Tensor, tissue: Tensor, labels: Tensor, seed: int = 0, **options: Any) -> tuple[Tensor, Tensor]:
    choices: dict[str, Any] = {"teacher": Brightness(), "region": "tissue", "share": SPOT, "healthy": 0} | options
    return hide(images, tissue, labels, generator=torch.Generator().manual_seed(seed), **choices)


def differs(copies: Tensor, images: Tensor) -> Tensor:
    return (copies != images).any(1)


PLACES = [(10, 10), (10, 29), (29, 10), (29, 29), (20, 20)]


@pytest.mark.parametrize("healthy", [0, None])
def test_what_the_copy_shows_follows_from_what_is_left_of_it(healthy: int | None) -> None:
    images, tissue = noise(len(PLACES))
    labels = torch.tensor([1, 2, 1, 1, 2])
    for number, at in enumerate(PLACES):
        draw_spot(images, number, int(labels[number]), at)
    nothing = NONE if healthy is None else healthy
    seen = set()
    for seed in range(20):
        copies, shown = changed(images, tissue, labels, seed, healthy=healthy)
        hidden = differs(copies, images)
        for number, label in enumerate(labels.tolist()):
            own, other = place(PLACES[number]), place(PLACES[number - 1])
            cases = {
                "own kept": (tissue[number] & ~own, label),
                "own hidden": (own, nothing),
                "other kept": (tissue[number] & ~other, nothing),
                "other hidden": (other, label),
            }
            [found] = [name for name, (area, _) in cases.items() if torch.equal(area, hidden[number])]
            assert shown[number] == cases[found][1], found
            seen.add(found)
    assert len(seen) == 4


def test_of_a_tumour_free_slice_any_tumour_s_evidence_is_asked_for_and_it_never_shows_one() -> None:
    images, tissue = noise(2)
    for number in range(2):
        for channel in range(3):
            draw_spot(images, number, channel, PLACES[channel])
    hidden = []
    for seed in range(30):
        copies, shown = changed(images, tissue, torch.tensor([0, 0]), seed)
        assert shown.tolist() == [0, 0]
        hidden += [tuple(not differs(copies, images)[n][at] for at in PLACES[:3]) for n in range(2)]
    one_alone = {(False, True, False), (False, False, True)}
    all_but_one = {(True, False, True), (True, True, False)}
    assert one_alone | all_but_one <= set(hidden)
    assert (True, False, False) not in hidden
    assert (False, True, True) not in hidden


@pytest.mark.parametrize("share", [0.05, 0.1, 0.3])
def test_marked_is_the_share_around_the_highest_pixel_and_a_margin(share: float) -> None:
    images, tissue = noise(1)
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    images[0, 1] = -torch.hypot(y - 19.0, x - 21.0)
    wanted = share * 32 * 32
    radius = sqrt(wanted / pi)
    areas = []
    for seed in range(20):
        copies, shown = changed(images, tissue, torch.tensor([1]), seed, share=share)
        hidden = differs(copies, images)[0]
        if shown == 0 and not hidden.equal(tissue[0]):  # its own mark is gone
            assert hidden[19, 21]
            areas.append(int(hidden.sum()))
    assert areas
    assert all(wanted < area < pi * (radius + 2 * sqrt(2)) ** 2 for area in areas)


@pytest.mark.parametrize(("region", "marked"), [("all", (5, 20)), ("tissue", (5, 20)), ("inner", (25, 20))])
def test_evidence_that_does_not_count_is_not_marked(region: str, marked: tuple[int, int]) -> None:
    images, tissue = noise(1)
    draw_spot(images, 0, 1, (5, 20), 9)
    draw_spot(images, 0, 1, (25, 20), 5)
    images[0, 1, :2] = 20  # off the tissue
    share = 9.5 / 26**2 if region == "inner" else SPOT
    left = set()
    for seed in range(20):
        copies, shown = changed(images, tissue, torch.tensor([1]), seed, region=region, share=share)
        if shown == 1:
            left.add(tuple(bool(differs(copies, images)[0][at]) for at in ((5, 20), (25, 20))))
    assert left == {(False, False), (marked != (5, 20), marked != (25, 20))}


def test_hidden_pixels_hold_the_tissue_s_mean_and_nothing_off_the_tissue_changes() -> None:
    images, tissue = noise(3)
    labels = torch.tensor([1, 2, 1])
    for number, at in enumerate([(4, 20), (20, 35), (20, 20)]):  # two of them with a margin that leaves the tissue
        draw_spot(images, number, int(labels[number]), at)
    tissue[2, 18:] = False
    before = images.clone()
    for seed in range(10):
        copies, _ = changed(images, tissue, labels, seed)
        assert torch.equal(images, before)
        hidden = differs(copies, images)
        assert not (hidden & ~tissue).any()
        for number in range(3):
            mean = images[number][:, tissue[number]].mean(1, keepdim=True)
            torch.testing.assert_close(copies[number][:, hidden[number]], mean.expand(3, int(hidden[number].sum())))


def test_the_place_of_another_slice_leaves_the_slice_s_own_whole() -> None:
    images, tissue = noise(2)
    spots = [(20, 18), (20, 22)]
    for number, at in enumerate(spots):
        draw_spot(images, number, 1, at)
    parts = set()
    for seed in range(20):
        copies, shown = changed(images, tissue, torch.tensor([1, 1]), seed)
        for number, at in enumerate(spots):
            hidden, own = differs(copies, images)[number], place(at)
            assert hidden[own].all() or not hidden[own].any()
            other_kept = shown[number] == 0 and hidden[own].all() and not hidden[20, 4]
            parts.add((int(shown[number]), bool(hidden[own].all()), int(hidden.sum())))
            assert not other_kept or hidden.equal(own)
    beside = int((place(spots[0]) & ~place(spots[1])).sum())
    whole, own_area = 32 * 32, 49
    assert parts == {(1, False, beside), (1, False, whole - own_area), (0, True, own_area), (0, True, whole - beside)}


def test_alone_in_its_batch_a_slice_has_no_other_place() -> None:
    images, tissue = noise(1)
    draw_spot(images, 0, 1, (20, 20))
    found = set()
    for seed in range(20):
        copies, shown = changed(images, tissue, torch.tensor([1]), seed)
        found.add((int(shown), int(differs(copies, images).sum())))
    assert found == {(1, 32 * 32 - 49), (0, 49), (0, 32 * 32), (1, 0)}


def test_a_slice_without_tissue_stays_as_it_is() -> None:
    images, tissue = noise(2)
    draw_spot(images, 1, 1, (20, 20))
    tissue[0] = False
    for seed in range(10):
        copies, shown = changed(images, tissue, torch.tensor([1, 1]), seed)
        assert torch.equal(copies[0], images[0])
        assert shown[0] == 1
        assert torch.isfinite(copies).all()


@pytest.mark.parametrize(("healthy", "allowed"), [(0, {0, 1, 2}), (2, {0, 1, 2}), (None, {0, 1, 2, NONE})])
def test_none_of_the_classes_is_an_answer_only_without_a_tumour_free_class(
    healthy: int | None, allowed: set[int]
) -> None:
    images, tissue = noise(3)
    shown = torch.cat([changed(images, tissue, torch.arange(3), seed, healthy=healthy)[1] for seed in range(20)])
    assert shown.dtype == torch.int64
    assert set(shown.tolist()) == allowed


def test_equal_states_of_the_generator_give_equal_copies() -> None:
    images, tissue = noise(4)
    results = [changed(images, tissue, torch.tensor([1, 2, 0, 1]), seed, share=0.1) for seed in (1, 1, 2)]
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert not torch.equal(results[0][0], results[2][0])


@pytest.mark.parametrize("training", [True, False])
def test_the_teacher_is_as_it_was(training: bool) -> None:
    options = {"width": 4, "depth": 2, "norm": "batch", "pooling": "top_fraction", "mirror": True, "dropout": 0.5}
    teacher = create_model("gp_unet", in_channels=3, num_classes=3, **options).train(training)
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    images, tissue = noise(3)
    copies, _ = changed(images, tissue, torch.tensor([0, 1, 2]), teacher=teacher, share=0.1)
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())
    assert teacher.mirror
    assert all(module.training == training for module in teacher.modules())
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert not copies.requires_grad


def test_the_teacher_marks_without_its_dropout() -> None:
    options = {"width": 4, "depth": 2, "norm": "batch", "pooling": "top_fraction", "dropout": 0.5}
    teacher = create_model("gp_unet", in_channels=3, num_classes=3, **options)
    images, tissue = noise(3)
    labels = torch.tensor([0, 1, 2])
    results = [changed(images, tissue, labels, teacher=teacher.train(mode), share=0.1)[0] for mode in (True, False)]
    assert torch.equal(*results)
