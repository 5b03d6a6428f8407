"""A test of `flow_tests`: simulated pictures of known motion, and how near the motion comes that is found in their windows."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from isoplan.applications.flow import rest
from isoplan.applications.flow.fit import LEAST_TEXTURE, STEP_PX, FlowFit
from isoplan.applications.flow.sequence import Frames, estimate_sequence
from isoplan.base.seeds import numpy_rng
from isoplan.networks import spectrum_fit
from isoplan.networks.defocus_fit import WINDOW_PX
from isoplan.objects.scenes import draw_scenes
from isoplan.optics.defocus import Defocus
from isoplan.optics.motion import Motion, moving_sequence
from isoplan.optics.surface_pictures import MARGIN_PX, exposed
from isoplan.restoration.in_memory import Counts

ONE, TWO, PIPE, PARABOLA, REST = "one", "two", "pipe", "parabola", "rest"
NODES = 9  # motions of a profile, between which it is linear
AT_ONCE = 20  # windows that are fitted together, at least
INTERVALS = ("displacement", "direction", "axial", "middle")  # each with a half-width
MAGNITUDES = ("y", "x", "axial", "start")  # of the published score
VALUES = (
    *("textured", "apart", "doubted", "border_px"),
    *(
        f"true_{name}"
        for name in ("y", "x", "displacement", "direction", "axial", "middle", "start")
    ),
    *("y", "x", "start"),
    *(name for kind in INTERVALS for name in (kind, f"half_{kind}")),
    # Of sequences: which way, and the end of the track that begins there.
    *("true_heading", "heading", "follows", "path", "off_path", "half_path"),
    *("true_end", "end", "half_end"),
)
COLUMNS = ("test", *VALUES)


@dataclass(frozen=True)
class Trial:
    """A test.

    Parameters
    ----------
    test
        An entry of `flow_tests`.
    objects
        The entry of `objects` that it names.
    seed
        The study's seed.
    """

    test: dict
    objects: dict
    seed: int

    @property
    def optics(self) -> Defocus:
        """The microscope's; the fit does not know of its aberrations and softness."""
        soft = self.test["softness_px"] * self.test["pixel_size_um"]
        aberrations = {
            name: self.test[name] for name in ("cylinder_waves", "axis_rad", "spherical_waves")
        }
        return Defocus(*self._nominal, **aberrations, softness_um=soft)

    @property
    def _nominal(self) -> tuple[float, float, float]:
        return self.test["na"], self.test["wavelength_um"], self.test["pixel_size_um"]

    @property
    def reach_um(self) -> float:
        return self.test["reach_depths"] * self.optics.depth_of_field_um

    def fit(self) -> FlowFit:
        """What the motion is found with; it takes seconds to make."""
        reach = self.reach_um
        optics, longest = Defocus(*self._nominal), self.test["lateral_px"]
        return FlowFit(optics, longest, reach, reach, one_side=self.test["one_side"])

    @property
    def stream(self) -> str:
        return f"flow-tests/{self.test['name']}"

    @property
    def pictures(self) -> list[range]:
        """Numbers of the pictures of each unit."""
        across = (self.test["size_px"] - WINDOW_PX - STEP_PX) // STEP_PX + 1
        many = max(1, AT_ONCE // across**2)
        count = self.test["samples"]
        return [range(k, min(k + many, count)) for k in range(0, count, many)]

    @property
    def passed(self) -> float:
        """From the first picture of a sequence to the last, in exposures."""
        return (self.test["frames"] - 1) * self.test["interval_exposures"]

    def field(self, number: int, place: torch.Tensor) -> tuple[Motion, torch.Tensor, torch.Tensor]:
        """Motions (n) of a picture, how much (n, m) each counts at places (m, 2) in px from its middle, and distances (m) from a border.

        Between motions of a profile it is linear.
        """
        rng = numpy_rng(self.seed, f"{self.stream}/motion", number)
        kind, reach = self.test["motion"], self.reach_um
        longest, deepest = (
            limit * self.test["moves_share"] for limit in (self.test["lateral_px"], reach)
        )
        count = 2 if kind == TWO else 1
        lateral = torch.tensor(rng.uniform(-1, 1, (count, 2)) * longest)
        low = 0.0 if self.test["one_side"] else -reach
        start = rng.uniform(low, reach, count)
        if self.passed:
            # The last picture, too, begins where it is looked for.
            deepest = np.minimum(deepest, (reach - start) / self.passed)
        axial, start = torch.tensor(rng.uniform(0, deepest, count)), torch.tensor(start)
        angle = rng.uniform(0, 2 * math.pi)
        border = torch.full((len(place),), math.inf)
        if kind == REST:
            lateral, axial = torch.zeros_like(lateral), torch.zeros_like(axial)
        if kind in (ONE, REST):
            weights = torch.ones(1, len(place))
        elif kind == TWO:
            border = place @ torch.tensor([math.sin(angle), math.cos(angle)], dtype=place.dtype)
            weights = torch.stack([border > 0, border <= 0]).float()
        else:
            node = torch.linspace(-1, 1, NODES, dtype=torch.float64)
            rows = (place[:, 0] / (self.test["size_px"] / 2)).clamp(-1, 1)
            weights = (1 - (rows - node[:, None]).abs() / (node[1] - node[0])).clamp_min(0)
            if kind == PIPE:
                # As published: along x at one wall, along the axis at the other.
                turn = (node + 1) / 2 * math.pi / 2
                along, axial = longest * turn.cos(), torch.as_tensor(deepest) * turn.sin()
            else:
                along, axial = longest * (1 - node**2), torch.zeros(NODES)
            lateral = torch.stack([torch.zeros(NODES, dtype=torch.float64), along], 1)
            start = start.expand(NODES)
        parts = (lateral, start + axial / 2, axial)
        return Motion(*(part.float() for part in parts)), weights.float(), border.abs().float()

    def sample(self, number: int) -> np.ndarray:
        """Counts (frames, size_px, size_px) of a picture and those that follow it."""
        # What moves into the last picture must be there before.
        far = math.ceil(self.passed * self.test["lateral_px"])
        side = self.test["size_px"] + 2 * (MARGIN_PX + far)
        rng = numpy_rng(self.seed, f"{self.stream}/camera", number)
        low, high = np.log10(self.test["photons"])
        photons = 10 ** rng.uniform(low, high)
        line = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
        motion, weights, _ = self.field(number, torch.cartesian_prod(line, line))
        weights = weights.unflatten(1, (side, side))
        passed = [k * self.test["interval_exposures"] for k in range(self.test["frames"])]
        total = 0.0
        for layer, start in enumerate(self.starts(number, motion)):
            stream = f"{self.stream}/scenes" + (f"/{layer}" if layer else "")
            which = {"seed": self.seed, "stream": stream, "first": number}
            scene = draw_scenes(self.objects, 1, side, split="test", **which)[0]
            # Layers are as bright as each other.
            scene = scene / scene.mean().clamp_min(1e-6)
            here = Motion(motion.lateral_px, start + motion.axial_um / 2, motion.axial_um)
            taken = moving_sequence(scene, here, weights, self.optics, passed, far)
            total = total + torch.stack(list(taken))
        return np.stack([exposed(picture, photons, rng) for picture in total])

    def starts(self, number: int, motion: Motion) -> torch.Tensor:
        """(layers, n) distances from focus at which motions (n) of a picture begin, in each of its layers; the first one's are the motions'."""
        first, rng = motion.start_um, numpy_rng(self.seed, f"{self.stream}/layers", number)
        low = 0.0 if self.test["one_side"] else -self.reach_um
        others = rng.uniform(low, self.reach_um, (self.test["layers"] - 1, len(first)))
        return torch.cat([first[None], torch.from_numpy(others).float()])

    def unit(self, unit: int, fit: FlowFit) -> np.ndarray:
        """VALUES (n, len) of the windows of a unit's pictures."""
        side, step = fit.window_px, fit.stride_px
        windows, truths, numbers, followed = [], [], [], []
        first = np.arange(0, self.test["size_px"] - side + 1, step)
        middle = torch.tensor(first + side / 2 - self.test["size_px"] / 2)
        place = torch.cartesian_prod(middle, middle)
        for number in self.pictures[unit]:
            pictures = self.sample(number)
            counts = torch.from_numpy(pictures[0])
            windows.append(counts.unfold(0, side, step).unfold(1, side, step).flatten(0, 1))
            motion, weights, border = self.field(number, place)
            # The sum of motions is that of their coordinates, as all lead one way.
            middles = (self.starts(number, motion) + motion.axial_um / 2).abs().mean(0)
            middles = motion.middle_um if self.test["layers"] == 1 else middles
            here = [weights.T @ part for part in (motion.lateral_px, middles[:, None])]
            axial = weights.T @ motion.axial_um[:, None]
            truths.append(torch.cat([*here, axial, border[:, None]], 1))
            numbers += [number] * len(place)
            followed.append(self._followed(pictures, truths[-1], fit))
        return self._values(
            *(torch.cat(windows), torch.cat(truths), torch.tensor(numbers)),
            *({k: torch.cat([one[k] for one in followed]) for k in followed[0]}, fit),
        )

    def _followed(
        self, pictures: np.ndarray, truth: torch.Tensor, fit: FlowFit
    ) -> dict[str, torch.Tensor]:
        """What pictures (frames, size_px, size_px) tell of windows beyond the first one; NaN of a single picture. truth: as of `_values`."""
        names = ("heading", "follows", "path", "off_path", "half_path", "true_end", "end")
        told = {name: torch.full((len(truth),), math.nan) for name in (*names, "half_end")}
        if len(pictures) == 1:
            return told
        frames = Frames(lambda k: Counts(pictures[k]), len(pictures))
        interval = self.test["interval_exposures"]
        found = estimate_sequence(frames, fit, 1.0, interval, doubt=False)
        inner = slice(1, -1)  # cells whose windows lie in the picture
        for name in ("heading", "follows"):
            told[name] = torch.from_numpy(found[name][0, inner, inner].ravel())
        # Rows move alike, so a track keeps its own motion.
        moved = truth[:, :2] * self.passed
        depth = (truth[:, 2] + truth[:, 3] * self.passed).abs()
        size, step = fit.optics.pixel_size_um, fit.stride_px
        across = round(math.sqrt(len(truth)))
        for _, track in found.tracks().groupby("track"):
            first, last = track.iloc[0], track.iloc[-1]
            if last["frame"] != len(pictures) - 1:
                continue
            y, x = (int(first[f"{axis}_px"] // step) - 1 for axis in "yx")
            place = y * across + x
            end = torch.tensor([last[f"{a}_px"] - first[f"{a}_px"] for a in "yx"])
            told["path"][place] = float(moved[place].norm()) * size
            told["off_path"][place] = float((end - moved[place]).norm()) * size
            told["half_path"][place] = last["place_uncertainty_um"]
            told["true_end"][place] = float(depth[place])
            told["end"][place] = last["middle_um"]
            told["half_end"][place] = last["middle_uncertainty_um"]
        return told

    def _values(
        self,
        windows: torch.Tensor,
        truth: torch.Tensor,
        numbers: torch.Tensor,
        followed: dict[str, torch.Tensor],
        fit: FlowFit,
    ) -> np.ndarray:
        """From windows (n, side, side), their true y, x (px), middle, axial (um) and distance from a border (n, 5), the pictures (n,) that they are of, and what `_followed` tells."""
        windows = F.avg_pool2d(windows[:, None], fit.binning)[:, 0]
        parts = spectrum_fit.welch(windows, WINDOW_PX, STEP_PX).flatten(1, 2)
        whole = parts.mean(1)
        four = torch.arange(4 * len(parts)).unflatten(0, (-1, 4))
        found = fit.fit.posterior(whole, parts.flatten(0, 1))
        channels = fit.channels(found, four)
        textured = spectrum_fit.texture_over_noise(whole) > LEAST_TEXTURE
        doubted = torch.zeros(len(whole))
        for number in numbers.unique():
            own = numbers == number
            doubted[own] = float(bool(rest.doubt(whole[own & textured], fit.fit)))
        size = self.test["pixel_size_um"]
        about = found.motion.lateral_px.abs() * size
        lateral, middle, axial = truth[:, :2] * size, truth[:, 2], truth[:, 3]
        rows = {
            "textured": textured,
            "doubted": doubted,
            "apart": channels[2 * len(INTERVALS)],
            "border_px": truth[:, 4],
            "true_y": lateral[:, 0].abs(),
            "true_x": lateral[:, 1].abs(),
            "true_displacement": lateral.norm(dim=1),
            "true_direction": torch.remainder(torch.atan2(lateral[:, 0], lateral[:, 1]), math.pi),
            "true_axial": axial,
            # Above and below focus look the same: the end that is nearer may be on the other side.
            "true_middle": middle.abs(),
            "true_start": middle.abs() - axial / 2,
            "y": found.mean(about[:, 0]),
            "x": found.mean(about[:, 1]),
            "start": found.mean(found.motion.start_um),
        }
        rows |= followed | {"true_heading": torch.atan2(lateral[:, 0], lateral[:, 1])}
        for k, name in enumerate(INTERVALS):
            rows |= {name: channels[2 * k], f"half_{name}": channels[2 * k + 1]}
        return torch.stack([rows[name].float() for name in VALUES], 1).numpy()


def table(trials: list[Trial], units: list[np.ndarray]) -> pd.DataFrame:
    """COLUMNS of every window. units: of each trial, those of all units together."""
    parts = []
    for trial, values in zip(trials, units, strict=True):
        rows = pd.DataFrame(values, columns=list(VALUES))
        rows.insert(0, "test", trial.test["name"])
        parts.append(rows)
    return pd.concat(parts, ignore_index=True)
