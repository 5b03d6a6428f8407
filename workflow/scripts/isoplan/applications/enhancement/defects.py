"""Defects of an instrument: what they do to a simulated picture, and signs of them in a user's picture."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.interpolate import CubicSpline

from isoplan.mosaic.window import Picture

FWHM = 2.3548  # of a Gaussian, in standard deviations
HAZE = 10.0  # width of the haze of oil, in widths of the PSF
FOCI = 12  # blurs that stand for all blurs of a tilted slide

BLOCK_PX, BLOCKS = 1024, 256  # side of the windows that are read, and how many of them at most
LINES, ALONG_PX = 16, 128  # height and width of the tiles that are looked at
REGIONS = 4  # a side of the picture has so many regions, which are compared with each other

# Shears, in px: how far lines are compared, the largest that is looked for, its steps, and the least that is told.
REACH_PX, SOUGHT_PX, FINE_PX, LEAST_PX = 16, 14, 0.05, 0.2
STEPS = (6, 5, 4, 3, 2)  # lines per scanned line that are looked for
FEWEST = 4  # lines of each kind, of which a step is told
ROUNDING = (
    0.2  # counts^2 that rounding leaves of the difference of an interpolated line to its neighbours
)
CLEAR = 10.0  # scanned lines differ by so many times more
WIDE_PX = 4  # shift along a line after which sharp structures agree less
LEAST_LOST = 0.25  # share of the contrast that is told
STRAIGHT = 0.2  # a loss along the scan has less than this share of it across the scan
LEAST_BLUR = 0.2  # change of the logarithm of the sharpness that is told
# Standard errors from which each is told. Real pictures without a tilt reach 5.
SURE = {"shear": 5.0, "bleaching": 6.0, "tilt": 6.0}
STILL = 3.0  # below so many of a tilt the sharpness stays


@dataclass(frozen=True)
class Defects:
    """Defects of a scanning microscope; 0 is none. Lines of the scan are rows of the picture.

    Parameters
    ----------
    shear_px : float
        Bidirectional scan: every second scanned line is shifted along the line by so many px.
    line_step : int
        One line of so many is scanned, those between are interpolated; 1, too, scans all.
    oil : float
        Oil on an air objective, 0 to 1: the PSF is 1 + oil times as wide, and this share of the light becomes a haze of
        HAZE times its width.
    tilt : float
        Tilted slide: full width at half maximum in px of the blur out of focus at the far edge. It grows from 0 across
        the mosaic, in a direction that is drawn.
    bleaching : float
        Share of the light that is lost when the last line is scanned. It is lost evenly over the scan.
    """

    shear_px: float = 0.0
    line_step: int = 0
    oil: float = 0.0
    tilt: float = 0.0
    bleaching: float = 0.0

    def light(self, seen: np.ndarray, blur_fwhm_px: float, rng: np.random.Generator) -> np.ndarray:
        """What the detector samples of the light, before any noise.

        Parameters
        ----------
        seen : ndarray
            (h, w) photons per pixel behind a PSF of blur_fwhm_px.
        blur_fwhm_px : float
            Full width at half maximum of the Gaussian PSF in px.
        rng : numpy.random.Generator
            Draws the direction of the tilt.

        Returns
        -------
        ndarray
            (h, w) photons per pixel.

        Examples
        --------
        >>> dot = np.zeros((4, 9))
        >>> dot[:, 4] = 10
        >>> Defects(shear_px=2).light(dot, 0, np.random.default_rng(0)).argmax(1)
        array([4, 6, 4, 6])
        >>> Defects(bleaching=0.3).light(dot, 0, np.random.default_rng(0))[:, 4]
        array([10.,  9.,  8.,  7.])
        """
        direction = rng.uniform(0, 2 * np.pi)
        light = np.asarray(seen, float)
        if self.tilt:
            light = _tilted(light, self.tilt / FWHM, direction)
        if self.oil:
            width = blur_fwhm_px / FWHM
            # The widths of Gaussians add in squares.
            core = ndimage.gaussian_filter(light, width * np.sqrt((1 + self.oil) ** 2 - 1))
            haze = ndimage.gaussian_filter(light, HAZE * width)
            light = (1 - self.oil) * core + self.oil * haze
        if self.bleaching:
            scanned = np.linspace(0, 1, len(light))[:, None]
            light = light * (1 - self.bleaching * scanned)
        if self.shear_px:
            light = light.copy()
            back = slice(self.stride, None, 2 * self.stride)  # lines that are scanned backwards
            light[back] = ndimage.shift(light[back], (0, self.shear_px), mode="nearest")
        return np.maximum(light, 0)

    @property
    def stride(self) -> int:
        """Lines from one scanned line to the next."""
        return max(self.line_step, 1)

    def stored(self, counts: np.ndarray, whole: bool) -> np.ndarray:
        """The picture that the microscope stores: lines that were not scanned are interpolated.

        Parameters
        ----------
        counts : ndarray
            (h, w) counts of all lines.
        whole : bool
            Whether counts are whole numbers.

        Returns
        -------
        ndarray
            (h, w) float32 counts. Lines beyond the last scanned one repeat it.

        Examples
        --------
        >>> Defects(line_step=2).stored(np.array([[0.0], [9.0], [4.0], [9.0]]), True).ravel()
        array([0., 2., 4., 4.], dtype=float32)
        """
        if self.stride == 1:
            return counts.astype(np.float32)
        scanned = counts[:: self.stride].astype(float)
        place = np.minimum(np.arange(len(counts)) / self.stride, len(scanned) - 1)
        below = np.minimum(np.floor(place).astype(int) + 1, len(scanned) - 1)
        share = (place % 1)[:, None]
        made = (1 - share) * scanned[np.floor(place).astype(int)] + share * scanned[below]
        return (np.round(made) if whole else made).astype(np.float32)


def _tilted(light: np.ndarray, deviation_px: float, direction: float) -> np.ndarray:
    """Blur that grows from 0 to deviation_px across the picture; between FOCI blurs it is interpolated."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in light.shape), indexing="ij")
    way = np.sin(direction) * y + np.cos(direction) * x
    way = (way - way.min()) / np.ptp(way) * (FOCI - 1)
    made = np.zeros_like(light)
    for focus in range(FOCI):
        blurred = ndimage.gaussian_filter(light, deviation_px * focus / (FOCI - 1))
        made += np.clip(1 - np.abs(way - focus), 0, None) * blurred
    return made


@dataclass(frozen=True)
class Signs:
    """What the detectors take from a picture, read once.

    Attributes
    ----------
    shape : tuple of int
        (H, W) of the picture in px.
    whole : bool
        Whether its counts are whole numbers.
    places : ndarray
        (tiles, 2) middle of each tile (y, x) in px. Tiles are of LINES x ALONG_PX; one with a missing pixel is left out.
    energy : ndarray
        (tiles,) mean square of the lines, each without its mean, in counts^2; the noise is in it.
    agreement : ndarray
        (tiles, 2 REACH_PX + 1) mean product, in counts^2, of a line and the mean of the lines above and below it, which
        are shifted along the line by -REACH_PX to REACH_PX px. Shifts count to the right, of odd lines against even ones.
        As the noise of lines is independent, it is free of noise on average.
    rows : ndarray
        (2, H) sums of squares, in counts^2, of the difference of a line to that above, and to the mean of both neighbours.
    counted : ndarray
        (H,) of how many pixels.
    """

    shape: tuple[int, int]
    whole: bool
    places: np.ndarray
    energy: np.ndarray
    agreement: np.ndarray
    rows: np.ndarray
    counted: np.ndarray

    @classmethod
    def of(cls, picture: Picture) -> "Signs":
        """Reads the picture once, by windows of BLOCK_PX; of a mosaic of more than BLOCKS of them, as many at random.

        Raises
        ------
        UserError
            If the file is damaged.
        """
        height = picture.shape[0]
        rows, counted = np.zeros((2, height)), np.zeros(height)
        whole, found = True, []
        windows = list(picture.windows(BLOCK_PX))
        for number in np.sort(np.random.default_rng(0).permutation(len(windows))[:BLOCKS]):
            y0, y1, x0, x1 = windows[number]
            block = picture.read(y0, y1, x0, x1).astype(float)
            steps = block[1:-1] - np.stack([block[:-2], (block[:-2] + block[2:]) / 2])
            known = np.isfinite(steps).all(0)
            rows[:, y0 + 1 : y1 - 1] += np.where(known, steps**2, 0).sum(2)
            counted[y0 + 1 : y1 - 1] += known.sum(1)
            seen = block[np.isfinite(block)]
            whole = whole and bool((seen == np.round(seen)).all())
            found += _tiles(block, y0, x0)
        places, energy, agreement = (
            (np.concatenate(part) for part in zip(*found, strict=True))
            if found
            else (np.zeros((0, 2)), np.zeros(0), np.zeros((0, 2 * REACH_PX + 1)))
        )
        return cls(picture.shape, whole, places, energy, agreement, rows, counted)

    @property
    def likeness(self) -> np.ndarray:
        """(tiles, 2 REACH_PX + 1) agreement as a share of the energy, for tiles that are not constant."""
        seen = self.energy > 0
        return self.agreement[seen] / self.energy[seen, None]


def _tiles(block: np.ndarray, y0: int, x0: int) -> list[tuple]:
    """Places, energies and agreements of the tiles of a block whose corner is (y0, x0); [] where it holds none."""
    down, across = (len(block) - 2) // LINES, block.shape[1] // ALONG_PX
    if down < 1 or across < 1:
        return []
    taper = np.hanning(ALONG_PX + 2)[1:-1]
    taper /= np.sqrt((taper**2).mean())
    # A tile's first and last lines have neighbours outside it.
    lines = block[: down * LINES + 2, : across * ALONG_PX].reshape(-1, across, ALONG_PX)
    # A line's mean is taken under the taper, so that nothing of it is left there.
    lines = (lines - (lines * taper).mean(2, keepdims=True) / taper.mean()) * taper
    spectrum = np.fft.rfft(lines, axis=2)
    cross = spectrum[1:-1] * np.conj(spectrum[:-2] + spectrum[2:]) / 2
    even = np.arange(y0 + 1, y0 + 1 + len(cross)) % 2 == 0
    cross[even] = cross[even].conj()

    def averaged(values: np.ndarray) -> np.ndarray:
        """Means over the lines of every tile."""
        return values.reshape(down, LINES, across, -1).mean(1).reshape(down * across, -1)

    shifts = np.fft.irfft(averaged(cross), ALONG_PX, axis=1) / ALONG_PX
    agreement = np.roll(shifts, REACH_PX, axis=1)[:, : 2 * REACH_PX + 1]
    energy = averaged((lines[1:-1] ** 2).mean(2))[:, 0]
    middles = np.indices((down, across)) + 0.5
    places = np.stack([y0 + 1 + LINES * middles[0], x0 + ALONG_PX * middles[1]], -1).reshape(-1, 2)
    full = np.isfinite(energy) & np.isfinite(agreement).all(1)
    return [(places[full], energy[full], agreement[full].astype(np.float32))]


@dataclass(frozen=True)
class Estimate:
    """A sign of a defect.

    Attributes
    ----------
    value, error : float
        What it is, and its standard error.
    sure : float
        How far it is from none, in standard errors.
    told : bool
        Whether it is sure and large enough to be told.
    """

    value: float
    error: float
    sure: float
    told: bool


def shear(signs: Signs) -> Estimate | None:
    """How far odd lines are shifted against even ones in px, to the right above 0; None if no tile tells.

    The shift is where odd and even lines agree best (cross-correlation). Without a shear, odd and even lines may be
    exchanged, so that shifts to the left and to the right agree equally well on average, whatever the specimen. The sum over
    tiles of agreement to the right minus that to the left is compared with the root of the sum of its squares, whose ratio has
    no heavier tails than a Gaussian's (Efron, J. Am. Stat. Assoc. 64 (1969) 1278).

    Examples
    --------
    >>> from scipy import ndimage
    >>> from isoplan.restoration.in_memory import Counts
    >>> light = ndimage.gaussian_filter(np.random.default_rng(0).random((512, 512)), 2)
    >>> light[1::2] = np.roll(light[1::2], 3, axis=1)
    >>> found = shear(Signs.of(Counts(light)))
    >>> round(found.value, 1), found.told
    (3.0, True)
    """
    likeness = signs.likeness
    if len(likeness) < 2:
        return None
    shifts = np.arange(-REACH_PX, REACH_PX + 1)
    # A spline is linear in its values: `between(x)` are the weights of whole shifts for one of x px.
    between = CubicSpline(shifts, np.eye(len(shifts)))
    mean = likeness.mean(0)
    steps = round(SOUGHT_PX / FINE_PX)
    tried = np.arange(-steps, steps + 1) * FINE_PX
    best = float(tried[(between(tried) @ mean).argmax()])
    apart = likeness @ (between(best) - between(-best))
    sure = float(apart.sum() / max(np.sqrt((apart**2).sum()), 1e-30))
    # At the peak the slope is 0; its scatter over tiles, by the curvature, is that of the peak's place.
    slopes = likeness @ between(best, 1)
    bend = len(slopes) * abs(float(between(best, 2) @ mean))
    error = float(np.sqrt((slopes**2).sum()) / max(bend, 1e-30))
    inside = LEAST_PX <= abs(best) < SOUGHT_PX
    return Estimate(best, error, sure, inside and sure >= SURE["shear"])


def line_step(signs: Signs) -> int:
    """One line of so many was measured, and those between are interpolated or repeat it; 1 where all were measured.

    An interpolated line is the mean of its neighbours but for rounding, a repeated one is that above. So differences to
    either are large at one line of so many alone.

    Examples
    --------
    >>> from isoplan.restoration.in_memory import Counts
    >>> counts = np.random.default_rng(0).poisson(20.0, (128, 256))
    >>> stored = Defects(line_step=3).stored(counts, True)
    >>> line_step(Signs.of(Counts(counts))), line_step(Signs.of(Counts(stored)))
    (1, 3)
    """
    known = np.flatnonzero(signs.counted)
    rounding, least = (ROUNDING, 0.5) if signs.whole else (0.0, 0.0)
    for step in STEPS:
        places = [known[known % step == k] for k in range(step)]
        if min(map(len, places)) < FEWEST:
            continue
        for rows in signs.rows:
            parts = [rows[place] / signs.counted[place] for place in places]
            scanned = int(np.argmax([np.median(part) for part in parts]))
            # Quartiles, as a wrong step mixes both kinds of lines.
            high = np.quantile(parts.pop(scanned), 0.25)
            low = max(np.quantile(part, 0.75) for part in parts)
            if high > CLEAR * max(low - rounding, 0) + least:
                return step
    return 1


def bleaching(signs: Signs) -> Estimate | None:
    """Share of their contrast that structures lose from the first line to the last; None if the picture does not tell.

    The logarithm of the contrast of REGIONS^2 regions, free of noise and of the dark level, is fitted by a plane. What
    scatters about the plane, as tissue does, makes its error. A loss is told along the scan alone, as tissue that gets dimmer
    in any other direction is none, and where the sharpness stays, as blur lowers the contrast too.
    """
    regions = _regions(signs, signs.agreement)
    plane = _plane(0.5 * _logarithm(regions[..., REACH_PX]))
    sharp = tilt(signs)
    if plane is None or sharp is None:
        return None
    (down, across), error = plane
    lost = 1 - float(np.exp(down))
    sure = float(-down / error)
    told = (
        lost >= LEAST_LOST
        and sure >= SURE["bleaching"]
        and abs(across) < STRAIGHT * abs(down)
        and sharp.sure < STILL
    )
    return Estimate(lost, float(np.exp(down)) * error, sure, bool(told))


def tilt(signs: Signs) -> Estimate | None:
    """Change of the logarithm of the sharpness across the picture; None if the picture does not tell.

    The sharpness of a region is the share of their agreement that lines lose over WIDE_PX. It is free of noise. A plane
    is fitted as by `bleaching`; `sure` is of its slope in whichever direction it is largest.
    """
    seen = signs.energy > 0
    regions = _regions(
        signs, np.where(seen, 1 / np.where(seen, signs.energy, 1), 0)[:, None] * signs.agreement
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        lost = 1 - regions[..., REACH_PX + WIDE_PX] / regions[..., REACH_PX]
    plane = _plane(_logarithm(np.where(regions[..., REACH_PX] > 0, lost, np.nan)))
    if plane is None:
        return None
    slopes, error = plane
    change = float(np.hypot(*slopes))
    sure = change / error
    return Estimate(change, error, sure, change >= LEAST_BLUR and sure >= SURE["tilt"])


def cautions(signs: Signs) -> list[str]:
    """A plain sentence for every defect that is told. Oil is not: its haze looks like that of thick tissue."""
    step = line_step(signs)
    if step > 1:  # lines that share their noise make the other signs unsure
        return [
            f"one line of {step} is measured, and the others are interpolated or repeat it (line step, or the picture was "
            "enlarged): scan every line"
        ]
    found = []
    lines, lost, blurred = shear(signs), bleaching(signs), tilt(signs)
    if lines and lines.told:
        found.append(
            f"every second line is shifted by {abs(lines.value):.1f} px (bidirectional scan): correct it in the "
            "microscope's software first"
        )
    if lost and lost.told:
        found.append(
            f"structures lose {100 * lost.value:.0f} % of their contrast from the first line to the last: bleaching along the "
            "scan, unless the specimen itself does so"
        )
    if blurred and blurred.told:
        found.append(
            "the sharpness changes across the picture: a tilted slide, unless the specimen itself does so; look at the focus "
            "at all its edges"
        )
    return found


def _regions(signs: Signs, agreement: np.ndarray) -> np.ndarray:
    """(REGIONS, REGIONS, shifts) mean agreement of the tiles in each region, alike in both directions; NaN without tiles."""
    share = signs.places / np.array(signs.shape)
    rows, columns = np.minimum((share * REGIONS).astype(int), REGIONS - 1).T
    sums = np.zeros((REGIONS, REGIONS, agreement.shape[1]))
    counts = np.zeros((REGIONS, REGIONS, 1))
    np.add.at(sums, (rows, columns), agreement)
    np.add.at(counts, (rows, columns), 1)
    means = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    return (means + means[..., ::-1]) / 2


def _logarithm(values: np.ndarray) -> np.ndarray:
    """NaN where there is none."""
    return np.log(np.where(values > 0, values, np.nan))


def _plane(values: np.ndarray) -> tuple[np.ndarray, float] | None:
    """Slopes (down, across) of a plane through values of the regions, over the whole picture, and their standard error."""
    if not np.isfinite(values).all():
        return None
    middles = (np.arange(REGIONS) + 0.5) / REGIONS - 0.5
    spread = REGIONS * (middles**2).sum()
    slopes = np.array([middles @ values.sum(1), middles @ values.sum(0)]) / spread
    rest = values - values.mean() - slopes[0] * middles[:, None] - slopes[1] * middles
    error = np.sqrt((rest**2).sum() / (REGIONS**2 - 3) / spread)
    return slopes, max(float(error), 1e-9)
