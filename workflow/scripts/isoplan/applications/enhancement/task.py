"""Training of networks that enhance, from pairs of fields: a `training.task.Task`."""

import json
from functools import cached_property
from pathlib import Path
from typing import Self
from zlib import crc32

import numpy as np
import torch

from isoplan.applications.enhancement import fields, scores
from isoplan.applications.enhancement.fields import Layout, Place
from isoplan.applications.enhancement.lessons import Batch, BlindSpots, Lesson, Supervised
from isoplan.applications.enhancement.networks import (
    TASK,
    TURNS,
    Enhancer,
    build,
    check_fits,
    turned,
)
from isoplan.applications.enhancement.pairs import JUDGED_PX, JUDGES, Pair, Scale, held_back
from isoplan.applications.enhancement.unpaired import Unpaired
from isoplan.applications.enhancement.variational import Walk
from isoplan.base.errors import UserError
from isoplan.base.seeds import numpy_rng

LESSONS = {"pairs": Supervised, "inputs": BlindSpots, "walk": Walk}


class Enhancement:
    """A network that takes an input to its target, and learns as the entry's `learns_from` says (`LESSONS`).

    Parameters
    ----------
    recipe : dict
        `enhancement`, an entry of `enhancements`, and `layout`, of its fields.
    spec : dict
        An entry of `enhancers`.
    seed : int
        Of the study.
    device : torch.device
        Where the network is trained.
    """

    name = TASK
    history_columns = ("train_loss", "critic_loss", "validation_loss", "validation_psnr")
    score = "validation_loss"
    learns = True

    def __init__(self, recipe: dict, spec: dict, seed: int, device: torch.device):
        spec = {key: value for key, value in spec.items() if key != "stamp"}  # cards tell no dates
        self.recipe, self.spec, self.seed, self.device = recipe, spec, seed, device
        self.layout = Layout.of(recipe["layout"])
        self.learnt, self.judges = held_back(fields.spread(self.layout.train, spec.get("fields")))
        if spec["patch_px"] > recipe["enhancement"]["field_px"]:
            raise UserError(
                f"enhancer {spec['name']}: patch_px {spec['patch_px']} is more than the {recipe['enhancement']['field_px']} px "
                f"of a field of {recipe['enhancement']['name']}; lower it"
            )
        self.released_as = f"enhancement/{recipe['enhancement']['name']}"
        self.lesson = self._lesson()
        self.network = self.lesson.network
        self.held: tuple[list[int], list[Pair]] = ([], [])

    def _lesson(self) -> Lesson:
        def made() -> torch.nn.Module:
            network = build(self.spec)
            if self.spec.get("encoder_weights"):
                network.take_encoder(self.spec["encoder_weights"])
            return network.to(self.device, memory_format=torch.channels_last)

        torch.manual_seed(self.seed)
        if self.spec.get("learns_from") == "unpaired":
            return Unpaired(made(), made(), self.spec, self.device)
        return LESSONS[self.spec.get("learns_from", "pairs")](made(), self.spec, self.device)

    @classmethod
    def of_config(
        cls, recipe: dict, spec: dict, *, seed: int, device: torch.device, validation=None
    ) -> Self:
        """As in `training.task.Task`. validation: the file with the layout of the fields (`choose_enhancement`), or None to lay
        them out."""
        if validation:
            layout = json.loads(Path(validation).read_text())["layout"]
        else:  # as the file's, to its types
            found = fields.lay_out(recipe["enhancement"], seed).record()
            layout = json.loads(json.dumps(found))
        return cls(recipe | {"layout": layout}, spec, seed, device)

    @staticmethod
    def take(weights: str | Path, recipe: dict, spec: dict) -> dict:
        """Card of a trained network; as in `training.task.Task`."""
        card = Enhancer.load(weights).card
        check_fits(weights, card, spec)
        return card

    def settings(self) -> list:
        """The pairs, where their fields lie, the entry, and what is in the files that it names."""
        files = [self.spec.get(key) for key in ("perceptual_weights", "encoder_weights")]
        return [self.recipe, self.spec, *(crc32(Path(file).read_bytes()) for file in files if file)]

    def batches(self, epoch: int, steps: int):
        """Squares of fields at random, in orientations at random."""
        held = self._held(epoch)
        for step in range(epoch * steps, (epoch + 1) * steps):
            rng = numpy_rng(self.seed, f"enhancement/{self.spec['name']}", step)
            chosen = [held[rng.integers(len(held))] for _ in range(self.spec["batch"])]
            squares = torch.stack([self._square(pair, rng) for pair in chosen])
            if not self.lesson.pairs:  # targets of other places
                others = [held[rng.integers(len(held))] for _ in chosen]
                squares[:, 1] = torch.stack([self._square(pair, rng)[1] for pair in others])
            low, high = (
                squares[:, k : k + 1].to(self.device, memory_format=torch.channels_last)
                for k in (0, 1)
            )
            weights = torch.tensor([pair.weight for pair in chosen], device=self.device)
            chance = torch.Generator().manual_seed(int(rng.integers(2**31)))
            yield Batch(low, high, weights, chance)

    def _square(self, pair: Pair, rng: np.random.Generator) -> torch.Tensor:
        side = self.spec["patch_px"]
        y, x = (int(rng.integers(n - side + 1)) for n in pair.low.shape)
        square = torch.from_numpy(pair.crop(y, x, side))
        return turned(square, int(rng.integers(TURNS)))

    def _held(self, epoch: int) -> list[Pair]:
        """The fields that an epoch learns from: all, or as many as are held, which take turns."""
        count = min(self.spec["held_fields"], len(self.learnt))
        order = numpy_rng(self.seed, f"enhancement/{self.spec['name']}/order").permutation(
            len(self.learnt)
        )
        wanted = [int(order[(epoch * count + k) % len(order)]) for k in range(count)]
        numbers, pairs = self.held
        if sorted(wanted) != sorted(numbers):
            pairs = [self._read(self.learnt[number]) for number in wanted]
            self.held = wanted, pairs
        return pairs

    @cached_property
    def scale(self) -> Scale | None:
        """How targets come to the inputs' scale, where pairs may not tell."""
        if self.lesson.pairs:
            return None
        read = [self._field(place) for place in fields.spread(self.learnt, JUDGES)]
        return Scale.of([one.low for one in read], [one.high for one in read])

    def _field(self, place: Place) -> fields.Field:
        return fields.read(self.recipe["enhancement"], self.layout, place, self.seed)

    def _read(self, place: Place) -> Pair:
        field = self._field(place)
        if np.ptp(field.low) == 0:
            return Pair(np.zeros_like(field.low), np.zeros_like(field.high))
        return Pair.of(field.low, field.high, self.scale)

    def step(self, batch: Batch, rate: float) -> dict[str, float]:
        """One step of every optimiser."""
        self.network.train()
        for name, part in self.lesson.parts().items():
            if name.endswith("optimiser"):
                for group in part.param_groups:
                    group["lr"] = rate
        return self.lesson.learn(batch)

    @cached_property
    def validation(self) -> list[Pair]:
        return [self._read(place).middle(JUDGED_PX) for place in self.judges]

    def validate(self) -> dict[str, float]:
        """What the lesson judges epochs by, and PSNR to the targets, of the fields that are held back."""
        self.network.eval()
        made = []
        for pair in self.validation:
            low = torch.from_numpy(pair.low)[None, None].to(self.device)
            with torch.inference_mode():
                made.append(self.network(low)[0, 0].cpu())
        told = zip(made, self.validation, strict=True)
        psnr = [scores.against(one.numpy(), pair.high)["PSNR"] for one, pair in told]
        return {
            "validation_loss": self.lesson.error(self.validation, made),
            "validation_psnr": float(np.mean(psnr)),
        }

    def state(self) -> dict:
        """All networks, each with its optimiser."""
        return {name: part.state_dict() for name, part in self.lesson.parts().items()}

    def load_state(self, state: dict) -> None:
        """Restore a state that `state` returned."""
        for name, part in self.lesson.parts().items():
            part.load_state_dict(state[name])

    def finish(self) -> None:
        """What the lesson leaves to the end."""
        self.lesson.finish(self._held(0))

    def card(self) -> dict:
        """What it learnt from, without the dates of files."""
        entry = {
            k: v for k, v in self.recipe["enhancement"].items() if k not in ("stamp", "folder")
        }
        mosaics = {place.mosaic for place in self.learnt}
        return {"enhancement": entry, "fields": len(self.learnt), "mosaics": len(mosaics)}

    def close(self) -> None:
        """Nothing runs beside it."""
