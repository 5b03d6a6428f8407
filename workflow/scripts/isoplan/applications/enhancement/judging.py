"""A trained network judged anew on the test fields of simulated pairs, for release and for checks of what is released."""

from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from isoplan.applications.enhancement import fields, scores
from isoplan.applications.enhancement.fields import Field
from isoplan.applications.enhancement.filters import FILTERS, RAW, Camera, choose
from isoplan.applications.enhancement.networks import Enhancer, check_fits, statistics
from isoplan.applications.enhancement.report import mean_of
from isoplan.config.entries import entry, told
from isoplan.config.schema import choices
from isoplan.training.task import Judgement

RIVAL, RESULT, TRUE = "gaussian", "result", "truth"
SHOWN = ("PSNR", "SSIM")
COLUMNS = ["parameter", "metric", "value", "low", "high", "n"]


def recipe(study: dict, name: str) -> dict:
    """What an entry of `enhancers` learns from."""
    return {
        "enhancement": told(study, "enhancements", entry(study, "enhancers", name)["trained_on"])
    }


def code(study: dict, name: str) -> list[str]:
    """The class that it chooses, as "module:name"."""
    return [choices("enhancers")[entry(study, "enhancers", name)["architecture"]]["code"]]


def asked(study: dict, name: str) -> list[dict]:
    """The simulated pairs that compare it: test_set, seed, samples, recipe. Pairs of a user's are in no card."""
    seed, found = study["seed"], []
    for item in study["enhancements"]:
        if name in item["networks"] and not item["folder"]:
            own = told(study, "enhancements", item["name"])
            samples = len(fields.lay_out(own, seed).test)
            found.append(
                {
                    "test_set": item["name"],
                    "seed": seed,
                    "samples": samples,
                    "recipe": {"enhancement": own},
                }
            )
    return found


class EnhancementJudge:
    """A `training.task.Judge`.

    Attributes
    ----------
    network, card
        Contents of the file.
    compared
        Metrics, what counts as equal, and the factor they are printed by.
    """

    compared: ClassVar = {"PSNR": (0.02, 1.0), "SSIM": (0.002, 1.0)}

    def __init__(self, file: str | Path, device, recipe: dict | None = None):
        self.enhancer = Enhancer.load(file)
        self.network, self.card = self.enhancer.network, self.enhancer.card
        if recipe:
            check_fits(file, self.card, recipe["network"])

    @staticmethod
    def stored(store: str | Path) -> Any:
        """Nothing is stored."""
        raise NotImplementedError

    @staticmethod
    def samples(asked: dict, count: int) -> tuple[float, list[tuple[str, str, Field]]]:
        """The setting of the Gaussian with the least error on training fields, and test fields by mosaic and name."""
        own, seed = asked["recipe"]["enhancement"], asked["seed"]
        layout = fields.lay_out(own, seed)
        pairs = list(fields.training_pairs(own, layout, seed))
        setting = choose(RIVAL, pairs, Camera())["setting"]
        read = [(p.mosaic, p.name, fields.read(own, layout, p, seed)) for p in layout.test[:count]]
        return setting, read

    def judge(self, samples: tuple[float, list[tuple[str, str, Field]]]) -> Judgement:
        """PSNR and SSIM to the target of the input, a Gaussian, the network and the noise-free truth: means with their 95 %
        intervals, over fields."""
        setting, read = samples
        rows = []
        for mosaic, name, field in read:
            made = {
                RAW: field.low,
                RIVAL: FILTERS[RIVAL].apply(field.low, setting, Camera()),
                RESULT: self.enhancer.apply(field.low, *statistics(field.low)),
            }
            if field.truth is not None:
                made[TRUE] = field.truth
            for method, picture in made.items():
                found = scores.against(picture, field.high)
                rows += [(mosaic, name, method, metric, found[metric]) for metric in SHOWN]
        table = pd.DataFrame(rows, columns=["mosaic", "field", "parameter", "metric", "value"])
        found = []
        for (method, metric), own in table.groupby(["parameter", "metric"], sort=False):
            mean = mean_of(own.set_index(["mosaic", "field"])["value"])
            found.append((method, metric, mean.value, mean.low, mean.high, len(own)))
        empty = pd.DataFrame()
        return Judgement(pd.DataFrame(found, columns=COLUMNS), empty, empty, empty)

    def judge_test(self, samples: Any, test: dict, *, train_set: str, seed: int) -> Judgement:
        """`tests` name no such network."""
        raise NotImplementedError
