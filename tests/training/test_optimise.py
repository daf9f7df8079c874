from __future__ import annotations

import pytest
import torch
from small_training import small_settings
from torch import nn

from glioscope.training.optimise import Optimiser


def _network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))


def _updates(network, optimiser, count, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rates = []
    for _ in range(count):
        network(torch.rand(4, 2, 8, 8, generator=generator)).square().mean().backward()
        rates.append(optimiser.learning_rate)
        optimiser.update()
    return rates


@pytest.mark.parametrize(
    ("schedule", "first", "highest_at", "last"),
    [("constant", 1.0, 0, 1.0), ("one_cycle", 0.04, 30, 0.001), ("cosine", 1.0, 0, 0.001)],
)
def test_schedules(schedule, first, highest_at, last):
    network = _network()
    optimiser = Optimiser(network, small_settings(schedule=schedule, learning_rate=1e-3), updates=100)
    rates = [rate / 1e-3 for rate in _updates(network, optimiser, 100)]
    assert rates[0] == pytest.approx(first)
    assert rates.index(max(rates)) == pytest.approx(highest_at, abs=2)
    assert max(rates) == pytest.approx(1, rel=1e-3)
    assert rates[-1] == pytest.approx(last, abs=2e-3)


def test_a_run_of_one_update_has_a_schedule_too():
    network = _network()
    _updates(network, Optimiser(network, small_settings(schedule="one_cycle"), updates=1), 1)


@pytest.mark.parametrize(("clip", "limit"), [({"clip_value": 1e-3}, 1e-3), ({"clip_norm": 1e-3}, 1e-3)])
def test_clipping(clip, limit):
    network = _network()
    optimiser = Optimiser(network, small_settings(**({"clip_norm": 0, "clip_value": 0} | clip)), updates=10)
    network(torch.rand(4, 2, 8, 8)).square().sum().backward()
    seen = []
    optimiser.optimizer.register_step_pre_hook(
        lambda *_: seen.append(torch.cat([parameter.grad.flatten() for parameter in network.parameters()]))
    )
    optimiser.update()
    size = seen[0].abs().max() if "clip_value" in clip else seen[0].norm()
    assert float(size) == pytest.approx(limit, rel=1e-3)


def test_averaged_weights_lag_behind_and_hold_batch_norms_statistics():
    network = _network()
    optimiser = Optimiser(network, small_settings(ema=0.9), updates=50)
    start = network[0].weight.detach().clone()
    _updates(network, optimiser, 20)
    averaged = optimiser.validated
    assert averaged is not network
    moved = (network[0].weight - start).norm()
    assert 0 < (averaged[0].weight - start).norm() < moved
    assert not torch.equal(averaged[1].running_mean, torch.zeros(4))
    assert averaged[1].num_batches_tracked == network[1].num_batches_tracked


def test_without_averaging_the_network_itself_counts():
    network = _network()
    assert Optimiser(network, small_settings(ema=0.0), updates=5).validated is network


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
@pytest.mark.parametrize("schedule", ["constant", "one_cycle", "cosine"])
def test_a_restored_state_goes_on_to_the_same_bits(optimizer, schedule, tmp_path):
    settings = small_settings(optimizer=optimizer, schedule=schedule, ema=0.9)
    straight = _network()
    optimiser = Optimiser(straight, settings, updates=20)
    _updates(straight, optimiser, 7, seed=1)
    torch.save({"network": straight.state_dict()} | optimiser.state(), tmp_path / "state.pt")
    _updates(straight, optimiser, 13, seed=2)

    resumed = _network()
    again = Optimiser(resumed, settings, updates=20)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    resumed.load_state_dict(state["network"])
    again.restore(state)
    _updates(resumed, again, 13, seed=2)
    for one, other in ((straight, resumed), (optimiser.validated, again.validated)):
        assert all(
            torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
        )
