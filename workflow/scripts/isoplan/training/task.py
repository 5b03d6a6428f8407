"""What a task offers: what the rules, the training loop, `release` and `verify` ask of it.

A task is what a network is trained for. `isoplan/tasks.py` names those that there are.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import pandas as pd
import torch


class StoreSet(Protocol):
    """Makes and stores the validation samples of a network, or a test set."""

    def __call__(
        self, path: str, recipe: dict, count: int, *, name: str, seed: int, split: str
    ) -> str:
        """recipe: of `config.entries.recipe_of`. name: of the random stream. Says what the set holds."""


class Task(Protocol):
    """A training: the networks, losses, optimisers and samples of one network of the config.

    Attributes
    ----------
    name : of the task, as in `isoplan/tasks.py`.
    spec : the entry of the config's `networks`. The loop reads name, samples, epoch_samples, batch, passes,
        learning_rate, warmup_share and patience_epochs.
    network : what is kept, with the weights of its best epoch. Others, such as a discriminator, stay in `state`.
    learns : False where there is nothing to train.
    history_columns : columns of history.csv that `step` and `validate` fill, in their order.
    score : the one of them that is least in the best epoch.
    released_as : name of the file that it is released as, without its ending.
    """

    name: str
    history_columns: tuple[str, ...]
    score: str
    spec: dict
    seed: int
    device: torch.device
    network: torch.nn.Module
    learns: bool
    released_as: str

    @classmethod
    def of_config(
        cls, recipe: dict, spec: dict, *, seed: int, device: torch.device, validation=None
    ) -> Self:
        """The task of an entry of `networks`.

        recipe: of `config.entries.recipe_of`. validation: store of the validation samples, or None to make them.
        Raises UserError where the recipe cannot be.
        """

    @staticmethod
    def take(weights: str | Path, recipe: dict, spec: dict) -> dict:
        """Card of a trained network that is used instead of a training. Raises UserError where it does not fit."""

    def settings(self) -> list:
        """All that decides the weights but the seed and the library's code, JSON-able."""

    def batches(self, epoch: int, steps: int) -> Iterable[Any]:
        """The `steps` batches of an epoch, each a pure function of (seed, epoch, step)."""

    def step(self, batch: Any, rate: float) -> dict[str, float]:
        """One step of every optimiser at the given learning rate; returns the losses by column."""

    def validate(self) -> dict[str, float]:
        """Figures on the validation samples by column."""

    def state(self) -> dict:
        """All that an exact resume needs, as `torch.load` reads it with weights_only."""

    def load_state(self, state: dict) -> None:
        """Takes over a state of `state`."""

    def finish(self) -> None:
        """What follows the last epoch, when `network` has its best weights."""

    def card(self) -> dict:
        """What the file says of how to build the network and what its samples were made of."""

    def close(self) -> None:
        """Ends processes that make samples."""


@dataclass
class Judgement:
    """What is found of one network on one test set, as tables; those that a task does not have are empty.

    regression: (parameter, metric, value, low, high, n), low to high a 95 % interval. predictions: (parameter, true,
    estimated, half_width, photons, valid) of some samples. calibration: (parameter, group, level, coverage, n).
    abstention: (parameter, kept_share, metric, value, n). Widths and errors in the parameters' units.
    """

    regression: pd.DataFrame
    predictions: pd.DataFrame
    calibration: pd.DataFrame
    abstention: pd.DataFrame


class Judge(Protocol):
    """A trained network and how it is judged.

    Attributes
    ----------
    network, card : of the file.
    compared : metrics that stand for the network, each with the largest difference that `verify` takes for equal, and
        a factor by which it is printed.
    """

    network: torch.nn.Module
    card: dict
    compared: dict[str, tuple[float, float]]

    def __init__(self, file: str | Path, device, recipe: dict | None = None):
        """Loads a network, and refuses one that does not fit the recipe of a study."""

    @staticmethod
    def stored(store: str | Path) -> Any:
        """Test samples of a store."""

    @staticmethod
    def samples(asked: dict, count: int) -> Any:
        """The first `count` samples of a test set. asked: test_set, seed, and recipe, of `config.entries.recipe_of`."""

    def judge(self, samples: Any) -> Judgement:
        """Judges it on samples as they are."""

    def judge_test(self, samples: Any, test: dict, *, train_set: str, seed: int) -> Judgement:
        """Judges it as an entry of the config's `tests` asks, in tables as a study keeps them."""


class Words(Protocol):
    """The card of a released network, written from the card in its file and from nothing else."""

    def limits(self, card: dict) -> list[str]:
        """What the network cannot do."""

    def markdown(self, card: dict) -> str:
        """The whole card."""
