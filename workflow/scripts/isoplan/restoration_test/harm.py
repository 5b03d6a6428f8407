"""Harm tests: sharp pictures are blurred, restored with default settings, and compared with the truth.

A harm test takes pictures that were not used for training, applies every blur that it names (`blurs`), which the
network may or may not be made for, and simulates exposures with several light levels. It restores these like the
command `restore` does if only the camera's offset is given ("estimated"), and in other ways:

    none                the picture of the camera
    true                true PSFs, with iterations and weight chosen in the same way
    true-best           true PSFs, with the iterations and weight that come closest to the truth
    denoised            no PSF, with iterations and weight chosen in the same way
    denoised-best       no PSF, with the iterations and weight that come closest to the truth
    richardson-lucy     that of scikit-image, with the true PSF in the middle of the picture and RL_ITERATIONS
    unsharp             the unsharp mask of scikit-image

A picture that is not changed has a gain of 0 dB. A drawn picture depends only on the study's seed and its index,
its noise also on the blur and the light.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from isoplan.base.errors import UserError
from isoplan.base.seeds import numpy_rng, torch_rng
from isoplan.config.entries import LEARNT, fixed
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
CROP_PX, CELL_PX = 16, 48  # border that is left out; side of cells that are judged separately
RL_ITERATIONS = 20
# Values that are kept of each method: the gain over doing nothing, its 5th percentile and its minimum over the cells
# (dB), and the brightest pixels relative to the truth's. For the estimated one also what was chosen and found.
KEPT = (
    *("gain", "cells_p5", "cells_worst", "overshoot"),
    *("psf_scale", "resolution_px", "iterations", "tv_weight", "width_px", "doubt"),
    *("valid_share", "alarm_share", "other_blur_share"),
)


@dataclass(frozen=True)
class Case:
    """One degraded picture.

    Attributes
    ----------
    counts
        (h, w) counts of the camera.
    sharp
        (h, w) sharp picture in counts above the offset.
    offset
        The camera's offset in counts.
    psfs, centres
        True PSFs (ny, nx, s, s) and their centres along y and x, as for `SpaceVariantBlur`.
    """

    counts: np.ndarray
    sharp: np.ndarray
    offset: float
    psfs: torch.Tensor
    centres: tuple


class HarmTest:
    """A harm test, from an entry of the config's `harm_tests`.

    Parameters
    ----------
    spec
        - test: the entry,
        - objects, camera: the entries that it names,
        - detected: the entry of `psfs` of its network,
        - map, restoration: those of the config.
    seed
        The study's seed.
    device
        Device that computes.
    """

    def __init__(self, spec: dict, seed: int, device="cpu"):
        self.spec, self.test, self.seed = spec, spec["test"], seed
        self.device = torch.device(device)
        self.settings = spec["restoration"]

    @cached_property
    def names(self) -> list[str]:
        """Names of the pictures: file names, or numbers of drawn pictures."""
        if not self.test["folder"]:
            return [str(index) for index in range(self.test["samples"])]
        return [Path(file).name for file in self._files]

    @cached_property
    def _files(self) -> list[Path]:
        folder = Path(self.test["folder"])
        found = sorted(f for f in folder.rglob("*") if f.suffix.lower() in pictures.SUFFIXES)
        if not found:
            raise UserError(f"{folder}: has no pictures; harm_tests need some, or folder: null")
        return found

    @property
    def lights(self) -> list[float]:
        """Photons at the brightest pixels."""
        return self.test["photons"]

    @property
    def units(self) -> list[tuple[int, str]]:
        """Picture and blur of every unit of work, which includes all lights."""
        return [(k, blur) for k in range(len(self.names)) for blur in self.test["blurs"]]

    # The degraded picture ------------------------------------------------------------------------

    def sharp(self, index: int) -> np.ndarray:
        """The sharp picture (h, w) of an index, with a peak of about 1 and the margin that a blur needs."""
        side = self.test["size_px"] + blurs.SIZE_PX - 1
        objects = self.spec["objects"]
        if not self.test["folder"] and objects["kinds"] == ["pictures"]:
            # Pictures take turns, so that even a few samples come from different ones.
            names = pictures.bundled_names(objects, "test")
            bundled = pictures.bundled(names, objects["reduce"])
            rng = numpy_rng(self.seed, f"{STREAM}/pictures", index)
            return pictures.cut(bundled[index % len(bundled)], side, 1.0, rng)
        if not self.test["folder"]:
            return draw_scenes(
                objects, 1, side,
                seed=self.seed, stream=f"{STREAM}/scenes", first=index, split="test",
            )[0].numpy()  # fmt: skip
        picture = pictures.read_grey(self._files[index])
        # Reduced, so that its own softness disappears.
        reduce = max(1, round(min(picture.shape) / side))
        picture = pictures.reduce_by_area(picture, reduce)
        picture = np.clip(picture / max(float(np.quantile(picture, 0.999)), 1e-6), 0, 1.2)
        window = tuple(
            slice(max(0, (n - side) // 2), max(0, (n - side) // 2) + side) for n in picture.shape
        )
        return picture[window].astype(np.float32)

    def case(self, index: int, blur: str, photons: float) -> Case:
        """Make a degraded picture: blur it by a key of `blurs.BLURS`, and expose it to a light level."""
        sharp = torch.from_numpy(self.sharp(index))
        psfs = blurs.BLURS[blur].psfs()
        # The same for all blurs, so that all show the same part of the picture.
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
        """Restore a degraded picture by all methods.

        Parameters
        ----------
        index, blur, photons
            As for `case`.
        network
            The network.
        detects
            The PSF model of its estimates, from `detection_model`.

        Returns
        -------
        case
            The degraded picture.
        restored
            The picture (h, w) of every method in counts above the offset.
        kept
            KEPT from the fifth on, of the estimated method.
        """
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
            *(choice[key] for key in ("psf_scale", "resolution_px", "iterations")),
            math.nan if choice["tv_weight"] == LEARNT else choice["tv_weight"],
            *(width, math.nan if doubt is None else doubt, (cells[FILLED] == 0).mean()),
            *((cells[flag] > threshold).mean() for flag in (ALARM, OTHER_BLUR)),
        ]

    def _nearest(self, facts: Measured, case: Case, known: LocalPsfs) -> np.ndarray:
        """The restoration closest to the truth, of all iterations and weights."""
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
        """KEPT of every method, (methods, len(KEPT)); NaN where only the estimated method has a value."""
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
        """Compute one unit of work: (lights, methods, len(KEPT))."""
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
    """SNR in dB of each complete cell, except those with less than a thousandth of the mean power."""
    rows, columns = (n // CELL_PX * CELL_PX for n in _inner(sharp).shape)
    a, b = (_inner(p)[:rows, :columns].astype(np.float64) for p in (picture, sharp))

    def summed(values):
        return values.reshape(rows // CELL_PX, CELL_PX, -1, CELL_PX).sum((1, 3)).ravel()

    signal, error = summed(b**2), summed((a - b) ** 2)
    lit = signal > 1e-3 * signal.mean()
    return 10 * np.log10(signal[lit] / np.maximum(error[lit], 1e-12))


def open_test(spec: dict, seed: int, network_file, device):
    """Open a harm test.

    Parameters
    ----------
    spec, seed, device
        As for `HarmTest`.
    network_file
        File of the network, stored by `networks.store`.

    Returns
    -------
    test, network, model, card
        The test, its network, the PSF model of the network's estimates, and the network's card.

    Raises
    ------
    UserError
        If the network cannot be used.
    """
    network, model, card = store.load(network_file, device)
    return HarmTest(spec, seed, device), network, detection_model(model, spec["detected"]), card
