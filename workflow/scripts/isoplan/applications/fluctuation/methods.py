"""The methods that are compared: each makes a picture on the fine grid from the same prepared frames.

What drifts was found from the sequence, and so was the flicker, which is divided out for all. Frames are moved back to
their mean place, by splines, for all but the likelihood and the covariance, which take each part of the sequence where it
lies. All are told the same camera and PSF.

Steps and forms of the rivals are those that came closest to the truth on filaments of 10 to 160 emitters per micrometre
and backgrounds of 5 to 100 electrons (two sequences each), so that none is beaten by a bad setting.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import product

import numpy as np
from scipy import ndimage

from isoplan.applications.fluctuation import (
    baselines,
    colorme,
    cumulants,
    denoising,
    fluogan,
    information,
    likelihood,
    srrf,
    superresolution,
)
from isoplan.applications.fluctuation.fluogan import Weights
from isoplan.applications.fluctuation.formation import Formation
from isoplan.applications.fluctuation.sequence import Frames
from isoplan.applications.fluctuation.settings import Settings

MEAN_STEPS, SOFI_STEPS = 300, 80  # of accelerated Richardson-Lucy
TV_WEIGHT = 1e-4
COVARIANCE_STEPS = 70  # of the likelihood without the mean: all that it takes with it
NUMBERS = ("amplitude", "rate", "emission")  # facts that have a true value
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
VAE_STEPS = denoising.STEPS  # half a minute
NOISE_LEFT = 0.3  # share of the camera's noise that the likelihood is told of denoised frames: see `denoising`
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
        Of ours: `amplitude_e` and `rate` of the emitters (see `blinking.Blinking`) with their intervals (see
        `certainty.intervals`), `information_z`, kappa over its standard error (see `information.Information`), and
        `refused`. `neighbours`: see `Scene.neighbours`.
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
    def neighbours(self) -> float:
        """How neighbouring pixels correlate in what changes fast: see `denoising.correlation_of_neighbours`."""
        return denoising.correlation_of_neighbours(likelihood.fast(self.electrons))

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
    return Found(_deconvolved(scene))


def deconvolved_tv(scene: Scene) -> Found:
    """The same with total variation, of the least weight that was tried: larger ones came less near to the truth."""
    return Found(_deconvolved(scene, TV_WEIGHT))


def _deconvolved(scene: Scene, tv_weight: float = 0.0) -> np.ndarray:
    return baselines.deconvolved(
        scene.mean,
        scene.psi,
        iterations=MEAN_STEPS,
        tv_weight=tv_weight,
        read_noise_e=scene.noise_e,
        frames=len(scene.frames),
    )


def sofi(scene: Scene) -> Found:
    """Cross-cumulants of order 2, by SOFI_STEPS steps of Richardson-Lucy."""
    settings = scene.settings
    made = cumulants.sofi(scene.still, settings.psf, factor=settings.factor, iterations=SOFI_STEPS)
    return Found(made, {"neighbours": scene.neighbours}, emission=False)


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
    _, made = superresolution.by_covariance(
        scene.electrons, scene.psi, settings, settings.broken, **steps
    )
    return made.emission


def by_likelihood(scene: Scene) -> Found:
    """Ours, as `superresolve` gives it: the deconvolved mean where the fluctuations do not tell enough."""
    made = superresolution.superresolve(scene.frames, scene.settings)
    seen, told = made.information, made.facts or {}
    facts = {key: value for key, value in told.items() if key.startswith(NUMBERS)}
    facts |= {"information_z": seen.kappa / seen.error, "refused": float(not seen.enough)}
    return Found(made.picture, facts | {"neighbours": scene.neighbours})


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


def by_nanopyx(scene: Scene, kind: str) -> Found:
    """SRRF or eSRRF, which take neither camera nor PSF."""
    factor = scene.settings.factor
    made = srrf.picture(scene.still, factor=factor, kind=kind, **srrf.CHOSEN[kind])
    return Found(made, emission=False)


def vae_sofi(scene: Scene) -> Found:
    """SOFI on frames that were denoised where they lie."""
    return sofi(_denoised(scene))


def vae_likelihood(scene: Scene) -> Found:
    """Ours on denoised frames, told NOISE_LEFT of the noise. Where ours refuses the frames as they are, the same as that.

    `information_z` and `refused` are what the denoised frames tell: wrongly, as their noise is not independent any more.
    """
    quiet = _denoised(scene)
    told = superresolution.evidence(quiet.frames, quiet.whole, quiet.settings)
    seen = information.conclude([told], told.map)
    facts = {"information_z": seen.kappa / seen.error, "refused": float(not seen.enough)}
    facts["neighbours"] = quiet.neighbours
    if not _enough(scene):
        return Found(by_likelihood(scene).picture, facts)
    return Found(quiet.psi.inner(_likelihood(quiet)), facts)


def _denoised(scene: Scene) -> Scene:
    """In even light, and told the noise that is left."""
    camera = scene.settings.camera
    made = denoising.denoise(scene.electrons, camera, steps=VAE_STEPS).frames
    left = replace(
        camera,
        excess=NOISE_LEFT * camera.excess,
        read_noise_e=NOISE_LEFT**0.5 * camera.read_noise_e,
    )
    counts = made * np.float32(camera.gain) + np.float32(camera.offset)
    settings = replace(scene.settings, camera=left, flicker=None)
    return Scene(Frames(counts, scene.frames.path), settings)


METHODS: dict[str, Callable[[Scene], Found]] = {
    "mean": mean,
    "deconvolved": deconvolved,
    "deconvolved-tv": deconvolved_tv,
    "sofi": sofi,
    **{f"colorme-{penalty}": partial(of_colorme, penalty=penalty) for penalty in colorme.SHARES},
    "covariance": covariance,
    "likelihood": by_likelihood,
    "fluogan-published": partial(of_fluogan, variant="fluogan-published", physics="published"),
    "fluogan": partial(of_fluogan, variant="fluogan"),
    "fluogan-no-critic": fluogan_without_critic,
    "fluogan-from-likelihood": fluogan_from_likelihood,
    **{kind: partial(by_nanopyx, kind=kind) for kind in srrf.CHOSEN},
    "vae-sofi": vae_sofi,
    "vae-likelihood": vae_likelihood,
}
# Chosen with the truth, of several pictures: no user can.
ORACLES: dict[str, Callable[[Scene], Iterator[Found]]] = {"colorme-oracle": colorme_tried}
OURS = ("likelihood", "covariance", "fluogan-from-likelihood", "vae-likelihood")
SHOWN = ("mean", "deconvolved", "sofi", "colorme-l1", "likelihood")  # as pictures in the report


def apply(name: str, scene: Scene, score: Callable[[np.ndarray], float]) -> Found:
    """A method's picture. score: of a picture against the truth, which oracles alone use."""
    if name in METHODS:
        return METHODS[name](scene)
    return colorme.best_by_truth(ORACLES[name](scene), lambda found: score(found.picture))[0]
