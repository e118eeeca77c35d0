"""One member without 100 single-site materials of published train, scored on those.

    python experiments/cu/inner_split.py                                  # the config as it stands
    python experiments/cu/inner_split.py weigh=sites floor=0.02 schedule.steps=2000

What may be chosen is chosen here, with no validation material anywhere: these hold, as most of
validation and a third of train do, one labelled site.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from diffxas.prior import build_options, read_toml  # noqa: E402
from diffxas.training import Schedule, train  # noqa: E402
from experiments.common import ROOT, one_thread  # noqa: E402
from surrogates.datasets import SiteSpectra, joined, load_site_spectra  # noqa: E402
from surrogates.metrics import eta, mse  # noqa: E402
from surrogates.model import SurrogateConfig  # noqa: E402
from surrogates.site_loss import SiteLoss, predict_sites  # noqa: E402
from surrogates.splits import TRAINING  # noqa: E402
from surrogates.training import SurrogateTraining, configure, new_member  # noqa: E402
from surrogates.training_split import split  # noqa: E402

DATA = ROOT.parent / "shared" / "data" / "cu-K-feff" / "cu_k_feff.npz"
N_APART, SEED = 100, 5


def single_site_materials(data: Sequence[SiteSpectra]) -> list[str]:
    """Materials of published train that have one labelled site in the whole set."""
    sites: Counter[str] = Counter()
    for item in data:
        sites[item.parent] += len(item.sites)
    return sorted({d.parent for d in data if d.part == TRAINING and sites[d.parent] == 1})


def changed(content: dict[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """The config with ``key=value`` or ``section.key=value`` put in."""
    for change in changes:
        key, value = change.split("=", 1)
        *sections, last = key.split(".")
        place = content
        for section in sections:
            place = place[section]
        place[last] = json.loads(value) if value[0].isdigit() else value
    return content


def main() -> None:
    """Run it."""
    one_thread()
    content = changed(read_toml(HERE / "cu-k-feff.toml"), sys.argv[1:])
    options: SurrogateTraining = build_options(SurrogateTraining, content, "the config")
    schedule: Schedule = build_options(Schedule, options.schedule, "[schedule]")
    data = split(load_site_spectra([DATA]), options)
    baseline = np.concatenate([d.spectra for d in data if d.part == TRAINING]).mean(0)
    single = single_site_materials(data)
    order = np.random.default_rng(SEED).permutation(len(single))
    apart = {single[k] for k in order[:N_APART]}
    config = configure(data, options)
    assert isinstance(config, SurrogateConfig)
    seen = joined([item for item in data if item.parent not in apart])
    test = [item for item in data if item.parent in apart]
    network = new_member(seen, config, options.seed * 1000)
    with tempfile.TemporaryDirectory() as folder:
        average = train(network, SiteLoss(seen, config, options, 0), schedule, Path(folder))
    predicted = np.concatenate(predict_sites(average, test, config))
    true = np.concatenate([item.spectra for item in test])
    geometric = float(np.exp(np.log(mse(predicted, true)).mean()))
    print(f"{' '.join(sys.argv[1:]) or 'as it stands'}: eta {eta(predicted, true, baseline):.2f}, "
          f"geometric mean of the squared error {geometric:.5f}")


if __name__ == "__main__":
    main()
