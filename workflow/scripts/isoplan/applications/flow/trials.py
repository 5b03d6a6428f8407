"""How near the motion comes that is found in windows of one motion, and in pictures with several.

    python -m isoplan.applications.flow.trials OUT.csv [WINDOWS]

writes the published score, the squared correlation over the magnitudes of both lateral displacements, the axial one and the distance from
focus at the start (thesis, section 6.3), and ours, at 10x/.3.
"""

import sys
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch

from isoplan.applications.flow.fit import APART, FlowFit
from isoplan.base.seeds import numpy_rng
from isoplan.networks import spectrum_fit
from isoplan.networks.defocus_fit import WINDOW_PX
from isoplan.objects.scenes import draw_scenes
from isoplan.optics.defocus import Defocus
from isoplan.optics.motion import Motion, moving_picture
from isoplan.optics.surface_pictures import MARGIN_PX, exposed

KINDS = ("syn", "filaments", "dead-leaves", "fractals", "glyphs", "mixtures", "poi")
LIGHTS = (1e3, 1e5), (1e5, 1e6)  # photons of the brightest pixel
AT_ONCE = 20  # windows that are fitted together
MAGNITUDES = ("y", "x", "axial", "start")  # of the published score
WITH_INTERVALS = ("displacement", "direction", "axial", "middle")
MOVES = 0.25  # of the largest displacement: below it, directions do not count


@dataclass(frozen=True)
class Trial:
    """Windows of one motion, or of two with a straight border through their middle.

    Parameters
    ----------
    optics
        The microscope.
    photons
        Of the brightest pixel: from so many to so many, evenly in their logarithm.
    lateral_px, depths
        Largest displacement along x and y, and largest start and path along the axis in depths of field.
    motions
        In a window: 1 or 2.
    kinds
        Of scenes.
    seed
        Of all that is drawn.
    """

    optics: Defocus
    photons: tuple[float, float]
    lateral_px: float = 16.0
    depths: float = 2.42  # the published .35 waves RMS
    motions: int = 1
    kinds: tuple[str, ...] = KINDS
    seed: int = 1

    @property
    def fit(self) -> FlowFit:
        reach = self.depths * self.optics.depth_of_field_um
        return FlowFit(self.optics, self.lateral_px, reach, reach, one_side=True)

    def motion(self, number: int) -> Motion:
        """Of each part of a window."""
        rng = numpy_rng(self.seed, "flow-trials/motion", number)
        reach = self.depths * self.optics.depth_of_field_um
        lateral = rng.uniform(-1, 1, (self.motions, 2)) * self.lateral_px
        start, axial = rng.uniform(0, reach, (2, self.motions))
        rows = (lateral, start + axial / 2, axial)
        return Motion(*(torch.tensor(row, dtype=torch.float32) for row in rows))

    def window(self, number: int, side_px: int) -> np.ndarray:
        """Counts (side_px, side_px)."""
        side = side_px + 2 * MARGIN_PX
        spec = {"name": "scenes", "kinds": self.kinds, "zoom": (0.6, 1.6)}
        which = {"seed": self.seed, "stream": "flow-trials/scenes", "first": number}
        scene = draw_scenes(spec, 1, side, split="test", **which)[0]
        rng = numpy_rng(self.seed, "flow-trials/camera", number)
        weights = torch.ones(1, side, side)
        if self.motions == 2:
            angle = rng.uniform(0, 2 * np.pi)
            y, x = torch.meshgrid(*[torch.arange(side) - (side - 1) / 2] * 2, indexing="ij")
            first = (y * np.sin(angle) + x * np.cos(angle) > 0).float()
            weights = torch.stack([first, 1 - first])
        bright = moving_picture(scene, self.motion(number), weights, self.optics)
        low, high = np.log10(self.photons)
        return exposed(bright, 10 ** rng.uniform(low, high), rng)

    def rows(self, fit: FlowFit, numbers: range) -> pd.DataFrame:
        """A row per window: truth and estimates; for two motions, the truth is that of the first."""
        counts = [self.window(number, fit.window_px) for number in numbers]
        windows = torch.from_numpy(np.stack(counts))
        if fit.binning > 1:
            windows = torch.nn.functional.avg_pool2d(windows[:, None], fit.binning)[:, 0]
        parts = spectrum_fit.welch(windows, WINDOW_PX, fit.stride_px // fit.binning).flatten(1, 2)
        whole = parts.mean(1)
        four = torch.arange(4 * len(parts)).unflatten(0, (-1, 4))
        found = fit.fit.posterior(whole, parts.flatten(0, 1))
        channels = fit.channels(found, four)
        true = Motion.joined([self.motion(number)[:1] for number in numbers])
        size = self.optics.pixel_size_um
        about = found.motion.lateral_px.abs() * size
        values = {
            "textured": spectrum_fit.texture_over_noise(whole) > 1,
            "apart": channels[-2],
            "y": found.mean(about[:, 0]),
            "x": found.mean(about[:, 1]),
            "start": found.mean(found.motion.start_um),
            "true_y": true.lateral_px[:, 0].abs() * size,
            "true_x": true.lateral_px[:, 1].abs() * size,
            "true_start": true.start_um,
            "true_displacement": true.lateral_px.norm(dim=1) * size,
            "true_direction": torch.remainder(torch.atan2(*true.lateral_px.unbind(1)), torch.pi),
            "true_axial": true.axial_um,
            "true_middle": true.middle_um,
        }
        for k, name in enumerate(WITH_INTERVALS):
            values |= {name: channels[2 * k], f"half_{name}": channels[2 * k + 1]}
        return pd.DataFrame({name: row.numpy() for name, row in values.items()})


def scores(rows: pd.DataFrame, largest_um: float) -> dict[str, float]:
    """The published score and ours, of rows of `Trial.rows`; largest_um: displacement along x and y that is looked for."""
    found: dict[str, float] = {"windows": len(rows)}
    for name in MAGNITUDES:
        true, own = rows[f"true_{name}"], rows[name]
        found[f"r2_{name}"] = float(np.corrcoef(true, own)[0, 1] ** 2)
        found[f"determined_{name}"] = float(1 - ((true - own) ** 2).mean() / true.var(ddof=0))
    for kind in ("r2", "determined"):
        found[kind] = float(np.mean([found[f"{kind}_{name}"] for name in MAGNITUDES]))
    turned = np.abs((rows["direction"] - rows["true_direction"] + np.pi / 2) % np.pi - np.pi / 2)
    moves = rows["true_displacement"] > MOVES * largest_um
    found["angle_deg"] = float(np.degrees(turned[moves].median()))
    found["held_direction"] = float((turned <= rows["half_direction"])[moves].mean())
    for name in ("displacement", "axial", "middle"):
        apart = (rows[name] - rows[f"true_{name}"]).abs()
        found[f"held_{name}"] = float((apart <= rows[f"half_{name}"]).mean())
    return found | {"alarm": alarm(rows)}


def alarm(rows: pd.DataFrame) -> float:
    """Share of the windows with texture whose parts are said to move differently."""
    return float((rows.loc[rows["textured"], "apart"] > APART).mean())


def surest(rows: pd.DataFrame) -> pd.DataFrame:
    """The half whose intervals are narrowest, relative to how much each spreads."""
    wide = sum(
        rows[f"half_{name}"] / rows[name].std() for name in ("displacement", "axial", "middle")
    )
    return rows[wide <= wide.median()]


def _rows(trial: Trial, fit: FlowFit, count: int) -> pd.DataFrame:
    numbers = range(0, count, AT_ONCE)
    parts = [trial.rows(fit, range(k, min(k + AT_ONCE, count))) for k in numbers]
    return pd.concat(parts, ignore_index=True)


def main(out: str, count: int = 200) -> None:
    optics = Defocus(0.3, 0.48, 0.32)
    table = []
    for photons in LIGHTS:
        trial = Trial(optics, photons)
        fit = trial.fit
        largest = trial.lateral_px * optics.pixel_size_um
        all_rows = _rows(trial, fit, count)
        textured = all_rows[all_rows["textured"]]
        kinds = {"all": all_rows, "with texture": textured, "surest half": surest(textured)}
        two = _rows(replace(trial, motions=2), fit, count)
        light = {"photons_from": photons[0], "photons_to": photons[1]}
        table += [light | {"rows": name} | scores(some, largest) for name, some in kinds.items()]
        table.append(light | {"rows": "two motions", "windows": count, "alarm": alarm(two)})
    pd.DataFrame(table).to_csv(out, index=False, float_format="%.4g")
    print(out)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1], *map(int, sys.argv[2:]))
