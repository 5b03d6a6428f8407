"""Two detectors that see the same light: a poor one, as in old microscopes, and a good one."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from isoplan.applications.enhancement.defects import FWHM, Defects
from isoplan.base.seeds import numpy_rng
from isoplan.objects.scenes import draw_scenes

GROUND = 0.02  # share of the brightest light that is everywhere
DARK, TRIES = (
    0.9,
    50,
)  # median of a scene at most, as a share of its mean; scenes that are looked at
TURNS = 0.75  # of the drift's wave over a picture


@dataclass(frozen=True)
class Detector:
    """A detector that is scanned over the sample.

    electrons = multiplied(Poisson(efficiency x photons + dark)) + N(0, read_noise_e^2), counts = gain x electrons + offset.

    A photomultiplier multiplies each electron by a random number of mean 1 (apart from the gain) and variance excess - 1,
    which is exponential at an excess of 2. The sum over n electrons then has a gamma distribution of that mean and variance.

    Parameters
    ----------
    efficiency : float
        Share of the photons that become electrons.
    gain : float
        Counts per electron.
    dark_e : float
        Dark electrons per pixel.
    drift : float
        How far the dark level of an uncooled detector swings along the scan, as a share of it: 0 to 1.
    read_noise_e : float
        Standard deviation of the read noise in electrons.
    offset : float
        Counts without electrons.
    bits : int
        Counts are whole, from 0 to 2^bits - 1; 0 leaves them as they are.
    excess : float
        Variance of the multiplied electrons over Poisson's, at least 1, which multiplies all alike.

    Examples
    --------
    >>> good = Detector(efficiency=0.4, gain=5.0, offset=10.0)
    >>> float(good.mean(np.full((2, 2), 20.0))[0, 0]), float(good.variance(np.full((2, 2), 20.0))[0, 0])
    (50.0, 200.0)
    >>> tube = Detector(efficiency=0.4, gain=5.0, offset=10.0, excess=1.5)
    >>> float(tube.mean(np.full((2, 2), 20.0))[0, 0]), float(tube.variance(np.full((2, 2), 20.0))[0, 0])
    (50.0, 300.0)
    """

    efficiency: float
    gain: float = 1.0
    dark_e: float = 0.0
    drift: float = 0.0
    read_noise_e: float = 0.0
    offset: float = 0.0
    bits: int = 0
    excess: float = 1.0

    def dark(self, lines: int, phase: float = 0.0) -> np.ndarray:
        """Dark electrons of every line of the scan: (lines,) float64. phase: of the drift's slow wave, in radians."""
        wave = np.sin(2 * np.pi * TURNS * np.arange(lines) / max(lines, 1) + phase)
        return self.dark_e * (1 + self.drift * wave)

    def electrons(self, photons: np.ndarray, phase: float = 0.0) -> np.ndarray:
        """Expected electrons of photons per pixel (h, w)."""
        return self.efficiency * photons + self.dark(len(photons), phase)[:, None]

    def mean(self, photons: np.ndarray, phase: float = 0.0) -> np.ndarray:
        """Expected counts (h, w), without clipping."""
        return self.gain * self.electrons(photons, phase) + self.offset

    def variance(self, photons: np.ndarray, phase: float = 0.0) -> np.ndarray:
        """Variance (h, w) in counts^2, without clipping."""
        rounding = 1 / 12 if self.bits else 0.0
        multiplied = self.excess * self.electrons(photons, phase)
        return self.gain**2 * (multiplied + self.read_noise_e**2) + rounding

    def expose(self, photons: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One picture of photons per pixel (h, w): counts, float32. The phase of the drift is drawn too."""
        phase = rng.uniform(0, 2 * np.pi)
        electrons = rng.poisson(self.electrons(photons, phase)).astype(float)
        if self.excess > 1:  # of no electrons, a shape of 0, it makes 0
            spread = self.excess - 1
            electrons = spread * rng.standard_gamma(electrons / spread)
        electrons += self.read_noise_e * rng.standard_normal(photons.shape)
        counts = self.gain * electrons + self.offset
        if self.bits:
            counts = np.clip(np.round(counts), 0, 2**self.bits - 1)
        return counts.astype(np.float32)


@dataclass(frozen=True)
class Exposure:
    """A simulated pair of one field.

    Attributes
    ----------
    photons : ndarray
        (h, w) expected photons per pixel, the truth, which has no defect.
    low, high : ndarray
        (h, w) float32 counts of the poor and the good detector.
    again : ndarray
        (h, w) float32 counts of the poor detector, exposed a second time.
    """

    photons: np.ndarray
    low: np.ndarray
    high: np.ndarray
    again: np.ndarray


def detector(entry: dict, which: str) -> Detector:
    """The `low` or the `high` detector of an entry of `enhancements`."""
    own = ("efficiency", "gain", "dark_e", "drift", "read_noise_e")
    return Detector(
        **{key: entry[f"{which}_{key}"] for key in own},
        offset=entry["offset"],
        bits=entry["bits"],
        excess=entry.get(f"{which}_excess", 1.0),
    )


def simulate(entry: dict, split: str, number: int, seed: int) -> Exposure:
    """Mosaic `number` of the split "train" or "test", seen by both detectors at once.

    Kinds of specimens take turns, so that both splits have all of them. A mosaic is a function of its own number alone.
    Defects are of the input alone, as if the target were taken before by an instrument in order.
    """
    kind = entry["kinds"][number % len(entry["kinds"])]
    objects = {"name": entry["name"], "kinds": [kind], "zoom": [0.8, 2.0]}
    stream = f"enhancement/{split}"
    for first in range(TRIES * number, TRIES * (number + 1)):
        scene = draw_scenes(objects, 1, entry["mosaic_px"], seed=seed, stream=stream, first=first)
        sharp = scene[0].numpy().astype(np.float64).clip(0, 1)
        # Fluorescence is bright on dark; scenes may have their contrast turned over.
        if np.median(sharp) < DARK * sharp.mean():
            break
    seen = ndimage.gaussian_filter(sharp, entry["blur_fwhm_px"] / FWHM)
    photons = entry["photons"] * (GROUND + (1 - GROUND) * seen)
    rng = numpy_rng(seed, f"{stream}/light", number)
    poor = detector(entry, "low")
    low, high = (one.expose(photons, rng) for one in (poor, detector(entry, "high")))
    later, light = numpy_rng(seed, f"{stream}/again", number), photons
    defects = Defects(**entry.get("defects", {}))
    if defects != Defects():  # it is exposed anew, so that the target's noise stays as it is
        rng = numpy_rng(seed, f"{stream}/defects", number)
        light = defects.light(photons, entry["blur_fwhm_px"], rng)
        low = defects.stored(poor.expose(light, rng), whole=True)
    again = defects.stored(poor.expose(light, later), whole=True)
    return Exposure(photons, low, high, again)
