"""The interface of a task, as the rules, the training loop, `release` and `verify` use it.

A task is what a network is trained for. `isoplan/tasks.py` lists all tasks.
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
        """Make and store a set, and return a sentence that describes it.

        recipe: from `config.entries.recipe_of`. name: name of the random stream.
        """


class Task(Protocol):
    """A training: the networks, losses, optimisers and samples of one network of the config.

    Attributes
    ----------
    name
        Name of the task, as in `isoplan/tasks.py`.
    spec
        The entry of the config's `networks`. The loop reads name, samples, epoch_samples, batch, passes,
        learning_rate, warmup_share and patience_epochs.
    network
        The network that is saved, with the weights of its best epoch. Other networks, such as a
        discriminator, only belong to `state`.
    learns
        False if there is nothing to train.
    history_columns
        Columns of history.csv that `step` and `validate` fill, in this order.
    score
        The one of these columns that is smallest in the best epoch.
    released_as
        Name of the file that the network is released as, without its extension.
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
        """Make the task of an entry of `networks`.

        recipe: from `config.entries.recipe_of`. validation: store of the validation samples, or None to
        make them. Raises UserError if the recipe is impossible.
        """

    @staticmethod
    def take(weights: str | Path, recipe: dict, spec: dict) -> dict:
        """Card of a trained network that replaces a training. Raises UserError if it does not fit."""

    def settings(self) -> list:
        """Everything that determines the weights, except the seed and the library's code; for JSON."""

    def batches(self, epoch: int, steps: int) -> Iterable[Any]:
        """The `steps` batches of an epoch, each a pure function of (seed, epoch, step)."""

    def step(self, batch: Any, rate: float) -> dict[str, float]:
        """One step of every optimiser at the given learning rate; returns the losses by column."""

    def validate(self) -> dict[str, float]:
        """Results on the validation samples, by column."""

    def state(self) -> dict:
        """Everything that an exact resume needs; `torch.load` must read it with weights_only."""

    def load_state(self, state: dict) -> None:
        """Restore a state that `state` returned."""

    def finish(self) -> None:
        """Final work after the last epoch, when `network` has its best weights."""

    def card(self) -> dict:
        """How to build the network, and what its samples were made of."""

    def close(self) -> None:
        """Stop processes that make samples."""


@dataclass
class Judgement:
    """Results of a network on a test set, as tables; those that a task does not have are empty.

    Widths and errors are in the parameters' units.

    Attributes
    ----------
    regression
        (parameter, metric, value, low, high, n); low to high is a 95 % interval.
    predictions
        (parameter, true, estimated, half_width, photons, valid) of some samples.
    calibration
        (parameter, group, level, coverage, n).
    abstention
        (parameter, kept_share, metric, value, n).
    """

    regression: pd.DataFrame
    predictions: pd.DataFrame
    calibration: pd.DataFrame
    abstention: pd.DataFrame


class Judge(Protocol):
    """A trained network and its evaluation.

    Attributes
    ----------
    network, card
        Contents of the network's file.
    compared
        Metrics that `verify` compares, each with the largest difference that counts as equal, and the
        factor by which it is printed.
    """

    network: torch.nn.Module
    card: dict
    compared: dict[str, tuple[float, float]]

    def __init__(self, file: str | Path, device, recipe: dict | None = None):
        """Load a network, and refuse one that does not fit the recipe of a study."""

    @staticmethod
    def stored(store: str | Path) -> Any:
        """Load the test samples of a store."""

    @staticmethod
    def samples(asked: dict, count: int) -> Any:
        """Make the first `count` samples of a test set.

        asked: test_set, seed, and recipe (from `config.entries.recipe_of`).
        """

    def judge(self, samples: Any) -> Judgement:
        """Evaluate the network on samples as they are."""

    def judge_test(self, samples: Any, test: dict, *, train_set: str, seed: int) -> Judgement:
        """Evaluate the network by an entry of the config's `tests`, in the form of a study's tables."""


class Words(Protocol):
    """Writes the card of a released network as text, only from the card in its file."""

    def limits(self, card: dict) -> list[str]:
        """Sentences on what the network cannot do."""

    def markdown(self, card: dict) -> str:
        """The whole card as Markdown."""
