"""Does guidance bring structures to a spectrum, judged by a model that did not guide?

The truth is a DFT cell whose density neither the surrogates (``a-C-without-D``) nor the judge
(``a-C-judge-without-D``) nor the prior (``a-C-no-dft``) was trained on; the target is its mean DFT
spectrum. Guided samples stand between a floor (the truth itself and another cell of its network, as
the same surrogate sees them) and a ceiling (unguided samples, a held-out melt-quenched network).

    python experiments/guided/run.py [SAMPLES]
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from diffxas.errors import InputError  # noqa: E402
from diffxas.files import write_json  # noqa: E402
from diffxas.networks import NEAR, near  # noqa: E402
from diffxas.plots import save_figure  # noqa: E402
from diffxas.prior import find_prior  # noqa: E402
from diffxas.spectrum import Spectrum  # noqa: E402
from diffxas.structure import Structure  # noqa: E402
from experiments.common import (  # noqa: E402
    dft_cells,
    dft_means,
    held_out,
    markdown,
    model_label,
    networks,
    one_thread,
    refuse_known,
    relaxed,
    shares,
    write_numbers,
)
from experiments.guided.figure import draw  # noqa: E402
from experiments.sampling import Samples, guided, unguided  # noqa: E402
from surrogates.base import Surrogate  # noqa: E402
from surrogates.loading import SHIPPED, load_surrogate  # noqa: E402
from surrogates.targets import observation_for  # noqa: E402

TRUTHS = {2.0: "d2.0_1", 3.0: "d0.0_11"}
SAMPLES, SEED = 4, 0
GUIDE, JUDGE = "a-C-without-{}", "a-C-judge-without-{}"
PRIOR, FALLBACK = "a-C-no-dft", "a-C"
HALVED, NEAR_TRUTH, UNDONE = 0.5, 1.5, 1.5
"""Asked: guided over unguided; guided over the judge's residual on the truth; relaxed over sampled.
"""


@dataclass(frozen=True, eq=False)
class Group:
    """Structures of one kind, as sampled and relaxed, and how models see them.

    ``residuals`` holds "MODEL sampled" and "MODEL relaxed" -> (n_structures,).
    """

    name: str
    sampled: list[Structure]
    relaxed_structures: list[Structure]
    rms_displacement: float
    seconds: float | None
    residuals: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def of_samples(cls, name: str, samples: Samples) -> Group:
        """What a run of the sampler left."""
        return cls(name, samples.sampled, samples.relaxed_structures,
                   float(samples.rms_displacement.mean()), float(samples.seconds.mean()))

    @classmethod
    def of_structures(cls, name: str, structures: Sequence[Structure]) -> Group:
        """Known structures, relaxed as samples are."""
        results = [relaxed(s) for s in structures]
        return cls(name, list(structures), [r.structure for r in results],
                   float(np.mean([r.rms_displacement for r in results])), None)

    def row(self, density: float, models: Sequence[str]) -> dict[str, object]:
        """A line of the table; residuals are means, the best in brackets."""
        def percent(structures: Sequence[Structure]) -> str:
            mean = np.mean([shares(s) for s in structures], 0)
            return "/".join(f"{100 * mean[k]:.0f}" for k in (2, 3, 4))

        line: dict[str, object] = {"g/cm3": str(density), "structures":
                                   f"{len(self.sampled)} {self.name}"}
        for model in models:
            for state in ("sampled", "relaxed"):
                values = self.residuals[f"{model} {state}"]
                line[f"{model}, {state}"] = f"{values.mean():.4f} ({values.min():.4f})"
        return line | {"sp/sp2/sp3": percent(self.sampled),
                       "relaxed": percent(self.relaxed_structures),
                       "moved, angstrom": self.rms_displacement, "s a sample": self.seconds}


@dataclass(frozen=True, eq=False)
class Case:
    """One density: truth, target, every group of structures, and the models that look at them."""

    density: float
    truth: Structure
    target: Spectrum
    groups: dict[str, Group]
    models: Mapping[str, Surrogate]
    unjudged: bool
    """No judge was found: the guiding surrogate judges itself, which proves little."""

    @property
    def judge(self) -> str:
        """Key of the model that decides."""
        return "guide" if self.unjudged else "judge"

    def verdict(self) -> dict[str, Any]:
        """What the issue asks for, by the judge; means over samples."""
        def mean(group: str, state: str = "sampled", model: str = self.judge) -> float:
            return float(self.groups[group].residuals[f"{model} {state}"].mean())

        over_unguided = mean("guided") / mean("unguided, any")
        over_truth = mean("guided") / mean("truth")
        undone = mean("guided", "relaxed") / mean("guided")
        return {"g/cm3": str(self.density), "judged by": self.models[self.judge].name
                + (" (the guide itself)" if self.unjudged else ""),
                "guided / unguided (any)": over_unguided,
                "guided / truth": over_truth,
                "halved, or within 1.5 of the truth": over_unguided <= HALVED
                or over_truth <= NEAR_TRUTH,
                "relaxed / sampled": undone, "at most 1.5": undone <= UNDONE,
                "same ratio, unguided": mean("unguided, any", "relaxed") / mean("unguided, any"),
                "same ratio, truth": mean("truth", "relaxed") / mean("truth")}


def prior_folder(truths: Sequence[Structure]) -> Path:
    """The prior without DFT cells; failing that the shipped one, if it does not know the truths."""
    try:
        folder = find_prior(PRIOR)
    except InputError:
        print(f"NOTE: there are no weights {PRIOR}; falling back to {FALLBACK}. The numbers below "
              f"are not those of the claim.", file=sys.stderr)
        folder = find_prior(FALLBACK)
    for truth in truths:
        refuse_known(truth, folder)
    return folder


def models_for(density: float, truth: Structure) -> dict[str, Surrogate]:
    """The guiding surrogate and, where there are weights, the judge; neither knows the truth."""
    models = {}
    names = {"guide": GUIDE.format(density), "judge": JUDGE.format(density)}
    for key, name in names.items():
        if not (SHIPPED / name / "config.json").is_file() and key == "judge":
            print(f"NOTE: there are no weights {name}: nothing but the guiding surrogate judges.",
                  file=sys.stderr)
            continue
        refuse_known(truth, SHIPPED / name)
        models[key] = load_surrogate(name)
    return models


def residuals(structures: Sequence[Structure], target: Spectrum, model: Surrogate) -> np.ndarray:
    """Rms of predicted cell mean less target over the whole grid, (n_structures,), DFT units."""
    observation, _ = observation_for(target, model.energy)
    return np.array([observation.fit(model.predict_sites(s).mean(0)).residual_rms
                     for s in structures])


def known_groups(truth: Structure) -> dict[str, Group]:
    """Floor (the truth, another cell of its network) and a held-out melt-quenched network."""
    others = [c for c in dft_cells() if c.info["parent"] == truth.info["parent"]
              and c.info["name"] != truth.info["name"]]
    held = held_out()
    quenched = [s for s in near(networks(), truth.density, NEAR) if s.info["name"] in held]
    nearest = min(quenched, key=lambda s: abs(s.density - truth.density))
    return {"quenched": Group.of_structures(
                f"held-out melt-quenched network ({nearest.info['name']})", [nearest]),
            "truth": Group.of_structures(f"the truth ({truth.info['name']})", [truth]),
            "copy": Group.of_structures(f"another cell of it ({others[0].info['name']})",
                                        others[:1])}


def run_case(density: float, truth: Structure, prior: Path, n: int) -> Case:
    """Sample, relax and judge everything at one density."""
    models = models_for(density, truth)
    guide = models["guide"]
    target = Spectrum(guide.energy, dft_means()[str(truth.info["name"])], "C", "K")
    box = round(truth.density, 4)
    groups = {
        "guided": Group.of_samples("guided", guided(
            prior, target, box, n, SEED, guide.name, f"guided-{truth.info['name']}")),
        "unguided, any": Group.of_samples("unguided, any kind", unguided(
            prior, box, n, "any", SEED, guide.name)),
        "unguided, quenched": Group.of_samples("unguided, melt-quenched kind", unguided(
            prior, box, n, "melt-quenched", SEED, guide.name)),
        **known_groups(truth)}
    for group in groups.values():
        for key, model in models.items():
            group.residuals[f"{key} sampled"] = residuals(group.sampled, target, model)
            group.residuals[f"{key} relaxed"] = residuals(group.relaxed_structures, target, model)
    return Case(density, truth, target, groups, models, "judge" not in models)


def dft_floor(case: Case) -> float:
    """Rms between the DFT spectra of the truth and of the other cell: no model in it."""
    other = case.groups["copy"].sampled[0].info["name"]
    return float(np.sqrt(np.mean((dft_means()[str(other)] - case.target.mu) ** 2)))


def main() -> None:
    """Run it."""
    one_thread()
    n = int(sys.argv[1]) if len(sys.argv) > 1 else SAMPLES
    cells = {str(c.info["name"]): c for c in dft_cells()}
    prior = prior_folder([cells[name] for name in TRUTHS.values()])
    cases = [run_case(d, cells[name], prior, n) for d, name in TRUTHS.items()]
    rows = [group.row(case.density, list(case.models)) for case in cases
            for group in case.groups.values()]
    verdicts = [case.verdict() for case in cases]
    spreads = {str(c.density): {"target_spread": float(c.target.mu.std()),
                                "dft_of_another_cell": dft_floor(c)} for c in cases}
    write_json(HERE / "expected" / "guided.json", {
        "prior": model_label(prior), "samples": n, "verdicts": verdicts, "rows": rows,
        "spreads": spreads, "residuals": {str(c.density): {
            name: group.residuals for name, group in c.groups.items()} for c in cases}})
    save_figure(draw(cases), HERE / "expected" / "guided.png")
    floors = "; ".join(f"{d} g/cm3: target's standard deviation {v['target_spread']:.4f}, DFT "
                       f"spectrum of another cell {v['dft_of_another_cell']:.4f}"
                       for d, v in spreads.items())
    note = "" if prior.name == PRIOR else (
        f"The prior {PRIOR} was missing: these are not the numbers of the claim.\n\n")
    write_numbers(HERE / "README.md", f"""{note}{n} samples of each kind, seed {SEED}; prior \
{model_label(prior)}. {floors}.

{markdown(verdicts)}
Residuals (rms over the whole grid, DFT units): mean over the structures, the best in brackets.

{markdown(rows)}""")


if __name__ == "__main__":
    main()
