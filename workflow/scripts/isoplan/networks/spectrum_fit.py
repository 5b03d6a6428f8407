"""A baseline without learning: a fit of the window's power spectrum.

    S(f) = A |f|^-b |OTF(f)|^2 + N

S is Welch's estimate, the mean over tapered, overlapping squares. Its logarithm is compared with the
model, including the taper's leakage, for every PSF of a grid. For each PSF the scene's A and b and the
noise N are fitted. Scenes are not exact power laws, so shape terms are fitted, too: curvature, and two-
and fourfold anisotropy of log S. The terms are linear in log S wherever signal exceeds noise. So for
given N/A and b, the best fit is one ridge regression in closed form. The estimate is the mean over the
grid with weights (residual sum of squares)^-SHARPNESS, and the spread of these weights is its uncertainty.

Sources: Welch, IEEE Trans. Audio Electroacoust. 15 (1967) 70; the taper's leakage in the model
after Sykulski et al., Biometrika 106 (2019) 251.
"""

import math
from functools import lru_cache

import torch
from torch import nn
from torch.nn import functional as F

from isoplan.networks import sliding
from isoplan.networks.sliding import STEP_PX
from isoplan.optics.model import PsfModel

SQUARE_PX = 96  # side of a square; neighbours are STEP_PX apart
LOWEST = 2  # lowest frequency used, in cycles per square
# Frequencies (cycles/px) from which 2 x 2, then 4 x 4 bins of the spectrum are averaged.
PAIRS_ABOVE, FOURS_ABOVE = 0.094, 0.188
SLOPES = (1.0, 2.5)  # values of b; the shape terms cover those between and beyond
SIGNAL_OVER_NOISE = tuple(10 ** (-1 + 0.75 * k) for k in range(13))  # at the spectrum's highest bin
RIDGE = 0.01  # weight of the prior on every term, relative to all bins together
NODES = {1: (64,), 2: (16, 16), 3: (12, 8, 24)}  # nodes of the grid, by number of parameters
NODES_PUBLISHED_AXIS = {2: (64, 2), 3: (32, 32, 2)}  # the published form only has two axes
COARSE = 4  # every fourth node along each parameter is used to choose noise levels
# Noise levels with a misfit up to this factor above the best count; SHARPNESS makes the others vanish.
NEAR = 1.5
CUTOFF_STEP = 0.05  # ratio of cut-offs that share a table
# Chosen on synthetic scenes, for the lowest errors and intervals that contain 90 % of true values.
SHARPNESS = 36.0
HALF_WIDTH = 1.645  # of a normal distribution, in standard deviations
# Ratio of texture to noise at which validity is 1/2, and the steepness there; pure noise has 0.7.
TEXTURE, TEXTURE_STEEPNESS = 1.0, 4.0
NO_ALARM = -10.0  # logit; the fit detects neither processing nor other blurs
# Squares, windows and table entries at a time, which bounds memory; small blocks would be slow on a GPU.
SQUARES, WINDOWS = {"cpu": 128, "cuda": 8192}, {"cpu": 512, "cuda": 8192}
ENTRIES, NODES_AT_ONCE = 512, 64
ROWS_MB = 384  # memory for rows of tables that are cached


class SpectrumFit(nn.Module):
    """The spectrum fit, with the interface of a network.

    It makes its table when it sees the first picture, which takes seconds. If the model's cut-off
    varies, there is a table for about every 5 %.

    Parameters
    ----------
    window_px
        Side of a window, at least SQUARE_PX.
    model
        The PSF model.
    """

    @classmethod
    def of(cls, spec: dict, window_px: int, model: PsfModel) -> "SpectrumFit":
        """The network of an entry of the config's `networks`."""
        return cls(window_px, model)

    def __init__(self, window_px: int, model: PsfModel):
        super().__init__()
        if window_px < SQUARE_PX:
            raise ValueError(f"window_px {window_px} is below {SQUARE_PX}, a square's side")
        self.window_px, self.model = window_px, model
        self.register_buffer("nodes", grid(model))
        self.coarse = coarse(model)
        self._tables, self._kept = lru_cache(16)(self._make_table), {}

    @torch.no_grad()
    def forward(self, picture, stride_px: int | None = None, cutoff=None) -> torch.Tensor:
        """(n, 1, h, w) -> (n, channels, ny, nx), as `OnePass.forward`; cutoff: (n,) cycles/px."""
        with torch.autocast(picture.device.type, enabled=False):
            power = welch(picture[:, 0].float(), self.window_px, stride_px or self.window_px)
            n, ny, nx, _ = power.shape
            power = power.flatten(0, 2)
            low, high = self.model.cutoff_range
            steps = max(1, math.ceil(math.log(high / low) / CUTOFF_STEP))
            if cutoff is None:
                cutoff = picture.new_full((n,), self.model.cutoff)
            place = (cutoff / low).log() / max(math.log(high / low), 1e-9) * steps
            place = place.long().clamp(0, steps - 1).repeat_interleave(ny * nx)
            weights = power.new_empty(len(power), len(self.nodes))
            for step in place.unique().tolist():
                # The middle of the step; a fixed cut-off is used exactly.
                table = self._tables(low * (high / low) ** ((step + 0.5) / steps), picture.device)
                for mine in (place == step).nonzero()[:, 0].split(WINDOWS[picture.device.type]):
                    weights[mine] = posterior(power[mine].log(), table)
            found = self._outputs(power, weights)
        return found.unflatten(0, (n, ny, nx)).permute(0, 3, 1, 2)

    def _outputs(self, power: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Outputs (n, channels) from spectra (n, F) and weights (n, PSFs) of the grid."""
        params, spread = self._moments(weights)
        invalid = TEXTURE_STEEPNESS * (math.log(TEXTURE) - texture_over_noise(power).log())
        return torch.cat(
            [
                self.model.encode(params),
                (HALF_WIDTH * spread).log(),
                invalid[:, None],
                *(torch.full_like(invalid, NO_ALARM)[:, None],) * 2,
            ],
            dim=1,
        )

    def _moments(self, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Means (n, P) over the grid, and standard deviations in units of range or period."""
        means, spreads = [], []
        # A network does not move its fit along to another device.
        nodes = self.nodes.to(weights.device)
        for column, p in zip(nodes.T, self.model.parameters, strict=True):
            distance = column.unique().diff().min() if p.high > p.low else column.new_zeros(())
            if p.period and not self.model.published:
                turn = 2 * math.pi / p.period
                y, x = weights @ (turn * column).sin(), weights @ (turn * column).cos()
                mean = torch.remainder(torch.atan2(y, x) / turn, p.period)
                variance = -2 * torch.hypot(y, x).clamp(1e-6, 1).log() / turn**2
            else:
                mean = weights @ column
                variance = (weights * (column - mean[:, None]).square()).sum(1)
            means.append(mean)
            # Add the variance within a step of the grid.
            deviation = (variance + distance**2 / 12 + 1e-12).sqrt()
            spreads.append(deviation / (p.period or max(p.high - p.low, 1e-12)))
        return torch.stack(means, 1), torch.stack(spreads, 1)

    def _make_table(self, cutoff: float, device) -> "Table":
        """Expected spectra of scenes without noise, scaled to a highest bin of 1."""
        side = 2 * SQUARE_PX
        shares = leakage(device)
        fy, fx = (
            torch.fft.fftfreq(side, device=device)[:, None],
            torch.fft.rfftfreq(side, device=device),
        )
        laws = [law.flatten() for law in power_laws(fy**2 + fx**2)]
        parts = []
        for params in self.nodes.to(device).split(NODES_AT_ONCE):
            psfs, _ = self.model.psf(params, params.new_full((len(params),), cutoff))
            beyond = max(0, psfs.shape[-1] - side) // 2 + (psfs.shape[-1] > side)
            psfs = psfs[:, beyond : psfs.shape[1] - beyond, beyond : psfs.shape[2] - beyond]
            otf = torch.fft.rfft2(psfs, s=(side, side))
            power = (otf.real.square() + otf.imag.square()).flatten(1)
            parts.append(torch.stack([sliding.product(power * law, shares) for law in laws]))
        table = torch.cat(parts, dim=1)
        table = (table / table.amax(2, keepdim=True)).clamp_min(1e-14)
        return Table(table.contiguous(), self.coarse.to(device), self._kept, cutoff)


class Table:
    """Rows that log spectra are multiplied with to get their misfit for every PSF and noise level.

    The rows of a coarse grid of PSFs are computed for every noise level. Those of all PSFs are computed
    on demand, and cached while all tables together take less than ROWS_MB.

    Parameters
    ----------
    spectra
        (slopes, PSFs, F), expected without noise.
    coarse
        Indices of the coarse grid's PSFs.
    kept
        The cache, shared by all tables.
    cutoff
        The table's cut-off in cycles/px, its key in the cache.
    ridge
        Weight of the prior on every shape term, relative to all bins together.
    """

    def __init__(
        self,
        spectra: torch.Tensor,
        coarse: torch.Tensor,
        kept: dict,
        cutoff: float,
        ridge: float = RIDGE,
    ):
        self.slopes, self.psfs, _ = spectra.shape
        self.entries = spectra.flatten(0, 1)
        few = spectra[:, coarse].flatten(0, 1)
        self.coarse = torch.cat(
            [misfit_rows(few, signal, ridge) for signal in SIGNAL_OVER_NOISE], dim=1
        )
        self._kept, self._cutoff, self._ridge = kept, cutoff, ridge

    def rows(self, level: int, first: int) -> torch.Tensor:
        """`misfit_rows` of ENTRIES entries from `first`, at a noise level."""
        place = self._cutoff, level, first, self.entries.device
        if place in self._kept:
            return self._kept[place]
        some = self.entries[first : first + ENTRIES]
        rows = misfit_rows(some, SIGNAL_OVER_NOISE[level], self._ridge)
        if sum(r.nbytes for r in self._kept.values()) + rows.nbytes <= ROWS_MB * 2**20:
            self._kept[place] = rows
        return rows


def grid(model: PsfModel) -> torch.Tensor:
    """(G, P) parameters, evenly spaced over their ranges; periodic ones without a repeated value."""
    axes = [
        p.low + p.period * torch.arange(count) / count
        if p.period and not model.published
        else torch.linspace(p.low, p.high, count)
        for p, count in zip(model.parameters, _counts(model), strict=True)
    ]
    return torch.cartesian_prod(*axes).reshape(-1, len(axes))


def coarse(model: PsfModel) -> torch.Tensor:
    """Indices into `grid` of every COARSE-th value of each parameter."""
    axes = [torch.arange(count) for count in _counts(model)]
    places = torch.cartesian_prod(*axes).reshape(-1, len(axes))
    return (places % COARSE == 0).all(1).nonzero()[:, 0]


def _counts(model: PsfModel) -> tuple[int, ...]:
    """Number of nodes of the grid along each parameter."""
    if model.published and model.parameters[-1].period:
        return NODES_PUBLISHED_AXIS[len(model.parameters)]
    return NODES[len(model.parameters)]


@lru_cache(2)
def spectral_bins(device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Bins of a square's spectrum.

    Returns the matrix that averages a flattened rfft2 into bins (square * (square // 2 + 1), F), the
    share of each bin in all frequencies (F,), and the shape terms in the bins (F, 7).
    """
    ky = (torch.fft.fftfreq(SQUARE_PX) * SQUARE_PX).round()[:, None].expand(-1, SQUARE_PX // 2 + 1)
    kx = torch.arange(SQUARE_PX // 2 + 1.0).expand(SQUARE_PX, -1)
    ky = torch.where(kx == 0, ky.abs(), ky)  # at kx = 0, both signs are one frequency
    radius = torch.hypot(ky, kx)
    side = 1.0 + (radius >= PAIRS_ABOVE * SQUARE_PX) + 2 * (radius >= FOURS_ABOVE * SQUARE_PX)
    place = [side, ((ky + side // 2) / side).floor(), ((kx + side // 2) / side).floor()]
    used = radius.flatten() >= LOWEST
    _, label = torch.stack(place, -1).flatten(0, 1)[used].unique(dim=0, return_inverse=True)
    mean = torch.zeros(len(used), int(label.max()) + 1)
    mean[used.nonzero()[:, 0], label] = 1
    count = mean.sum(0)
    mean = mean / count
    cosine = ((kx**2 - ky**2) / radius.square().clamp_min(1)).flatten() @ mean
    sine = (2 * kx * ky / radius.square().clamp_min(1)).flatten() @ mean
    octaves = (radius.flatten() @ mean / (0.1 * SQUARE_PX)).log()
    terms = [torch.ones_like(cosine), octaves, octaves**2, cosine, sine]
    terms += [2 * cosine**2 - 1, 2 * cosine * sine]  # fourfold
    return mean.to(device), (count / count.sum()).to(device), torch.stack(terms, 1).to(device)


@lru_cache(2)
def _members(device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The bins as lists of real and imaginary parts in a flattened rfft2.

    Returns the members of all bins, the start of each bin in that list, and its number of frequencies.
    """
    mean = spectral_bins(device)[0]
    used, label = mean.nonzero().unbind(1)
    order = used[label.argsort(stable=True)]
    count = (mean > 0).sum(0)
    order = torch.stack([2 * order, 2 * order + 1], dim=1).flatten()
    return order, 2 * (count.cumsum(0) - count), count


def _taper(device) -> torch.Tensor:
    line = torch.hann_window(SQUARE_PX, periodic=True, device=device)
    taper = line[:, None] * line
    return taper / taper.square().sum().sqrt()


def welch(pictures: torch.Tensor, window_px: int, stride_px: int) -> torch.Tensor:
    """Welch's power spectra (n, ny, nx, F) of the windows of pictures (n, h, w), averaged into bins.

    They are normalised such that white noise of variance v gives v.
    """
    across = (window_px - SQUARE_PX) // STEP_PX + 1  # squares of a window, per axis
    # All windows share a raster of squares, unless it would miss some of them or hold many unused ones.
    if stride_px % STEP_PX or stride_px > across * STEP_PX:
        views = pictures.unfold(1, window_px, stride_px).unfold(2, window_px, stride_px)
        counts = views.shape[:3]
        places = torch.cartesian_prod(*(torch.arange(c, device=pictures.device) for c in counts))
        parts = places.split(max(1, SQUARES[pictures.device.type] // across**2))
        found = [_band(views[part.unbind(1)], window_px, window_px) for part in parts]
        return torch.cat(found).reshape(*counts, -1)
    ny, nx = ((length - window_px) // stride_px + 1 for length in pictures.shape[1:])
    # Rows of windows in a band, and pictures at a time.
    room = SQUARES[pictures.device.type] // (nx * stride_px // STEP_PX + across)
    deep = max(1, room // (stride_px // STEP_PX))
    many = max(1, room // (min(deep, ny) + across))
    found = []
    for some in pictures.split(many):
        bands = []
        for first in range(0, ny, deep):
            last = (min(first + deep, ny) - 1) * stride_px + window_px
            bands.append(_band(some[:, first * stride_px : last], window_px, stride_px))
        found.append(torch.cat(bands, 1))
    return torch.cat(found)


def _band(pictures: torch.Tensor, window_px: int, stride_px: int) -> torch.Tensor:
    """`welch` for all squares at once; the stride is a multiple of STEP_PX."""
    taper = _taper(pictures.device)
    squares = pictures.unfold(1, SQUARE_PX, STEP_PX).unfold(2, SQUARE_PX, STEP_PX)
    # The mean only affects frequencies that are not used, but it would cost numerical precision.
    level = sliding.means(pictures, SQUARE_PX, STEP_PX)[..., None, None]
    spectrum = torch.fft.rfft2((squares - level).mul_(taper))
    power = torch.view_as_real(spectrum).square_().flatten(3)
    across, step = (window_px - SQUARE_PX) // STEP_PX + 1, stride_px // STEP_PX
    power = sliding.strided_sums(power, across, step, (1, 2))
    floor = sliding.means(pictures.square(), window_px, stride_px)
    order, starts, count = _members(pictures.device)
    columns = power.flatten(0, 2).T.contiguous()
    binned = F.embedding_bag(order, columns, starts, mode="sum").T / (count * across**2)
    # The floor lies far below any noise.
    return binned.unflatten(0, power.shape[:3]) + (1e-13 * floor[..., None] + 1e-30)


@lru_cache(1)
def leakage(device) -> torch.Tensor:
    """Weights (F, grid) of the frequencies of a spectrum in the expected value of Welch's estimate, for each bin.

    A tapered square shows the spectrum convolved with that of the taper. The grid has a side of 2 SQUARE_PX
    (rfft2, flattened).
    """
    side = 2 * SQUARE_PX
    mean = spectral_bins(device)[0].T.reshape(-1, SQUARE_PX, SQUARE_PX // 2 + 1)
    # |taper|^2 is the transform of the taper's autocorrelation, which fits into the grid.
    taper = torch.fft.rfft2(_taper(device), s=(side, side)).abs().square()
    correlation = torch.fft.irfft2(taper, s=(side, side))
    fy = torch.fft.fftfreq(side, device=device)[:, None]
    fx = torch.fft.rfftfreq(side, device=device)
    twice = torch.where((fx == 0) | (fx == 0.5), 1.0, 2.0)  # counts the half plane that rfft2 omits
    twice = twice * (fy**2 + fx**2 > 0)  # without the mean
    edge = torch.arange(SQUARE_PX // 2 + 1, device=device) % (SQUARE_PX // 2) == 0
    both = torch.where(edge, 1.0, 0.5)  # irfft2 adds -f to f
    shares = mean.new_empty(len(mean), side * (SQUARE_PX + 1))
    for part, share in zip(mean.split(64), shares.split(64), strict=True):
        half = mean.new_zeros(len(part), side, SQUARE_PX + 1)
        half[:, ::2, ::2] = part * both
        seen = torch.fft.rfft2(torch.fft.irfft2(half, s=(side, side)).mul_(correlation))
        share.copy_((seen.real * twice).flatten(1))
    return shares


def binned(spectra: torch.Tensor) -> torch.Tensor:
    """Expected values (..., F) of Welch's estimate, as `leakage` gives, of spectra (..., 2 SQUARE_PX, SQUARE_PX + 1).

    For many spectra: the taper's spectrum is a product, so one axis comes after the other.
    """
    rows, columns = _leaks(spectra.device)
    spectra = spectra.clone()
    spectra[..., 0, 0] = 0  # without the mean
    down = torch.matmul(rows, spectra)
    # The half plane that rfft2 omits: that of -f.
    other = torch.matmul(rows, spectra[..., 1:-1].flip(-2).roll(1, -2)).flip(-1)
    seen = torch.matmul(torch.cat([down, other], -1), columns.T).flatten(-2)
    order, starts, count = _members(spectra.device)
    flat = seen.flatten(0, -2).T.contiguous()
    # Members are real and imaginary parts; here each frequency is one number.
    total = F.embedding_bag(order[::2] // 2, flat, starts // 2, mode="sum").T / count
    return total.unflatten(0, spectra.shape[:-2])


@lru_cache(1)
def _leaks(device) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights of the rows (SQUARE_PX, 2 SQUARE_PX), and of the columns, of a grid in those of a tapered square."""
    side = 2 * SQUARE_PX
    line = torch.hann_window(SQUARE_PX, periodic=True, device=device)
    leaked = torch.fft.fft(line / line.square().sum().sqrt(), n=side).abs().square() / side
    grid = torch.arange(side, device=device)
    rows = leaked[(2 * torch.arange(SQUARE_PX, device=device)[:, None] - grid) % side]
    return rows, rows[: SQUARE_PX // 2 + 1]


def power_laws(squared: torch.Tensor) -> list[torch.Tensor]:
    """Power laws of SLOPES at squared frequencies, in (cycles/px)^2; finite at 0."""
    return [(squared + (0.5 / SQUARE_PX) ** 2) ** (-slope / 2) for slope in SLOPES]


def posterior(log_power: torch.Tensor, table: Table) -> torch.Tensor:
    """Weights (n, PSFs) of sum 1 for log spectra (n, F), from a table."""
    best = least_misfit(log_power, table)
    weights = torch.softmax(-SHARPNESS * best.flatten(1).log(), dim=1)
    return weights.unflatten(1, best.shape[1:]).sum(1)


def least_misfit(log_power: torch.Tensor, table: Table) -> torch.Tensor:
    """Mean squared residuals (n, slopes, PSFs) of log spectra (n, F), with the best noise level for each.

    Every noise level is tried with the coarse grid of PSFs. Then all PSFs are tried with the few levels
    that came close to the best.
    """
    # Without the mean over the bins, the scale of the spectrum does not matter.
    y = log_power - log_power.mean(1, keepdim=True)
    length = y.square().mean(1)
    y = F.pad(y, (0, 1), value=1.0)
    levels = len(SIGNAL_OVER_NOISE)
    reached = misfit(table.coarse, y, length).unflatten(0, (levels, -1)).amin(1)
    near = reached <= NEAR * reached.amin(0)
    best = y.new_full((len(y), len(table.entries)), math.inf)
    for level in range(levels):
        mine = near[level].nonzero()[:, 0]
        # Padded, else a window's last bits would depend on how many others share its level.
        mine = torch.cat([mine, mine[-1:].expand(-len(mine) % 32)])
        for first in range(0, len(table.entries) if len(mine) else 0, ENTRIES):
            found = misfit(table.rows(level, first), y[mine], length[mine])
            part = slice(first, first + ENTRIES)
            best[mine, part] = torch.minimum(best[mine, part], found.T)
    return best.clamp_min(1e-6).unflatten(1, (table.slopes, table.psfs))


def misfit_rows(entries: torch.Tensor, signal: float, ridge: float = RIDGE) -> torch.Tensor:
    """Rows (1 + terms, entries, F + 1) that `misfit` multiplies log spectra with.

    With L L' the normal matrix of the terms, the rows are those of the model and of L^-1 terms'. The
    last column holds the part that does not depend on the log spectrum.

    Parameters
    ----------
    entries
        (entries, F): spectra without noise.
    signal
        Ratio of signal to noise.
    ridge
        Of `Table`.
    """
    bins = entries.shape[1]
    terms = spectral_bins(entries.device)[2]
    exact, count = terms.double() / bins, terms.shape[1]
    model = torch.log1p(signal * entries)
    share = -torch.expm1(-model)  # share of the signal in a bin's power
    model -= model.mean(1, keepdim=True)
    level = share.double() @ exact
    pairs = (terms[:, :, None] * exact[:, None, :]).flatten(1)
    normal = (share.double().square() @ pairs).unflatten(1, (count, count))
    unit = torch.eye(count, dtype=exact.dtype, device=exact.device)
    root = torch.linalg.cholesky(normal - level[:, :, None] * level[:, None, :] + ridge * unit)
    inverse = torch.linalg.solve_triangular(root, unit.expand_as(root), upper=False)
    rows = entries.new_empty(1 + count, len(entries), bins + 1)
    rows[0, :, :-1] = model * (-2 / bins)
    rows[0, :, -1] = model.double().square().mean(1)
    # The mean of the terms does not matter, as log spectra have mean 0.
    # As one product: many small ones would take three times as long as all the rest.
    shapes = ((inverse / bins).float().flatten(0, 1) @ terms.T).unflatten(0, inverse.shape[:2])
    torch.mul(shapes.transpose(0, 1), share, out=rows[1:, :, :-1])
    rows[1:, :, -1] = -(inverse @ ((share * model).double() @ exact)[..., None])[..., 0].T
    return rows


def misfit(rows: torch.Tensor, y: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
    """Mean squared residuals (entries, n) of log spectra after the shape terms are fitted.

    Parameters
    ----------
    rows
        From `misfit_rows`.
    y
        (n, F + 1): log spectra of mean 0, followed by a 1.
    length
        (n,): mean square of the log spectra.
    """
    found = sliding.product(rows, y)
    return length + found[0] - found[1:].square_().sum(0)


def texture_over_noise(power: torch.Tensor) -> torch.Tensor:
    """Ratio (n,) of the standard deviations of signal and noise; the weakest tenth of bins is noise."""
    if not len(power):
        return power.new_empty(0)
    _, share, _ = spectral_bins(power.device)
    # Only bins that average many frequencies are used, as they scatter little.
    noise = power[:, share == share.max()].quantile(0.1, dim=1)
    return ((power @ share / noise - 1).clamp_min(1e-4)).sqrt()
