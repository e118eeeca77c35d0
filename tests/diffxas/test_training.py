"""The training loop: it descends, resumes to the very bit, and fails in words."""

import csv
import json

import pytest
import torch
from torch import nn

from diffxas.errors import InputError, RunError
from diffxas.training import Schedule, train

SCHEDULE = Schedule(steps=24, learning_rate=0.05, warmup=4, checkpoint_every=10, ema=0.8)


def line(seed: int = 0, n: int = 3) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(n, 4), nn.Tanh(), nn.Linear(4, 1))


def squared_error(model: nn.Module, step: int) -> torch.Tensor:
    """Of a batch that depends on the step alone."""
    x = torch.randn(16, 3, generator=torch.Generator().manual_seed(step))
    return (model(x) - x.sum(1, keepdim=True)).square().mean()


class Stopped:
    """The loss, until somebody presses Ctrl-C."""

    def __init__(self, at: int) -> None:
        self.at, self.steps = at, []

    def __call__(self, model: nn.Module, step: int) -> torch.Tensor:
        if step == self.at:
            raise KeyboardInterrupt
        self.steps.append(step)
        return squared_error(model, step)


def assert_same(one: nn.Module, other: nn.Module) -> None:
    for (name, a), b in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_a_resumed_run_ends_with_the_weights_of_the_uninterrupted_one(tmp_path):
    whole, resumed = line(), line()
    average = train(whole, squared_error, SCHEDULE, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(resumed, Stopped(17), SCHEDULE, tmp_path / "parts")
    fresh = line(seed=1)  # what it begins with is forgotten: the checkpoint counts
    rest = Stopped(at=-1)
    resumed_average = train(fresh, rest, SCHEDULE, tmp_path / "parts")
    assert rest.steps == list(range(10, 24))
    assert_same(fresh, whole)
    assert_same(resumed_average, average)


def test_a_finished_run_takes_no_further_step(tmp_path):
    average = train(line(), squared_error, SCHEDULE, tmp_path)
    again = Stopped(at=-1)
    assert_same(train(line(1), again, SCHEDULE, tmp_path), average)
    assert again.steps == []


def test_a_run_killed_between_its_first_two_files_resumes(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(line(), Stopped(12), SCHEDULE, tmp_path)
    (tmp_path / "checkpoint.json").unlink()
    rest = Stopped(at=-1)
    train(line(), rest, SCHEDULE, tmp_path)
    assert rest.steps[0] == 10


def test_training_descends_and_the_average_is_the_exponential_one(tmp_path):
    model, seen = line(), []

    def watched(model: nn.Module, step: int) -> torch.Tensor:
        seen.append([p.detach().clone() for p in model.parameters()])
        return squared_error(model, step)

    schedule = Schedule(steps=150, learning_rate=0.05, warmup=5, ema=0.9)
    with torch.no_grad():
        before = float(squared_error(model, 1000))
    average = train(model, watched, schedule, tmp_path)
    with torch.no_grad():
        assert float(squared_error(average, 1000)) < 0.2 * before
    seen.append([p.detach().clone() for p in model.parameters()])
    expected = seen[1]  # after the first step the average is those weights
    for weights in seen[2:]:
        expected = [0.9 * e + 0.1 * w for e, w in zip(expected, weights, strict=True)]
    for e, p in zip(expected, average.parameters(), strict=True):
        torch.testing.assert_close(p.detach(), e, atol=1e-5, rtol=1e-5)


def test_losses_are_logged_and_drawn(tmp_path):
    schedule = Schedule(steps=250, learning_rate=0.01)
    train(line(), squared_error, schedule, tmp_path, monitor_every=200,
          monitor=lambda model: {"left_out": float(squared_error(model, 10_000).detach())})
    with (tmp_path / "loss.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert [int(row["step"]) for row in rows] == [100, 200, 250]
    assert all(float(row["loss"]) > 0 and float(row["seconds"]) >= 0 for row in rows)
    assert [bool(row["left_out"]) for row in rows] == [False, True, True]
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "checkpoint.json").read_text())["step"] == 250


def test_a_loss_that_stays_nan_stops_and_leaves_the_last_checkpoint(tmp_path):
    def explodes(model: nn.Module, step: int) -> torch.Tensor:
        return squared_error(model, step) * (float("nan") if step >= 11 else 1.0)

    with pytest.raises(RunError, match="NaN ten times at step 20: lower learning_rate"):
        train(line(), explodes, SCHEDULE, tmp_path)
    mended = line()
    rest = Stopped(at=-1)
    train(mended, rest, SCHEDULE, tmp_path)
    assert rest.steps[0] == 20  # a NaN changes no weights, so this checkpoint is as good
    assert all(torch.isfinite(p).all() for p in mended.parameters())


def test_single_nan_steps_are_skipped(tmp_path):
    def stumbles(model: nn.Module, step: int) -> torch.Tensor:
        return squared_error(model, step) * (float("nan") if step % 2 else 1.0)

    model = line()
    train(model, stumbles, SCHEDULE, tmp_path)
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_the_checkpoint_of_another_model_is_refused(tmp_path):
    train(line(), squared_error, SCHEDULE, tmp_path)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    with pytest.raises(InputError, match=r"must be of this model.*choose another --out"):
        train(line(n=5), squared_error, SCHEDULE, tmp_path)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before


def test_a_damaged_checkpoint_is_refused(tmp_path):
    (tmp_path / "checkpoint.safetensors").write_bytes(b"half a file")
    with pytest.raises(InputError, match="damaged"):
        train(line(), squared_error, SCHEDULE, tmp_path)


def test_the_rate_warms_up_and_decays_to_zero():
    schedule = Schedule(steps=1000, learning_rate=1e-2, warmup=100)
    assert schedule.rate(0) == pytest.approx(1e-4)
    assert schedule.rate(99) == schedule.rate(100) == pytest.approx(1e-2)
    assert schedule.rate(550) == pytest.approx(5e-3)
    assert schedule.rate(1000) == pytest.approx(0, abs=1e-12)
    rates = [schedule.rate(step) for step in range(100, 1001)]
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"ema": 1.0}, {"ema": 0.0}])
def test_impossible_schedules_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Schedule(**wrong)
