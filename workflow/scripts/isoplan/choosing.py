"""How much to restore, chosen from the picture alone: the number of iterations and the TV weight.

Photons are held out. Each photon of a picture goes into its test part with probability HELD_OUT and
else into its fit part; thinned so, Poisson numbers become two independent ones. The fit part is
restored, and what its restoration says the camera would see is compared with the test part, which it
never saw: too few iterations miss structure that is there, too many predict noise that does not come
again. All photons are then restored with the iterations and the weight that do best.

- Squared errors are compared, as SNR counts squares. The Poisson deviance weighs dark ground by its small
  variance, and where few points shine on it, it chose too smooth.
- The fit part has 1 - HELD_OUT of the photons, so it is restored with 1 / (1 - HELD_OUT) times the
  weight: what suits goes about as one over the photons. Its iterations are taken as they are.

It takes as many restorations of MOST_ITERATIONS as there are pieces times weights, of PIECE_PX and a margin
a side: a bounded time for a mosaic of any size, more than its restoration takes where that has few cores.
The study `how-much` compares the choice with the best possible one.
"""

from dataclasses import dataclass

import numpy as np
import torch

from isoplan.base.progress import Progress
from isoplan.base.seeds import numpy_rng
from isoplan.deconvolution import richardson_lucy
from isoplan.exposure import Exposure, sort_pixels, thin
from isoplan.halo import MOST_ITERATIONS
from isoplan.mosaic import tiles
from isoplan.optics.blur import SpaceVariantBlur
from isoplan.restoration import LocalPsfs

HELD_OUT = 0.1

# TV weights to choose from, times the photons at the brightest pixels. The fewer the photons, the fewer of
# them are tried: no weight above LARGEST_WEIGHT. Where the first or the last does best, others follow beyond
# it, each by a FURTHER: downwards to about LEAST, as where few points shine, which the blur has spread over many
# dark pixels; upwards as where compression took the noise by which photons are counted.
WEIGHTS = (1.0, 2.0, 5.0, 12.0, 30.0)
LARGEST_WEIGHT, LEAST, FURTHER = 0.3, 0.001, 4.0

# What is taken where the photons cannot be counted.
FALLBACK = {"iterations": {"momentum": 10, "none": 20}, "tv_weight": 0.001}

# So many pieces of a mosaic are judged, of so many that are looked at; fewer are thinned more often.
PIECES, LOOKED_AT, PIECE_PX = 4, 64, 256


@dataclass(frozen=True)
class Piece:
    """counts (h, w) above the offset; blur: of that shape; judged: (rows, columns), the slices of it
    whose surroundings are in it too, as far as there are any."""

    counts: np.ndarray
    blur: SpaceVariantBlur
    judged: tiles.Window


def choose(
    pieces: list[Piece],
    settings: dict,
    *,
    exposure: Exposure,
    start: float,
    scale: float,
    seed: int,
    stream: str,
) -> dict:
    """Iterations and TV weight for a picture, or for a mosaic by a few pieces of it.

    settings: the config's `restoration`; what is not "auto" there stays as it is. exposure: of the
    mosaic, whose gain may be None. start, scale: of `measure.levels`.
    seed, stream: which photons are held out is a pure function of them.

    Returns iterations, tv_weight, reason (a sentence), photons (at `scale`; None where the gain is not
    known) and curves: for each weight tried, rising, tv_weight, iterations and the mean squared error of the
    held-out photons, in electrons^2 a pixel. Where nothing can be judged, curves is empty, and FALLBACK
    is taken.
    """
    photons = scale / exposure.gain if exposure.gain else None
    pieces = [piece for piece in pieces if (piece.counts[piece.judged] > 0).any()]
    if photons is None or not pieces:
        why = "the camera's gain is not known" if photons is None else "no PSF or no light is known"
        return _fallback(settings, f"{why}, so nothing can be held out", photons)
    judges = [
        _Judge(pieces[turn % len(pieces)], settings, exposure, numpy_rng(seed, stream, turn))
        for turn in range(-(-PIECES // len(pieces)) * len(pieces))
    ]
    judges = [judge for judge in judges if judge.pixels]
    if not judges:
        return _fallback(settings, "no pixel is usable, so nothing can be held out", photons)
    iterations, weights = candidates(settings), weights_for(settings, photons)
    brightest = max(photons, *(float(judge.fit.max()) / exposure.gain for judge in judges))

    def error(weight: float, bar: Progress) -> np.ndarray:
        total = np.zeros(len(iterations))
        for judge in judges:
            total += judge.errors(weight, iterations, start=start, scale=scale)
            bar.step()
        return np.nan_to_num(total / sum(judge.pixels for judge in judges), nan=np.inf)

    bar = Progress("judging by held-out photons, restorations", len(weights) * len(judges))
    found = {weight: error(weight, bar) for weight in weights}
    best = _best(found)
    while settings["tv_weight"] == "auto" and (weight := beyond(best, found, brightest)):
        bar = Progress(f"a TV weight of {weight:g} too, restorations", len(judges))
        found[weight] = error(weight, bar)
        best = _best(found)
    return {
        "iterations": iterations[int(found[best].argmin())],
        "tv_weight": best,
        "reason": (
            f"which foretell best the {100 * HELD_OUT:.0f} % of the photons that were held out; the "
            f"brightest pixels have {photons:.3g}"
        ),
        "photons": photons,
        "curves": [
            {
                "tv_weight": weight,
                "iterations": np.array(iterations)[np.isfinite(line)].tolist(),
                "error": line[np.isfinite(line)].tolist(),
            }
            for weight, line in sorted(found.items())
        ],
    }


def _best(found: dict[float, np.ndarray]) -> float:
    """The weight after which the error falls lowest."""
    return min(found, key=lambda weight: found[weight].min())


def beyond(best: float, found, photons: float) -> float | None:
    """The weight to try next, where the best one is the least or the largest of those tried.

    photons: at the brightest pixel of all, which may be far brighter than the mosaic's `scale`.
    """
    if best == min(found) and best > LEAST / photons:
        return float(f"{best / FURTHER:.2g}")
    if best == max(found) and best < LARGEST_WEIGHT:
        return min(float(f"{best * FURTHER:.2g}"), LARGEST_WEIGHT)
    return None


def candidates(settings: dict) -> list[int]:
    """Iterations to choose from: each up to 10, then steps of a tenth."""
    if settings["iterations"] != "auto":
        return [settings["iterations"]]
    found, last = [1], MOST_ITERATIONS[settings["acceleration"]]
    while found[-1] < last:
        found.append(min(found[-1] + max(1, round(found[-1] / 10)), last))
    return found


def weights_for(settings: dict, photons: float) -> list[float]:
    """TV weights to choose from, with two digits."""
    if settings["tv_weight"] != "auto":
        return [settings["tv_weight"]]
    rounded = (float(f"{number / photons:.2g}") for number in WEIGHTS)
    return sorted({min(weight, LARGEST_WEIGHT) for weight in rounded})


class _Judge:
    """One piece, thinned: how well restorations of its fit part tell its test part."""

    def __init__(self, piece: Piece, settings, exposure: Exposure, rng):
        self.settings, self.exposure = settings, exposure
        self.blur, device = piece.blur, piece.blur.device
        gain, pixels = exposure.gain, sort_pixels(piece.counts, exposure)
        usable = pixels.usable & ~pixels.saturated
        # Beyond 2^53 photons, of pictures without noise, doubles hold no whole numbers any more.
        electrons = np.minimum(np.where(usable, piece.counts, 0).astype(np.float64) / gain, 2.0**53)
        shift = exposure.shift / gain
        fit, test = thin(electrons, shift, rng, share=HELD_OUT)
        fit = fit / (1 - HELD_OUT) * gain - exposure.shift
        self.fit = torch.from_numpy(fit.astype(np.float32)).to(device)
        self.valid = torch.from_numpy(usable).to(device)
        judged = np.zeros(usable.shape, bool)
        judged[piece.judged] = True
        self.judged = torch.from_numpy(judged & usable).to(device)
        self.test = torch.from_numpy(test).to(device)[self.judged].double()
        self.pixels = int(self.judged.sum())

    def errors(self, tv_weight: float, iterations: list[int], *, start, scale) -> np.ndarray:
        """Squared error of the test part, summed over the pixels judged, after each of these iterations."""
        found, exposure = [], self.exposure
        pedestal = exposure.background + exposure.shift

        def watch(iteration: int, x: torch.Tensor) -> None:
            if iteration in iterations:
                seen = self.blur.forward(x)[self.judged].double() + pedestal
                seen /= exposure.gain
                found.append(float((self.test - HELD_OUT * seen).square().sum()))

        richardson_lucy(
            self.fit,
            self.blur,
            iterations=iterations[-1],
            tv_weight=tv_weight / (1 - HELD_OUT),
            tv_step=self.settings["tv_step"],
            acceleration=self.settings["acceleration"],
            start=exposure.start(start),
            scale=scale,
            background=exposure.background,
            shift=exposure.shift,
            valid=self.valid,
            callback=watch,
        )
        return np.array(found)


def _fallback(settings: dict, why: str, photons: float | None) -> dict:
    taken = {"iterations": FALLBACK["iterations"][settings["acceleration"]]}
    taken |= {"tv_weight": FALLBACK["tv_weight"]}
    known = {key: settings[key] for key in taken if settings[key] != "auto"}
    return (
        taken
        | known
        | {"reason": f"{why}; what often serves is taken", "photons": photons, "curves": []}
    )


# Pieces of a mosaic --------------------------------------------------------------------------------


def pieces_of(mosaic, local: LocalPsfs, facts: dict, *, order: str, device="cpu") -> list[Piece]:
    """PIECES pieces of a mosaic that stand for what is to be seen in it, or fewer of a small one.

    None where no PSF is known.

    Squares of PIECE_PX, spread evenly over the mosaic, are looked at, at most LOOKED_AT. Each has some
    texture: its variance beyond the noise's. In the order of their texture they are cut into
    PIECES groups of equal texture in sum, and the middle one of each is taken: bright detail, where
    restoring matters, is drawn before empty ground. Each piece comes with a margin of half a PSF.
    facts: of `mosaic.measure`, with offset, gain and read_noise_e.
    """
    cores = tiles.shards(mosaic.shape, PIECE_PX)
    looked_at = np.unique(np.linspace(0, len(cores) - 1, LOOKED_AT).round().astype(int))
    cores = [cores[k] for k in looked_at]
    texture = np.array([_texture(_read(mosaic, core, facts), facts) for core in cores])
    ranked = np.argsort(texture, kind="stable")
    share = np.cumsum(texture[ranked])
    if not share[-1] > 0:
        return []
    middles = (np.arange(PIECES) + 0.5) / PIECES * share[-1]
    margin = local.model.size_px // 2
    pieces = []
    for k in np.unique(np.searchsorted(share, middles)):
        core = cores[ranked[k]]
        outer = tiles.with_halo(core, margin, mosaic.shape)
        window = outer[0].start, outer[0].stop, outer[1].start, outer[1].stop
        counts = _read(mosaic, outer, facts)
        psfs = local.around(*window)
        if psfs is not None:
            blur = SpaceVariantBlur(psfs[0].to(device), *psfs[1:], counts.shape, order=order)
            pieces.append(Piece(counts, blur, tiles.inside(core, outer)))
    return pieces


def _read(mosaic, window: tiles.Window, facts: dict) -> np.ndarray:
    rows, columns = window
    counts = mosaic.read(rows.start, rows.stop, columns.start, columns.stop)
    return counts - np.float32(facts["offset"])


def _texture(counts: np.ndarray, camera: dict) -> float:
    """Sum over the piece of its variance beyond that of photons and read noise, in counts^2."""
    finite = counts[np.isfinite(counts)].astype(np.float64)
    if not finite.size:
        return 0.0
    gain = camera["gain"] or 0.0
    noise = gain * max(finite.mean(), 0.0) + (gain * (camera["read_noise_e"] or 0.0)) ** 2
    return finite.size * max(finite.var() - noise, 0.0)
