"""The methods that are compared: each makes a picture on the fine grid from the same prepared frames.

What drifts was found from the sequence, and so was the flicker, which is divided out for all. Frames are moved back to
their mean place, by splines, for all but the likelihood and the covariance, which take each part of the sequence where it
lies. All are told the same camera and PSF.

Steps and forms of the rivals are those that came closest to the truth on filaments of 10 to 160 emitters per micrometre
and backgrounds of 5 to 100 electrons (two sequences each), so that none is beaten by a bad setting.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import product

import numpy as np
from scipy import ndimage

from isoplan.applications.fluctuation import (
    baselines,
    colorme,
    cumulants,
    fluogan,
    information,
    likelihood,
    superresolution,
)
from isoplan.applications.fluctuation.fluogan import Weights
from isoplan.applications.fluctuation.formation import Formation
from isoplan.applications.fluctuation.sequence import Frames
from isoplan.applications.fluctuation.superresolution import Settings

MEAN_STEPS = SOFI_STEPS = 1000  # of Richardson-Lucy
COVARIANCE_STEPS = 70  # of the likelihood without the mean: all that it takes with it
FLUOGAN_STEPS = 500  # beside a critic: 25 to 40 s of one core at 32 x 32 px
# Without a critic: 5 s. Both more and fewer steps had a lower PSNR, so it does not get the critics' time.
ALONE_STEPS = 5000
# Of what was tried, each has its own best PSNR on two sequences that no study holds (numbers 100 and 101 of the test of
# `fluctuation.adversarial`): light .001 to .03 and smooth .3 to 3 without a critic, critic .0025 to .01 and light .0025
# to .01 with one.
FLUOGAN_WEIGHTS = {
    "fluogan-published": Weights(light=0.005, smooth=1.0, critic=0.0025),
    "fluogan": Weights(light=0.0025, smooth=1.0, critic=0.0025),
    "fluogan-no-critic": Weights(light=0.0025, smooth=1.0),
    "fluogan-from-likelihood": Weights(light=0.005, smooth=1.0, critic=0.0025),
}
# What the oracle tries: factors on the weight of each penalty, and FISTA's steps.
TRIED = tuple(product(colorme.SHARES, (0.25, 1.0, 4.0), (300, 1000)))


@dataclass(frozen=True)
class Found:
    """A method's picture.

    Parameters
    ----------
    picture : ndarray
        (height * factor, width * factor).
    facts : dict
        Of ours: `amplitude_e` and `rate` of the emitters (see `blinking.Blinking`), `information_z`, kappa over its
        standard error (see `information.Information`), and `refused`.
    emission : bool
        Whether the unit is electrons per frame, so that totals can be compared.
    """

    picture: np.ndarray
    facts: dict = field(default_factory=dict)
    emission: bool = True


@dataclass(frozen=True)
class Scene:
    """A sequence as it is prepared for all methods.

    Parameters
    ----------
    frames : Frames
        Counts.
    settings : Settings
        Camera and PSF as the methods are told them, and the drift and flicker that were found.
    """

    frames: Frames
    settings: Settings

    @property
    def whole(self) -> tuple[slice, slice]:
        """All of a frame, as one of the cores of `superresolution`."""
        rows, columns = self.frames.shape
        return slice(0, rows), slice(0, columns)

    @cached_property
    def electrons(self) -> np.ndarray:
        """(t, h, w) float32, in even light, where they lie."""
        return superresolution.electrons_of(self.frames, self.whole, self.settings)

    @cached_property
    def still(self) -> np.ndarray:
        """(t, h, w) float32, each part of the sequence moved back to the mean place."""
        if not self.settings.parts:
            return self.electrons
        moved, start = [], 0
        for count, (y, x) in self.settings.parts:
            part = self.electrons[start : start + count]
            moved.append(ndimage.shift(part, (0, -y, -x), order=3, mode="nearest"))
            start += count
        return np.concatenate(moved)

    @cached_property
    def mean(self) -> np.ndarray:
        """(h, w) electrons of the frames that were moved back."""
        return self.still.mean(axis=0, dtype=np.float64)

    @cached_property
    def psi(self) -> Formation:
        """With the border that the likelihood has."""
        settings = self.settings
        return Formation.of(
            self.mean.shape,
            settings.psf,
            factor=settings.factor,
            border=likelihood.BORDER_PX,
        )

    @property
    def noise_e(self) -> float:
        """Standard deviation without light, of one frame."""
        return self.settings.camera.variance(0.0) ** 0.5


def mean(scene: Scene) -> Found:
    """The mean less its darkest level, by splines."""
    above = np.maximum(scene.mean - baselines.background_of(scene.mean), 0)
    return Found(baselines.upsampled(above, scene.settings.factor))


def deconvolved(scene: Scene) -> Found:
    """The mean by MEAN_STEPS steps of Richardson-Lucy."""
    noise = scene.noise_e / len(scene.frames) ** 0.5
    made = baselines.deconvolved(scene.mean, scene.psi, iterations=MEAN_STEPS, read_noise_e=noise)
    return Found(made)


def sofi(scene: Scene) -> Found:
    """Cross-cumulants of order 2, by SOFI_STEPS steps of Richardson-Lucy."""
    settings = scene.settings
    made = cumulants.sofi(scene.still, settings.psf, factor=settings.factor, iterations=SOFI_STEPS)
    return Found(made, emission=False)


def of_colorme(scene: Scene, penalty: str, times: float = 1.0, iterations: int = 300) -> Found:
    """COL0RME: the shape of its variance, with the total of its intensity.

    The variance came closer to the truth on average: by up to 5 dB where there is much background, while the intensity
    won 1 dB on dense filaments with little.
    """
    found = _colorme(scene, penalty, times, iterations)
    scale = found.picture.sum(dtype=float) / max(found.variance.sum(dtype=float), 1e-30)
    return Found(found.variance * np.float32(scale))


def _colorme(scene: Scene, penalty: str, times: float, iterations: int) -> colorme.Found:
    share = times * colorme.SHARES[penalty]
    return colorme.colorme(
        scene.still, scene.psi, penalty=penalty, share=share, iterations=iterations
    )


def colorme_tried(scene: Scene) -> Iterator[Found]:
    """What COL0RME gives with every setting of TRIED: the variance's shape and the intensity."""
    for penalty, times, iterations in TRIED:
        found = _colorme(scene, penalty, times, iterations)
        scale = found.picture.sum(dtype=float) / max(found.variance.sum(dtype=float), 1e-30)
        yield Found(found.variance * np.float32(scale))
        yield Found(found.picture)


def covariance(scene: Scene) -> Found:
    """The likelihood without the mean, in as many steps as with it. Refused where that is: the deconvolved mean."""
    if not _enough(scene):
        return deconvolved(scene)
    made = _likelihood(scene, covariance_steps=COVARIANCE_STEPS, joint_steps=0)
    return Found(scene.psi.inner(made))


def _enough(scene: Scene) -> bool:
    seen = superresolution.evidence(scene.frames, scene.whole, scene.settings)
    return information.conclude([seen], seen.map).enough


def _likelihood(scene: Scene, **steps: int) -> np.ndarray:
    """Emission with its border."""
    settings = scene.settings
    seen = likelihood.moments(
        scene.electrons,
        read_noise_e=scene.noise_e,
        excess=settings.camera.excess,
        parts=settings.parts or None,
        broken=settings.broken,
    )
    start = baselines.richardson_lucy(
        scene.mean,
        scene.psi,
        iterations=superresolution.ITERATIONS,
        background=baselines.background_of(scene.mean),
        shift=settings.camera.variance(0.0) / len(scene.frames),
    )
    return likelihood.fit(seen, settings.psf, factor=settings.factor, start=start, **steps).emission


def by_likelihood(scene: Scene) -> Found:
    """Ours, as `superresolve` gives it: the deconvolved mean where the fluctuations do not tell enough."""
    made = superresolution.superresolve(scene.frames, scene.settings)
    seen, told = made.information, made.facts or {}
    facts = {key: told[key] for key in ("amplitude_e", "rate") if key in told}
    facts |= {"information_z": seen.kappa / seen.error, "refused": float(not seen.enough)}
    return Found(made.picture, facts)


def of_fluogan(scene: Scene, variant: str, physics: str = "generalised") -> Found:
    """FluoGAN from an even start."""
    return _fluogan(scene, variant, FLUOGAN_STEPS, physics=physics)


def fluogan_without_critic(scene: Scene) -> Found:
    """The same mean and penalties alone, from the same start, in ALONE_STEPS."""
    return _fluogan(scene, "fluogan-no-critic", ALONE_STEPS)


def fluogan_from_likelihood(scene: Scene) -> Found:
    """FluoGAN, started at ours. Refused where that is: the deconvolved mean."""
    if not _enough(scene):
        return deconvolved(scene)
    variant = "fluogan-from-likelihood"
    return _fluogan(scene, variant, FLUOGAN_STEPS, start=_likelihood(scene))


def _fluogan(scene: Scene, variant: str, steps: int, **settings) -> Found:
    told = scene.settings
    made = fluogan.fit(
        scene.still,
        told.psf,
        told.camera,
        FLUOGAN_WEIGHTS[variant],
        factor=told.factor,
        steps=steps,
        **settings,
    )
    return Found(scene.psi.inner(made.emission))


METHODS: dict[str, Callable[[Scene], Found]] = {
    "mean": mean,
    "deconvolved": deconvolved,
    "sofi": sofi,
    **{f"colorme-{penalty}": partial(of_colorme, penalty=penalty) for penalty in colorme.SHARES},
    "covariance": covariance,
    "likelihood": by_likelihood,
    "fluogan-published": partial(of_fluogan, variant="fluogan-published", physics="published"),
    "fluogan": partial(of_fluogan, variant="fluogan"),
    "fluogan-no-critic": fluogan_without_critic,
    "fluogan-from-likelihood": fluogan_from_likelihood,
}
# Chosen with the truth, of several pictures: no user can.
ORACLES: dict[str, Callable[[Scene], Iterator[Found]]] = {"colorme-oracle": colorme_tried}
OURS = ("likelihood", "covariance", "fluogan-from-likelihood")
SHOWN = ("mean", "deconvolved", "sofi", "colorme-l1", "likelihood")  # as pictures in the report


def apply(name: str, scene: Scene, score: Callable[[np.ndarray], float]) -> Found:
    """A method's picture. score: of a picture against the truth, which oracles alone use."""
    if name in METHODS:
        return METHODS[name](scene)
    return colorme.best_by_truth(ORACLES[name](scene), lambda found: score(found.picture))[0]
