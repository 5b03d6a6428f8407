"""A sequence of fluctuating frames to one picture on a finer grid, block by block.

Without information in the fluctuations the picture is the deconvolved mean: nothing finer is claimed than it shows.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.ndimage import gaussian_filter, median_filter

from isoplan.applications.fluctuation import (
    baselines,
    blinking,
    certainty,
    information,
    likelihood,
    scores,
)
from isoplan.applications.fluctuation.formation import Formation
from isoplan.applications.fluctuation.information import Evidence, Information
from isoplan.applications.fluctuation.sequence import Frames
from isoplan.applications.fluctuation.settings import Settings, check

CORE_PX = 64  # side of the squares that are worked on alone
HALO_PX = 8  # around them: emitters farther away are not seen in a core
DISAGREES = {"mean": 5.0, "covariance": 1.3}  # reduced chi-squares, above which the model is wrong
START_STEPS = 30  # of Richardson-Lucy before the likelihood: sharper starts fit less well at seams
HALVES_BLUR_PX = 1.0  # standard deviation in fine pixels, before halves are correlated
EXPLAINED = 0.7  # share of the mean's structure, below which the scale of the emission is uncertain
UNRELATED = 4.0  # k_on + k_off per frame, from which nothing lasts to the next frame


@dataclass(frozen=True)
class Block:
    """What was found in one square.

    Parameters
    ----------
    emission, deconvolved : ndarray
        (core * factor) float32, electrons per frame and fine pixel: by mean and covariance, and by the mean alone.
    mean, background : ndarray
        (core) float32, electrons per frame and pixel.
    facts : dict
        `kappa` of each band, `agreement` of mean and covariance, `alone` (see `likelihood.Agreement`), what `certainty`
        says of it, and `weight`, the light by which blocks are averaged.
    halves : ndarray, optional
        (2, 2, core * factor): `emission` and `deconvolved` of the first half of the frames, and of the second.
    """

    emission: np.ndarray
    deconvolved: np.ndarray
    mean: np.ndarray
    background: np.ndarray
    facts: dict
    halves: np.ndarray | None = None


@dataclass(frozen=True)
class SuperResolved:
    """A picture on a finer grid, with what it was judged by.

    Parameters
    ----------
    picture : ndarray
        (height * factor, width * factor) float32, electrons per frame and fine pixel. The deconvolved mean, where
        `information` is not enough.
    deconvolved : ndarray
        The same, of the mean alone.
    mean, background : ndarray
        (height, width) float32, electrons per frame and pixel.
    information : Information
        Whether the fluctuations tell more than the mean, and where.
    facts : dict
        `amplitude_e` and `rate` of the emitters (see `blinking.Blinking`), their intervals and that of the emission (see
        `certainty.intervals`), reduced chi-squares `mean_agreement` and `covariance_agreement`, `covariance_alone`, and
        `explained` (see `likelihood.Estimate`); with halves, their correlation `halves`, and `halves_deconvolved`. None without information.
    notes : tuple of str
        What was found and assumed, in words.
    halves : ndarray, optional
        (2, 2, height * factor, width * factor): the picture and the deconvolved mean of the first half of the frames, and
        of the second.
    """

    picture: np.ndarray
    deconvolved: np.ndarray
    mean: np.ndarray
    background: np.ndarray
    information: Information
    facts: dict | None
    notes: tuple[str, ...] = ()
    halves: np.ndarray | None = None


def cores(shape: tuple[int, int]) -> list[tuple[slice, slice]]:
    """Squares that cover a frame, of about CORE_PX px each and none much smaller.

    Examples
    --------
    >>> cores((32, 130))
    [(slice(0, 32, None), slice(0, 65, None)), (slice(0, 32, None), slice(65, 130, None))]
    """
    sides = []
    for n in shape:
        count = max(round(n / CORE_PX), 1)
        edges = [n * k // count for k in range(count + 1)]
        sides.append([slice(a, b) for a, b in pairwise(edges)])
    return [(rows, columns) for rows in sides[0] for columns in sides[1]]


def electrons_of(frames: Frames, core: tuple[slice, slice], settings: Settings) -> np.ndarray:
    """Electrons of a core with its halo: (t, height, width) float32, as of an even light.

    Broken pixels have the median of their surroundings.
    """
    y0, y1, x0, x1 = _window(frames.shape, core)
    electrons = settings.camera.electrons(frames.read(y0, y1, x0, x1))
    if settings.flicker is not None:
        electrons = electrons / settings.flicker.astype(np.float32)[:, None, None]
    if settings.broken is not None:
        broken = settings.broken[y0:y1, x0:x1]
        for frame in electrons if broken.any() else ():
            frame[broken] = median_filter(frame, 5)[broken]
    return electrons


def evidence(frames: Frames, core: tuple[slice, slice], settings: Settings) -> Evidence:
    """What a core, with its halo, says of fluctuations; its map is the core's."""
    y0, _, x0, _ = _window(frames.shape, core)
    found = information.gather(
        electrons_of(frames, core, settings),
        settings.psf,
        broken=_broken(frames.shape, core, settings),
        core=tuple(slice(s.start - o, s.stop - o) for s, o in zip(core, (y0, x0), strict=True)),
    )
    return Evidence(found.lags, found.sums, found.totals, _core_of(found.map, frames.shape, core))


def block(frames: Frames, core: tuple[slice, slice], settings: Settings, enough: bool) -> Block:
    """Emission of a core. enough: whether the fluctuations are used; else both pictures are the mean's."""
    electrons, broken = electrons_of(frames, core, settings), _broken(frames.shape, core, settings)
    psf, factor = settings.psf, settings.factor
    psi = Formation.of(electrons.shape[1:], psf, factor=factor, border=likelihood.BORDER_PX)

    def cut(fine: np.ndarray) -> np.ndarray:
        return _core_of(psi.inner(fine), frames.shape, core, factor).astype(np.float32)

    mean, deconvolved = by_mean(electrons, psi, settings)
    background = np.full(mean.shape, baselines.background_of(mean))
    facts = {"weight": float(np.maximum(mean - background, 0).sum())}
    emission, halves = deconvolved, None
    if enough:
        seen, made = by_covariance(electrons, psi, settings, broken)
        agrees = likelihood.agreement(seen, made, psf, factor=factor)
        emission, background = made.emission, made.background
        facts |= {
            "kappa": list(made.kappa),
            "segments": certainty.of_segments(electrons, seen, made, psf, factor=factor).tolist(),
            "scale_error": certainty.of_scale(seen, made, psf, factor=factor),
            "bands": [view.band for view in seen.views],
            "mean_agreement": agrees.mean,
            "covariance_agreement": float(agrees.covariance),
            "covariance_alone": float(agrees.alone),
            "explained": made.explained,
        }
    if enough and settings.halves:
        middle = len(electrons) // 2
        halves = []
        for first, last in ((0, middle), (middle, len(electrons))):
            part, told = electrons[first:last], settings.of(first, last)
            _, half = by_covariance(part, psi, told, broken)
            halves.append([cut(half.emission), cut(by_mean(part, psi, told)[1])])
        halves = np.array(halves)
    flat = (_core_of(one, frames.shape, core).astype(np.float32) for one in (mean, background))
    return Block(cut(emission), cut(deconvolved), *flat, facts, halves)


def by_mean(
    electrons: np.ndarray, psi: Formation, settings: Settings, iterations: int = baselines.STEPS
) -> tuple[np.ndarray, np.ndarray]:
    """The mean of frames, and the same deconvolved, with its border: (fine height, fine width)."""
    mean = electrons.mean(axis=0, dtype=np.float64)
    level, noise = baselines.background_of(mean), settings.camera.variance(0.0) / len(electrons)
    made = baselines.richardson_lucy(
        mean, psi, iterations=iterations, background=level, shift=noise
    )
    return mean, made


def by_covariance(
    electrons: np.ndarray,
    psi: Formation,
    settings: Settings,
    broken: np.ndarray | None = None,
    **steps: int,
) -> tuple[likelihood.Moments, likelihood.Estimate]:
    """What the likelihood reads of frames, and its estimate. broken: pixels that shall not count."""
    camera = settings.camera
    seen = likelihood.moments(
        electrons,
        read_noise_e=camera.variance(0.0) ** 0.5,
        excess=camera.excess,
        parts=settings.parts or None,
        broken=broken,
    )
    _, start = by_mean(electrons, psi, settings, START_STEPS)
    made = likelihood.fit(seen, settings.psf, factor=settings.factor, start=start, **steps)
    return seen, made


def superresolve(
    frames: Frames, settings: Settings, *, step: Callable[[], None] = lambda: None
) -> SuperResolved:
    """A picture on a finer grid of a whole sequence.

    Parameters
    ----------
    frames : Frames
        The sequence.
    settings : Settings
        PSF, camera, factor and drift.
    step : callable
        Is called after every square, twice: once looked at, once made finer.

    Returns
    -------
    SuperResolved
        One square's frames and covariances are held at a time, and the pictures.

    Examples
    --------
    >>> from isoplan.applications.fluctuation.camera import Camera
    >>> from isoplan.applications.fluctuation.formation import Psf
    >>> still = np.random.default_rng(0).poisson(60, size=(60, 20, 20)) + 100
    >>> made = superresolve(Frames(still), Settings(Psf(2.5), Camera(gain=1, read_noise_e=0)))
    >>> made.information.enough, made.picture.shape
    (False, (80, 80))
    """
    check(frames, settings.psf)
    places, found = cores(frames.shape), []
    for core in places:
        found.append(evidence(frames, core, settings))
        step()
    told = weigh(found, frames.shape)

    def blocks() -> Iterator[Block]:
        for core in places:
            yield block(frames, core, settings, told.enough)
            step()

    return join(blocks(), told, frames.shape, len(frames), settings)


def weigh(found: list[Evidence], shape: tuple[int, int]) -> Information:
    """What the evidence of all cores of a frame, in their order, tells together."""
    chart = np.zeros(shape, np.float32)
    for core, one in zip(cores(shape), found, strict=True):
        chart[core] = one.map
    return information.conclude(found, chart)


def join(
    blocks: Iterable[Block],
    told: Information,
    shape: tuple[int, int],
    frames: int,
    settings: Settings,
) -> SuperResolved:
    """The blocks of all cores of a frame, in their order, as one. frames: how many the sequence has."""
    factor = settings.factor
    fine = np.zeros((2, *(n * factor for n in shape)), np.float32)
    flat = np.zeros((2, *shape), np.float32)
    halves = np.zeros((2, *fine.shape), np.float32) if settings.halves and told.enough else None
    facts = []
    for core, made in zip(cores(shape), blocks, strict=True):
        finer = tuple(slice(side.start * factor, side.stop * factor) for side in core)
        fine[0][finer], fine[1][finer] = made.emission, made.deconvolved
        flat[0][core], flat[1][core] = made.mean, made.background
        if halves is not None:
            halves[(..., *finer)] = made.halves
        facts.append(made.facts)
    totals = [float(one.sum(dtype=float)) for one in (fine[0], flat[0])]
    summed = summary(facts, frames, settings, *totals) if told.enough else None
    if halves is not None:
        blurred = gaussian_filter(halves, HALVES_BLUR_PX, axes=(2, 3))
        agree = [scores.correlation(first, second) for first, second in zip(*blurred, strict=True)]
        summed |= {"halves": agree[0], "halves_deconvolved": agree[1]}
    return SuperResolved(*fine, *flat, told, summed, halves=halves)


def summary(
    facts: list[dict], frames: int, settings: Settings, emission: float, light: float
) -> dict:
    """Of all blocks, averaged by their light: see `SuperResolved.facts`.

    emission, light: of all emitters and in the frames, electrons per frame.
    """
    weight = np.array([one["weight"] for one in facts])
    weight = weight / max(weight.sum(), 1e-30)
    kappa = np.exp(weight @ np.log([np.maximum(one["kappa"], 1e-9) for one in facts]))
    longest = max((count for count, _ in settings.parts), default=frames)
    bands = dict.fromkeys(facts[0]["bands"])
    each = [
        np.mean([k for k, b in zip(kappa, facts[0]["bands"], strict=True) if b == band])
        for band in bands
    ]
    edges = [next(iter(bands))[0], *(high for _, high in bands)]
    told = blinking.fit(each, edges, longest)
    segments = np.tensordot(weight, [one["segments"] for one in facts], 1)
    scale = float(np.linalg.norm(weight * [one["scale_error"] for one in facts]))
    seen = {"emission": emission, "light": light, "length": frames}
    sure = certainty.intervals(np.array(each), segments, scale, edges, longest, **seen)
    agreed = ("mean_agreement", "covariance_agreement", "covariance_alone", "explained")
    means = {key: float(weight @ [one[key] for one in facts]) for key in agreed}
    return {"amplitude_e": told.amplitude_e, "rate": told.rate, **sure, **means}


def describe(found: SuperResolved) -> list[str]:
    """What is to be told of a result: whether it is finer than the mean, and how well it agrees with the frames."""
    seen, facts = found.information, found.facts
    if facts is None:
        return [f"CAUTION: NOT super-resolved: {seen.reason}. The picture is the deconvolved mean"]
    told = [
        f"neighbouring pixels fluctuate together in the PSF's shape ({seen.kappa / seen.error:.0f} standard errors)",
        f"the picture, formed again, differs from mean and covariance by {facts['mean_agreement']:.2g} and "
        f"{facts['covariance_agreement']:.2g} times their noise (reduced chi-squares; {facts['covariance_alone']:.2g} had "
        "nothing fluctuated)",
        f"an emitter sends (1 - p) I = {_told(facts, 'amplitude_e')} electrons per frame, where it is on for a share p of "
        f"the time with intensity I, and switches at k_on + k_off = {_told(facts, 'rate')} per frame",
    ]
    if "halves" in facts:
        told.append(
            f"pictures of the two halves of the sequence correlate by {facts['halves']:.2f}, blurred by one fine pixel; those of "
            f"the deconvolved mean by {facts['halves_deconvolved']:.2f}, which shows that this proves no resolution. What they do "
            "not share is not to be trusted"
        )
    if facts["rate"] > UNRELATED:
        told.append(
            "CAUTION: fluctuations of successive frames are unrelated: emitters switch within a frame, or the frames are not "
            "in their order"
        )
    if facts["explained"] < EXPLAINED:
        told.append(
            f"CAUTION: what fluctuates explains {100 * facts['explained']:.0f} % of the mean's structure: the field is small, the "
            "object smooth, or part of its light does not fluctuate. Emission and (1 - p) I are uncertain"
        )
    return told + [
        f"CAUTION: the {what} does not agree with this PSF: look at its width, the gain, and what moves"
        for what, most in DISAGREES.items()
        if facts[f"{what}_agreement"] > most
    ]


def _told(facts: dict, name: str) -> str:
    """A number with its interval, where there is one."""
    stem, unit = name.removesuffix("_e"), "_e" if name.endswith("_e") else ""
    ends = [facts.get(f"{stem}_{end}{unit}") for end in ("low", "high")]
    between = "" if None in ends else f" (95 %: {ends[0]:.2g} to {ends[1]:.2g})"
    return f"{facts[name]:.2g}{between}"


def _window(shape, core) -> tuple[int, int, int, int]:
    """A core with its halo, within the frame: (y0, y1, x0, x1)."""
    sides = [
        (max(side.start - HALO_PX, 0), min(side.stop + HALO_PX, n))
        for side, n in zip(core, shape, strict=True)
    ]
    return *sides[0], *sides[1]


def _broken(shape, core, settings: Settings) -> np.ndarray | None:
    """The mask of a core with its halo."""
    y0, y1, x0, x1 = _window(shape, core)
    return None if settings.broken is None else settings.broken[y0:y1, x0:x1]


def _core_of(window: np.ndarray, shape, core, factor: int = 1) -> np.ndarray:
    """The core's part of its window."""
    y0, _, x0, _ = _window(shape, core)
    return window[
        (core[0].start - y0) * factor : (core[0].stop - y0) * factor,
        (core[1].start - x0) * factor : (core[1].stop - x0) * factor,
    ]
