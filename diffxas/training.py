"""One training loop for every model: Adam, cosine decay, an average of the weights, resumable.

What a step sees is a function of (seed, step) alone, so a resumed run takes the steps that the
uninterrupted one would have taken. Checkpoints are safetensors and JSON, written atomically.
"""

from __future__ import annotations

import csv
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from diffxas.errors import InputError, RunError
from diffxas.files import replacing, write_json

StepLoss = Callable[[nn.Module, int], Tensor]
"""(model, step) -> scalar loss of the batch of that step."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: steps, peak learning rate, warm-up, decay of averaged weights.

    ``compile`` has torch compile the model's interaction layers: minutes at the start and a C++
    compiler are the price, steps of half the time the gain; the numbers agree to rounding.
    """

    steps: int = 20_000
    learning_rate: float = 4e-3
    warmup: int = 200
    weight_decay: float = 0.0
    ema: float = 0.999
    clip: float = 1.0
    checkpoint_every: int = 500
    compile: bool = False

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError(f"steps must be at least 1, received {self.steps}: correct [schedule]")
        if not 0 < self.ema < 1:
            raise InputError(f"ema must be between 0 and 1, received {self.ema}: "
                             f"correct [schedule]")

    def rate(self, step: int) -> float:
        """Learning rate at a step: linear warm-up, then half a cosine to zero."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def train(
    model: nn.Module, loss: StepLoss, schedule: Schedule, folder: Path, *,
    monitor: Callable[[nn.Module], dict[str, float]] | None = None, monitor_every: int = 1000,
    title: str = "training",
) -> nn.Module:
    """Train ``model`` in place and return the averaged model; resumes from ``folder``.

    Parameters
    ----------
    loss : called once a step
    folder : receives ``checkpoint.safetensors``, ``checkpoint.json``, ``loss.csv``, ``loss.png``
    monitor : numbers to log from the averaged model (left-out data), never used to choose

    Raises
    ------
    RunError
        If the loss is not finite ten times running; the last checkpoint is valid.
    """
    from tqdm import tqdm

    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=schedule.weight_decay)
    average = AveragedModel(
        model, multi_avg_fn=get_ema_multi_avg_fn(schedule.ema), use_buffers=True
    )
    history: list[dict[str, float]] = []
    first = _restore(folder, model, average, optimizer, history)
    if schedule.compile:
        compile_layers(model)
    bad, running, begun = 0, math.nan, time.monotonic()
    bar = tqdm(range(first, schedule.steps), initial=first, total=schedule.steps, desc=title,
               mininterval=5.0)
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(step)
        optimizer.zero_grad(set_to_none=True)
        value = loss(model, step)
        if torch.isfinite(value):
            value.backward()
            nn.utils.clip_grad_norm_(model.parameters(), schedule.clip)
            optimizer.step()
            average.update_parameters(model)
            number, bad = float(value.detach()), 0
            running = number if math.isnan(running) else 0.98 * running + 0.02 * number
        else:
            bad += 1
            if bad == 10:
                raise RunError(f"the loss must stay finite, received NaN ten times at step {step}: "
                               f"lower learning_rate in [schedule] and choose another --out")
        last = step + 1 == schedule.steps
        if (step + 1) % 100 == 0 or last:
            row = {"step": step + 1, "loss": running, "seconds": time.monotonic() - begun}
            if monitor and ((step + 1) % monitor_every == 0 or last):
                row |= monitor(average.module)
            history.append(row)
            bar.set_postfix(loss=f"{running:.4f}")
        if (step + 1) % schedule.checkpoint_every == 0 or last:
            _save(folder, step + 1, model, average, optimizer, history)
    plot_losses(history, folder / "loss.png", title)
    return average.module


def compile_layers(model: nn.Module) -> None:
    """Compile every :class:`diffxas.network.Interaction` of ``model`` in place, for any size.

    Each layer is compiled by itself, so one more layer costs its own time alone. Saved names of
    weights stay what they were.

    Raises
    ------
    InputError
        If no C++ compiler is found.
    """
    import shutil

    from diffxas.network import Interaction

    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise InputError(f"compile = true must have a C++ compiler, received a machine without "
                         f"{compiler}: install one, or take compile out of [schedule]")
    torch._dynamo.config.cache_size_limit = max(64, torch._dynamo.config.cache_size_limit)
    for layer in model.modules():
        if isinstance(layer, Interaction):
            layer.compile(dynamic=True)


def _save(folder: Path, step: int, model: nn.Module, average: AveragedModel,
          optimizer: torch.optim.Optimizer, history: list[dict[str, float]]) -> None:
    from safetensors.torch import save_file

    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{k}": torch.as_tensor(v) for k, v in state.items()}
    # A step number inside the file: weights and progress can never come from two moments.
    tensors["step"] = torch.tensor(step)
    with replacing(folder / "checkpoint.safetensors") as temporary:
        save_file({k: v.clone().contiguous() for k, v in tensors.items()}, temporary)
    write_json(folder / "checkpoint.json", {"step": step, "history": history})
    columns = list(dict.fromkeys(k for row in history for k in row))
    with replacing(folder / "loss.csv") as temporary, temporary.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, columns)
        writer.writeheader()
        writer.writerows(history)


def _restore(folder: Path, model: nn.Module, average: AveragedModel,
             optimizer: torch.optim.Optimizer, history: list[dict[str, float]]) -> int:
    """Load the checkpoint in ``folder`` if there is one; the step to go on from."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / "checkpoint.safetensors"
    if not path.is_file():
        return 0
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise InputError(f"{path} must be a safetensors file, received a damaged one ({error}): "
                         f"remove {folder} and train anew") from error

    def part(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    try:
        model.load_state_dict(part("model."))
        average.load_state_dict(part("average."))
    except RuntimeError as error:
        raise InputError(f"the checkpoint in {folder} must be of this model, received another "
                         f"({str(error).splitlines()[0]}): choose another --out") from error
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in part("optimizer.").items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )
    step = int(tensors["step"])
    log = folder / "checkpoint.json"
    if log.is_file():  # a run killed between its first two files has none yet
        content: dict[str, Any] = json.loads(log.read_text(encoding="utf-8"))
        history.extend(row for row in content["history"] if row["step"] <= step)
    return step


def plot_losses(history: list[dict[str, float]], path: Path, title: str) -> None:
    """Draw every logged number against the step."""
    from diffxas.plots import loss_figure, save_figure

    save_figure(loss_figure(history, title), path)
