"""A trained network of weights judged anew on the tests of a study, for release and for checks of what is released."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from isoplan.applications.weight_maps.summary import summary
from isoplan.applications.weight_maps.task import WeightMaps
from isoplan.applications.weight_maps.trials import BEST, ONE, Trial, tables
from isoplan.config.entries import code_of_psf, entry, told
from isoplan.networks import store
from isoplan.networks.weight_maps import TASK
from isoplan.training.task import Judgement

RESULT = "network"
JUDGED = 16  # pictures of a test, with each number of photons
COLUMNS = ["parameter", "metric", "value", "low", "high", "n"]


def recipe(study: dict, name: str) -> dict:
    """What an entry of `weight_networks` learns from."""
    own = entry(study, "weight_networks", name)
    return {
        "objects": told(study, "objects", own["objects"]),
        "psfs": [told(study, "psfs", psf) for psf in own["psfs"]],
    }


def code(study: dict, name: str) -> list[str]:
    """The classes of its PSFs, as "module:name"."""
    psfs = entry(study, "weight_networks", name)["psfs"]
    return [code_of_psf(entry(study, "psfs", psf)) for psf in psfs]


def asked(study: dict, name: str) -> list[dict]:
    """The tests that name it: test_set, seed, samples, recipe."""
    found = []
    for test in study["weight_tests"]:
        if name in test["networks"]:
            own = told(study, "weight_tests", test["name"])
            own = own | {"networks": [RESULT], "methods": [ONE, BEST], "samples": JUDGED}
            made_of = {
                "test": own,
                "objects": told(study, "objects", test["objects"]),
                "psfs": [told(study, "psfs", test["psf"])],
            }
            found.append(
                {
                    "test_set": test["name"],
                    "seed": study["seed"],
                    "samples": JUDGED,
                    "recipe": made_of,
                }
            )
    return found


class WeightJudge:
    """A `training.task.Judge`.

    Attributes
    ----------
    network, card
        Contents of the file.
    compared
        Metrics, what counts as equal, and the factor they are printed by.
    """

    compared: ClassVar = {"gain": (0.02, 1.0), "PSNR": (0.02, 1.0)}

    def __init__(self, file: str | Path, device, recipe: dict | None = None):
        self.file = str(file)
        self.card, _ = store.read(file, TASK)
        trial = Trial({"networks": [RESULT]}, {}, 0, (self.file,))
        ((_, self.network, _),) = trial.trained
        if recipe:
            WeightMaps.take(file, {}, recipe["network"])

    @staticmethod
    def stored(store: str | Path) -> Any:
        """Nothing is stored."""
        raise NotImplementedError

    @staticmethod
    def samples(asked: dict, count: int) -> Any:
        """The test, with `count` pictures for each number of photons; they are made where they are restored."""
        made_of = asked["recipe"]
        recipe = {key: made_of[key] for key in ("objects", "psfs")}
        return made_of["test"] | {"samples": max(count, 2)}, recipe, asked["seed"]

    def judge(self, samples: Any) -> Judgement:
        """PSNR, and gain over one weight for all, of the network and of what it is compared with, by photons: means with 95 %
        intervals."""
        test, recipe, seed = samples
        trial = Trial(test, recipe, seed, (self.file,))
        units = [trial.unit(number) for number in range(len(trial.units))]
        rows, _ = tables([trial], [np.concatenate(units)])
        found, empty = [], pd.DataFrame()
        for _, row in summary(rows).iterrows():
            light = "all" if pd.isna(row["photons"]) else f"{row['photons']:g}"
            name = f"{light}/{row['method']}"
            gain = (row["gain_db"], row["gain_low"], row["gain_high"])
            found.append((name, "gain", *gain, int(row["n"])))
            found.append((name, "PSNR", row["psnr"], float("nan"), float("nan"), int(row["n"])))
        return Judgement(pd.DataFrame(found, columns=COLUMNS), empty, empty, empty)

    def judge_test(self, samples: Any, test: dict, *, train_set: str, seed: int) -> Judgement:
        """`tests` name no such network."""
        raise NotImplementedError
