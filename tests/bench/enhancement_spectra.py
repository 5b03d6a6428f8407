"""Whether a network that learnt from unpaired fields makes pictures with the targets' spectrum.

    PYTHONPATH=workflow/scripts .venv/bin/python tests/bench/enhancement_spectra.py results/enhancement.full multi-alkali cyclegan

Prints, by ring of spatial frequency, the power of all test fields' inputs and results over that of all targets, and the same
after one factor for all rings, as files may be stretched.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import yaml
from isoplan.applications.enhancement import fields
from isoplan.applications.enhancement.fields import Layout
from isoplan.applications.enhancement.networks import Enhancer, statistics
from isoplan.applications.enhancement.pairs import JUDGES, Pair, Scale
from isoplan.applications.enhancement.unpaired import RINGS, spectrum
from isoplan.config.entries import entry


def main(results: Path, pairs: str, network: str) -> None:
    study = yaml.safe_load((results / "config.yaml").read_text())
    own, seed = entry(study, "enhancements", pairs), study["seed"]
    choice = json.loads((results / "enhancements" / pairs / "choice.json").read_text())
    layout = Layout.of(choice["layout"])
    enhancer = Enhancer.load(results / "enhancers" / network / "network.safetensors")
    learnt = [fields.read(own, layout, p, seed) for p in fields.spread(layout.train, JUDGES)]
    scale = Scale.of([one.low for one in learnt], [one.high for one in learnt])
    power = {name: torch.zeros(RINGS) for name in ("input", "result", "target")}
    for place in layout.test:
        field = fields.read(own, layout, place, seed)
        level, noise = statistics(field.low)
        pair = Pair.of(field.low, field.high, scale)
        made = (enhancer.apply(field.low, level, noise) - level) / noise
        for name, one in (("input", pair.low), ("result", made), ("target", pair.high)):
            power[name] += spectrum(torch.from_numpy(one))
    print("cycles/px", *(f"{(k + 0.5) / 2 / RINGS:.2f}" for k in range(RINGS)))
    for name in ("input", "result"):
        ratio = (power[name] / power["target"]).numpy()
        alike = ratio / np.exp(np.log(ratio).mean())
        print(name, *(f"{one:.2f}" for one in ratio))
        print(f"{name}, one factor", *(f"{one:.2f}" for one in alike))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
