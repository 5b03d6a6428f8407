"""No harm: sharp pictures, blurred in ways that the network was made for or not, restored by default.

A harm test takes pictures that trained nothing, blurs each in every way that it names (`blurs`), exposes it to
several lights, and restores what comes of it as the command `restore` does, which is told the camera's offset
and no more. Beside that stand

    none                what the camera saw
    true                the true PSFs, iterations and weight chosen alike
    true-best           the true PSFs, with the iterations and weight that come nearest to the truth
    denoised            no PSF, iterations and weight chosen alike
    denoised-best       no PSF, likewise the nearest
    richardson-lucy     scikit-image's, with the true PSF in the picture's middle and RL_ITERATIONS
    unsharp             scikit-image's unsharp mask

Whatever is left alone counts 0 dB. Picture i of a drawn kind is a pure function of the study's seed and i, its
noise also of blur and light.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from isoplan.base.errors import UserError
from isoplan.base.seeds import numpy_rng, torch_rng
from isoplan.config.entries import fixed
from isoplan.metrics.image import snr
from isoplan.networks import store
from isoplan.objects import pictures
from isoplan.objects.scenes import draw_scenes
from isoplan.optics.blur import SpaceVariantBlur
from isoplan.optics.camera import draw_camera, expose
from isoplan.optics.exposure import exposure_of, sort_pixels
from isoplan.psf_map.layout import ALARM, FILLED, OTHER_BLUR
from isoplan.restoration.algorithm import algorithm_of
from isoplan.restoration.candidates import WEIGHTS, candidates, weights_for
from isoplan.restoration.choosing import choose_for
from isoplan.restoration.in_memory import Measured, estimate_psfs, restored
from isoplan.restoration.psfs import LocalPsfs
from isoplan.restoration_test import blurs, rivals
from isoplan.restoration_test.fields import detection_model

STREAM = "harm-test"
METHODS = (
    *("none", "estimated", "true", "true-best", "denoised", "denoised-best"),
    *("richardson-lucy", "unsharp"),
)
CROP_PX, CELL_PX = 16, 48  # left out at the border; cells that are judged by themselves
RL_ITERATIONS = 20
# What is kept of a method: gain over doing nothing, its 5th percentile and its least over the cells (dB),
# brightest pixels beside the truth's; and of the estimated one what was chosen and found.
KEPT = (
    *("gain", "cells_p5", "cells_worst", "overshoot"),
    *("psf_scale", "resolution_px", "iterations", "tv_weight", "width_px", "doubt"),
    *("valid_share", "alarm_share", "other_blur_share"),
)


@dataclass(frozen=True)
class Case:
    """One degraded picture: counts (h, w) as the camera gave them, sharp (h, w) in counts above the offset,
    and its true PSFs as `SpaceVariantBlur` takes them."""

    counts: np.ndarray
    sharp: np.ndarray
    offset: float
    psfs: torch.Tensor
    centres: tuple


class HarmTest:
    """One entry of the config's `harm_tests`.

    spec: {"test": the entry, "objects", "camera": the entries that it names, "detected": the entry of
    `psfs` of its network, "map", "restoration": those of the config}.
    """

    def __init__(self, spec: dict, seed: int, device="cpu"):
        self.spec, self.test, self.seed = spec, spec["test"], seed
        self.device = torch.device(device)
        self.settings = spec["restoration"]

    @cached_property
    def names(self) -> list[str]:
        """Of the pictures: files, or numbers of those that are drawn."""
        if not self.test["folder"]:
            return [str(index) for index in range(self.test["samples"])]
        return [Path(file).name for file in self._files]

    @cached_property
    def _files(self) -> list[Path]:
        folder = Path(self.test["folder"])
        found = sorted(f for f in folder.rglob("*") if f.suffix.lower() in pictures.SUFFIXES)
        if not found:
            raise UserError(f"{folder}: holds no pictures; harm_tests need some, or folder: null")
        return found

    @property
    def lights(self) -> list[float]:
        return self.test["photons"]

    @property
    def units(self) -> list[tuple[int, str]]:
        """Picture and blur, all lights together, of every unit of work."""
        return [(k, blur) for k in range(len(self.names)) for blur in self.test["blurs"]]

    # The degraded picture ------------------------------------------------------------------------

    def sharp(self, index: int) -> np.ndarray:
        """Picture `index`, (h, w) of peak about 1, with the rim that a blur takes away."""
        side = self.test["size_px"] + blurs.SIZE_PX - 1
        objects = self.spec["objects"]
        if not self.test["folder"] and objects["kinds"] == ["pictures"]:
            # In turn, for a few to be of different pictures.
            bundled = pictures.bundled("test", objects["reduce"])
            rng = numpy_rng(self.seed, f"{STREAM}/pictures", index)
            return pictures.cut(bundled[index % len(bundled)], side, 1.0, rng)
        if not self.test["folder"]:
            return draw_scenes(
                objects, 1, side,
                seed=self.seed, stream=f"{STREAM}/scenes", first=index, split="test",
            )[0].numpy()  # fmt: skip
        picture = pictures.read_grey(self._files[index])
        # Made smaller, for what it is soft by itself to disappear.
        reduce = max(1, round(min(picture.shape) / side))
        picture = pictures.reduce_by_area(picture, reduce)
        picture = np.clip(picture / max(float(np.quantile(picture, 0.999)), 1e-6), 0, 1.2)
        window = tuple(
            slice(max(0, (n - side) // 2), max(0, (n - side) // 2) + side) for n in picture.shape
        )
        return picture[window].astype(np.float32)

    def case(self, index: int, blur: str, photons: float) -> Case:
        sharp = torch.from_numpy(self.sharp(index))
        psfs = blurs.BLURS[blur].psfs()
        # Alike for every blur, so that all see the same piece.
        margin = blurs.SIZE_PX // 2
        shape = tuple(n - 2 * margin for n in sharp.shape)
        centres = tuple(
            torch.linspace(0, length - 1, count) if count > 1 else torch.zeros(1)
            for length, count in zip(shape, psfs.shape, strict=False)
        )
        operator = SpaceVariantBlur(psfs, *centres, shape, order=self.settings["order"])
        rim = margin - operator.margin
        seen = sharp[rim : sharp.shape[0] - rim, rim : sharp.shape[1] - rim]
        blurred = operator.forward(seen.contiguous()).clamp_min(0)
        name = f"{STREAM}/{self.names[index]}/{blur}/{photons:g}"
        camera = self.spec["camera"] | {"photons": [photons, photons]}
        settings = draw_camera(camera, 1, torch_rng(self.seed, f"{name}/camera"))
        counts = expose(blurred[None], settings, torch_rng(self.seed, f"{name}/noise"))[0].numpy()
        if 0 < camera["bits"] <= 16:
            counts = counts.astype(np.uint16)
        unit = float(settings["gain"] * settings["photons"] * settings["quantum_efficiency"])
        inner = sharp[margin:-margin, margin:-margin].numpy()
        return Case(counts, inner * unit, float(settings["offset"]), psfs, centres)

    # Ways to restore it --------------------------------------------------------------------------

    def restored(self, index: int, blur: str, photons: float, network, detects):
        """The case of a picture, blur and light; every method's picture in counts above the offset; and the
        estimated one's KEPT from the fifth on."""
        case = self.case(index, blur, photons)
        facts = Measured.of(case.counts, offset=case.offset)
        observed = case.counts.astype(np.float32) - np.float32(case.offset)
        stream = f"{STREAM}/{self.names[index]}/{blur}/{photons:g}/held-out"
        how = {"seed": self.seed, "stream": stream, "device": self.device}
        found = {"none": observed}
        local = estimate_psfs(facts, network, detects, self.spec["map"], self.device)
        choice = choose_for(facts.counts, local, facts.facts, self.settings, **how)
        found["estimated"] = restored(facts, local, self.settings, choice, self.device)
        kept = self._found(local, choice)
        for name, psfs, centres in (
            ("true", case.psfs, case.centres),
            ("denoised", blurs.BLURS["none"].psfs(), (torch.zeros(1), torch.zeros(1))),
        ):
            known = LocalPsfs(known=(psfs, *centres))
            choice = choose_for(facts.counts, known, facts.facts, self.settings, **how)
            found[name] = restored(facts, known, self.settings, choice, self.device)
            found[f"{name}-best"] = self._nearest(facts, case, known)
        found["richardson-lucy"] = self._plain(case, observed)
        found["unsharp"] = rivals.unsharp(observed)
        return case, {name: found[name] for name in METHODS}, kept

    def _found(self, local: LocalPsfs, choice: dict) -> list[float]:
        cells = local.cells
        width = choice["widths"][0]["width_px"] if choice["widths"] else math.nan
        doubt = local.doubt(0, local.layout.shape_px[0], 0, local.layout.shape_px[1])
        threshold = self.spec["map"]["alarm_threshold"]
        return [
            *(choice[key] for key in ("psf_scale", "resolution_px", "iterations", "tv_weight")),
            *(width, math.nan if doubt is None else doubt, (cells[FILLED] == 0).mean()),
            *((cells[flag] > threshold).mean() for flag in (ALARM, OTHER_BLUR)),
        ]

    def _nearest(self, facts: Measured, case: Case, known: LocalPsfs) -> np.ndarray:
        """What comes nearest to the truth, of all iterations and weights."""
        exposure = exposure_of(facts.facts, self.settings["background"])
        shape = facts.counts.shape
        psfs, *centres = known.known
        blur = SpaceVariantBlur(psfs.to(self.device), *centres, shape, order=self.settings["order"])
        observed = case.counts.astype(np.float32) - np.float32(case.offset)
        pixels = sort_pixels(observed, exposure)
        start = facts.facts.brightness
        best = [-math.inf, observed]
        margin, free = (
            blur.margin,
            self.settings
            | dict.fromkeys({"iterations", "tv_weight"} - {*fixed(self.settings)}, "auto"),
        )
        steps = candidates(free)

        def watch(iteration: int, x: torch.Tensor) -> None:
            if iteration in steps:
                rows, columns = (slice(margin, n - margin) for n in x.shape)
                picture = x[rows, columns].cpu().numpy()
                if (reached := _snr(picture, case.sharp)) > best[0]:
                    best[:] = reached, picture

        photons = start["scale"] / exposure.gain if exposure.gain else 1e4
        for weight in weights_for(free, photons, (0.25, *WEIGHTS)):
            algorithm_of(self.settings).restore(
                torch.from_numpy(np.where(pixels.usable, observed, 0)).to(self.device),
                blur,
                iterations=steps[-1],
                tv_weight=weight,
                start=exposure.start(start["start"]),
                scale=start["scale"],
                background=exposure.background,
                shift=exposure.shift,
                valid=torch.from_numpy(pixels.usable).to(self.device),
                callback=watch,
            )
        return best[1]

    @staticmethod
    def _plain(case: Case, observed: np.ndarray) -> np.ndarray:
        from skimage.restoration import richardson_lucy as plain

        psf = case.psfs[case.psfs.shape[0] // 2, case.psfs.shape[1] // 2].numpy()
        scale = max(float(np.quantile(observed, 0.999)), 1e-6)
        picture = np.clip(observed / scale, 0, None)
        return plain(picture, psf, num_iter=RL_ITERATIONS, clip=False) * scale

    def measure(self, case: Case, found: dict[str, np.ndarray], kept: list[float]) -> np.ndarray:
        """KEPT of every method, (methods, len(KEPT)); what only the estimated one has is NaN in the others."""
        out = np.full((len(METHODS), len(KEPT)), np.nan)
        before = _snr(found["none"], case.sharp)
        cells = _cell_snr(found["none"], case.sharp)
        bright = float(np.quantile(_inner(case.sharp), 0.999))
        for row, method in zip(out, METHODS, strict=True):
            picture = found[method]
            gains = _cell_snr(picture, case.sharp) - cells
            row[:4] = (
                _snr(picture, case.sharp) - before,
                np.quantile(gains, 0.05),
                gains.min(),
                np.quantile(_inner(picture), 0.999) / bright,
            )
        out[METHODS.index("estimated"), 4:] = kept
        return out

    def unit(self, unit: int, network, detects) -> np.ndarray:
        """One unit of work: (lights, methods, len(KEPT))."""
        index, blur = self.units[unit]
        rows = []
        for photons in self.lights:
            rows.append(self.measure(*self.restored(index, blur, photons, network, detects)))
        return np.stack(rows)


def _inner(picture: np.ndarray) -> np.ndarray:
    return picture[CROP_PX:-CROP_PX, CROP_PX:-CROP_PX]


def _snr(picture: np.ndarray, sharp: np.ndarray) -> float:
    return snr(_inner(picture), _inner(sharp))


def _cell_snr(picture: np.ndarray, sharp: np.ndarray) -> np.ndarray:
    """SNR of each whole cell in dB, those with less than a thousandth of the mean light left out."""
    rows, columns = (n // CELL_PX * CELL_PX for n in _inner(sharp).shape)
    a, b = (_inner(p)[:rows, :columns].astype(np.float64) for p in (picture, sharp))

    def summed(values):
        return values.reshape(rows // CELL_PX, CELL_PX, -1, CELL_PX).sum((1, 3)).ravel()

    signal, error = summed(b**2), summed((a - b) ** 2)
    lit = signal > 1e-3 * signal.mean()
    return 10 * np.log10(signal[lit] / np.maximum(error[lit], 1e-12))


def open_test(spec: dict, seed: int, network_file, device):
    """The test of a spec, its network, the PSFs of the network's estimates, and the network's card."""
    network, model, card = store.load(network_file, device)
    return HarmTest(spec, seed, device), network, detection_model(model, spec["detected"]), card
