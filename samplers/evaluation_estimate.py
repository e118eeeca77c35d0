"""How long an evaluation will take, by one step of each of its parts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from diffxas.run_folder import RunFolder
from samplers import learning_curve
from samplers.evaluation_cells import relaxed
from samplers.evaluation_data import HELD_OUT
from samplers.evaluation_setup import Evaluation


def estimate(evaluation: Evaluation, folder: RunFolder) -> str:
    """About how long an evaluation takes from its beginning, by one step of each part."""
    import torch

    from diffxas.denoiser import PriorDenoiser, PriorNetwork
    from diffxas.prior import DenoisingLoss, PriorTraining, Sample

    options, plan, setup = evaluation.options, evaluation.curve, evaluation.setup
    reference = evaluation.reference
    middle = reference[len(reference) // 2]
    denoiser = PriorDenoiser(setup.prior, middle.structure, setup.kind)
    x = torch.tensor(middle.structure.positions)
    with torch.no_grad():
        call = _second_time(lambda: denoiser(x, 0.2))
    call *= setup.box.n_atoms / len(middle.structure)
    samples = len(evaluation.generate) * options.samples
    unseen = len(learning_curve.thinned(evaluation.data.of(HELD_OUT)))
    parts = {f"{samples} samples": samples * setup.schedule.steps * call,
             "the prior's losses": 2 * unseen * len(learning_curve.SIGMAS) * call}
    cells = samples + len(reference) + len(evaluation.quenched)
    cells += len(evaluation.generate) * evaluation.quenches
    for potential in evaluation.potentials:
        relaxation = relaxed(folder, middle.structure, potential).values
        parts[f"{cells} relaxations with {potential}"] = cells * float(relaxation["seconds"])
    if evaluation.quenches:
        relaxation = relaxed(folder, middle.structure, evaluation.quench_potential).values
        parts[f"{len(evaluation.generate)} quenches with {evaluation.quench_potential}"] = (
            _quench_seconds(evaluation, relaxation))
    if plan is not None:
        config = learning_curve.small_model(evaluation.config["elements"], 20.0)
        network = PriorNetwork(config)
        loss = DenoisingLoss([Sample(middle.structure, middle.name, "any")], network,
                             PriorTraining(batch=1))
        step = _second_time(lambda: loss(network, 0).backward())  # type: ignore[no-untyped-call]
        parts[f"a learning curve of {len(plan.sizes)} x {options.curve_steps} steps"] = (
            len(plan.sizes) * options.curve_steps * step)
    return (f"About {_duration(sum(parts.values()))}: " + ", ".join(
        f"{what} {_duration(seconds)}" for what, seconds in parts.items() if seconds > 0))


def _quench_seconds(evaluation: Evaluation, relaxation: Mapping[str, Any]) -> float:
    """Of all quenches, by the time that a step of a relaxation took."""
    from diffxas.melt_quench import default_protocol

    protocol = default_protocol([element for element, _ in evaluation.data.formula])
    steps = sum(stage.ps for stage in protocol.stages()) * 1e3 / protocol.timestep_fs
    return (len(evaluation.generate) * steps * float(relaxation["seconds"])
            / max(1, int(relaxation["steps"])))


def _second_time(work: Callable[[], object]) -> float:
    """Seconds that something takes once it is warm."""
    work()
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
