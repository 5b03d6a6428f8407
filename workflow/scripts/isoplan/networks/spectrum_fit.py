"""The network-free baseline: a fit of the window's power spectrum, with nothing learnt.

    S(f) = A |f|^-b |OTF(f)|^2 + N

S is Welch's estimate (mean over tapered, overlapping squares), compared with what the taper makes of
the model, in the logarithm, for every PSF of a grid. For each of them the scene's A, b and the noise
N are fitted, and with them four shape terms, because scenes are no exact power laws: curvature, and
two- and fourfold anisotropy of log S. The terms are linear in log S wherever signal stands above
noise, so that given N/A and b the best fit is one ridge regression in closed form. The estimate is the
mean over the grid with weights (residual sum of squares)^-SHARPNESS, its spread the uncertainty.

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

SQUARE_PX = 96  # side of a square; STEP_PX lies between neighbours
LOWEST = 2  # cycles per square; what is slower is not looked at
# Frequencies (cycles/px) from which 2 x 2, then 4 x 4 bins of the spectrum are averaged.
PAIRS_ABOVE, FOURS_ABOVE = 0.094, 0.188
SLOPES = (1.0, 2.5)  # b; the ridge regression fits what lies between and beyond
SIGNAL_OVER_NOISE = tuple(10 ** (-1 + 0.75 * k) for k in range(13))  # at the spectrum's highest bin
RIDGE = 0.01  # weight of the prior on every term, relative to all bins together
NODES = {1: (64,), 2: (16, 16), 3: (12, 8, 24)}  # grid of the parameters, by their number
NODES_PUBLISHED_AXIS = {2: (64, 2), 3: (32, 32, 2)}  # two axes are all that is ever drawn there
COARSE = 4  # of the grid, for the choice of noise levels
# Misfit over the best, up to which a noise level counts; SHARPNESS makes the rest vanish.
NEAR = 1.5
CUTOFF_STEP = 0.05  # tables are made for cut-offs of about this ratio
# By trial on synthetic scenes: what gives the lowest errors and intervals that hold 90 %.
SHARPNESS = 36.0
HALF_WIDTH = 1.645  # of a normal distribution, in standard deviations
# Texture over noise where validity is 1/2, and how sure that is; noise alone shows 0.7.
TEXTURE, TEXTURE_STEEPNESS = 1.0, 4.0
NO_ALARM = -10.0  # logit: a fit cannot tell what has been done to a picture, nor other blurs
# Squares, windows and table entries at a time, which bounds the memory; a GPU would wait for small ones.
SQUARES, WINDOWS = {"cpu": 128, "cuda": 8192}, {"cpu": 512, "cuda": 8192}
ENTRIES, NODES_AT_ONCE = 512, 64
ROWS_MB = 384  # of products kept for the next windows


class SpectrumFit(nn.Module):
    """Same interface as the networks. window_px: from SQUARE_PX on.

    At the first picture it makes its table, which takes seconds. Where the model's cut-off varies, every
    twentieth of it has a table.
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
        """(n, 1, h, w) -> (n, T + P + 3, ny, nx), as `OnePass.forward`; cutoff: (n,) cycles/px."""
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
                # The middle of the step; of a cut-off that does not vary, the cut-off itself.
                table = self._tables(low * (high / low) ** ((step + 0.5) / steps), picture.device)
                for mine in (place == step).nonzero()[:, 0].split(WINDOWS[picture.device.type]):
                    weights[mine] = posterior(power[mine].log(), table)
            found = self._outputs(power, weights)
        return found.unflatten(0, (n, ny, nx)).permute(0, 3, 1, 2)

    def _outputs(self, power: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """(n, T + P + 3) of spectra (n, F) and weights of the grid's PSFs."""
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
        """Means (n, P) over the grid and standard deviations, in units of range or period."""
        means, spreads = [], []
        # A network that starts from a fit moves without it to its device.
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
            # Within a step of the grid nothing is known.
            deviation = (variance + distance**2 / 12 + 1e-12).sqrt()
            spreads.append(deviation / (p.period or max(p.high - p.low, 1e-12)))
        return torch.stack(means, 1), torch.stack(spreads, 1)

    def _make_table(self, cutoff: float, device) -> "Table":
        """Expected spectra of scenes without noise, the highest bin 1."""
        side = 2 * SQUARE_PX
        laws, shares = leakage(device)
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
    """What log spectra are multiplied with to get their misfit under every PSF and noise level.

    spectra: (slopes, PSFs, F), expected without noise. coarse: places of some PSFs of the grid. Their
    rows are kept for every noise level; those of all PSFs are made when a picture asks for them, and
    kept as well while those of all tables take less than ROWS_MB. kept: where they are kept.
    """

    def __init__(self, spectra: torch.Tensor, coarse: torch.Tensor, kept: dict, cutoff: float):
        self.slopes, self.psfs, _ = spectra.shape
        self.entries = spectra.flatten(0, 1)
        few = spectra[:, coarse].flatten(0, 1)
        self.coarse = torch.cat([rows_of(few, signal) for signal in SIGNAL_OVER_NOISE], dim=1)
        self._kept, self._cutoff = kept, cutoff

    def rows(self, level: int, first: int) -> torch.Tensor:
        """`rows_of` ENTRIES entries from the `first` on, at a noise level."""
        place = self._cutoff, level, first, self.entries.device
        if place in self._kept:
            return self._kept[place]
        rows = rows_of(self.entries[first : first + ENTRIES], SIGNAL_OVER_NOISE[level])
        if sum(r.nbytes for r in self._kept.values()) + rows.nbytes <= ROWS_MB * 2**20:
            self._kept[place] = rows
        return rows


def grid(model: PsfModel) -> torch.Tensor:
    """(G, P) parameters, evenly over their ranges; of a parameter with a period no value twice."""
    axes = [
        p.low + p.period * torch.arange(count) / count
        if p.period and not model.published
        else torch.linspace(p.low, p.high, count)
        for p, count in zip(model.parameters, _counts(model), strict=True)
    ]
    return torch.cartesian_prod(*axes).reshape(-1, len(axes))


def coarse(model: PsfModel) -> torch.Tensor:
    """Places in `grid` of every COARSE-th value of each parameter."""
    axes = [torch.arange(count) for count in _counts(model)]
    places = torch.cartesian_prod(*axes).reshape(-1, len(axes))
    return (places % COARSE == 0).all(1).nonzero()[:, 0]


def _counts(model: PsfModel) -> tuple[int, ...]:
    """Length of the grid along each parameter."""
    if model.published and model.parameters[-1].period:
        return NODES_PUBLISHED_AXIS[len(model.parameters)]
    return NODES[len(model.parameters)]


@lru_cache(2)
def _bins(device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What averages a square's rfft2 into bins, (square * (square // 2 + 1), F), the bins' share of
    all frequencies (F,), and the shape terms (F, 7) there.
    """
    ky = (torch.fft.fftfreq(SQUARE_PX) * SQUARE_PX).round()[:, None].expand(-1, SQUARE_PX // 2 + 1)
    kx = torch.arange(SQUARE_PX // 2 + 1.0).expand(SQUARE_PX, -1)
    ky = torch.where(kx == 0, ky.abs(), ky)  # there both signs are one frequency
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
    """The bins as lists of the real and imaginary parts in a flattened rfft2: members of all bins, where
    each bin's begin, and how many frequencies it has."""
    mean = _bins(device)[0]
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
    """Binned power spectra (n, ny, nx, F) of the windows of pictures (n, h, w), white noise of variance v
    giving v.
    """
    across = (window_px - SQUARE_PX) // STEP_PX + 1  # squares of a window, per axis
    # On a raster for all windows, unless it missed some of their squares or had many that are none's.
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
    """`welch` of all squares at once; the stride is a multiple of STEP_PX."""
    taper = _taper(pictures.device)
    squares = pictures.unfold(1, SQUARE_PX, STEP_PX).unfold(2, SQUARE_PX, STEP_PX)
    # The mean shows in frequencies alone that are not looked at; it would cost digits.
    level = sliding.means(pictures, SQUARE_PX, STEP_PX)[..., None, None]
    spectrum = torch.fft.rfft2((squares - level).mul_(taper))
    power = torch.view_as_real(spectrum).square_().flatten(3)
    across, step = (window_px - SQUARE_PX) // STEP_PX + 1, stride_px // STEP_PX
    power = sliding.pooled(power, across, step, (1, 2))
    floor = sliding.means(pictures.square(), window_px, stride_px)
    order, starts, count = _members(pictures.device)
    columns = power.flatten(0, 2).T.contiguous()
    binned = F.embedding_bag(order, columns, starts, mode="sum").T / (count * across**2)
    # A floor far below any noise.
    return binned.unflatten(0, power.shape[:3]) + (1e-13 * floor[..., None] + 1e-30)


def leakage(device) -> tuple[torch.Tensor, torch.Tensor]:
    """From a scene-free spectrum |OTF|^2 on a grid of 2 SQUARE_PX (rfft2, flattened) to the bins that
    Welch's estimate is expected to show: the scene's law for every slope (slopes, grid), which it is
    multiplied with, and the bins' shares of the product (F, grid).

    A tapered square shows the spectrum convolved with the taper's, here through the bins.
    """
    side = 2 * SQUARE_PX
    mean = _bins(device)[0].T.reshape(-1, SQUARE_PX, SQUARE_PX // 2 + 1)
    # |taper|^2 is the transform of the taper's correlation with itself, which fits into the grid.
    taper = torch.fft.rfft2(_taper(device), s=(side, side)).abs().square()
    correlation = torch.fft.irfft2(taper, s=(side, side))
    fy = torch.fft.fftfreq(side, device=device)[:, None]
    fx = torch.fft.rfftfreq(side, device=device)
    squared = fy**2 + fx**2 + (0.5 / SQUARE_PX) ** 2  # a power law has no end towards 0
    twice = torch.where((fx == 0) | (fx == 0.5), 1.0, 2.0)  # the half of the plane that rfft2 omits
    twice = twice * (fy**2 + fx**2 > 0)  # no mean
    edge = torch.arange(SQUARE_PX // 2 + 1, device=device) % (SQUARE_PX // 2) == 0
    both = torch.where(edge, 1.0, 0.5)  # f, and -f by irfft2
    shares = mean.new_empty(len(mean), side * (SQUARE_PX + 1))
    for part, share in zip(mean.split(64), shares.split(64), strict=True):
        half = mean.new_zeros(len(part), side, SQUARE_PX + 1)
        half[:, ::2, ::2] = part * both
        seen = torch.fft.rfft2(torch.fft.irfft2(half, s=(side, side)).mul_(correlation))
        share.copy_(seen.real.flatten(1))
    laws = torch.stack([(twice * squared ** (-slope / 2)).flatten() for slope in SLOPES])
    return laws, shares


def posterior(log_power: torch.Tensor, table: Table) -> torch.Tensor:
    """Weights (n, PSFs), sum 1, of log spectra (n, F) under a table.

    With some PSFs of the grid every noise level is tried; with all PSFs then those levels that came
    near the best, which are few.
    """
    # Means over the bins take the noise's level out of all that follows.
    y = log_power - log_power.mean(1, keepdim=True)
    length = y.square().mean(1)
    y = F.pad(y, (0, 1), value=1.0)
    levels = len(SIGNAL_OVER_NOISE)
    reached = misfit(table.coarse, y, length).unflatten(0, (levels, -1)).amin(1)
    near = reached <= NEAR * reached.amin(0)
    best = y.new_full((len(y), len(table.entries)), math.inf)
    for level in range(levels):
        mine = near[level].nonzero()[:, 0]
        # Filled up, or a window's last bits would depend on how many others share its level.
        mine = torch.cat([mine, mine[-1:].expand(-len(mine) % 32)])
        for first in range(0, len(table.entries) if len(mine) else 0, ENTRIES):
            found = misfit(table.rows(level, first), y[mine], length[mine])
            part = slice(first, first + ENTRIES)
            best[mine, part] = torch.minimum(best[mine, part], found.T)
    weights = torch.softmax(-SHARPNESS * best.clamp_min(1e-6).log(), dim=1)
    return weights.unflatten(1, (table.slopes, table.psfs)).sum(1)


def rows_of(entries: torch.Tensor, signal: float) -> torch.Tensor:
    """What `misfit` multiplies log spectra with, (1 + terms, entries, F + 1), for spectra (entries, F)
    of that signal over noise.

    With L L' the terms' normal matrix, the rows are the model's and those of L^-1 terms'; behind the
    bins stands what does not depend on the log spectrum.
    """
    bins = entries.shape[1]
    terms = _bins(entries.device)[2]
    exact, count = terms.double() / bins, terms.shape[1]
    model = torch.log1p(signal * entries)
    share = -torch.expm1(-model)  # of the signal in a bin's power
    model -= model.mean(1, keepdim=True)
    level = share.double() @ exact
    pairs = (terms[:, :, None] * exact[:, None, :]).flatten(1)
    normal = (share.double().square() @ pairs).unflatten(1, (count, count))
    unit = torch.eye(count, dtype=exact.dtype, device=exact.device)
    root = torch.linalg.cholesky(normal - level[:, :, None] * level[:, None, :] + RIDGE * unit)
    inverse = torch.linalg.solve_triangular(root, unit.expand_as(root), upper=False)
    rows = entries.new_empty(1 + count, len(entries), bins + 1)
    rows[0, :, :-1] = model * (-2 / bins)
    rows[0, :, -1] = model.double().square().mean(1)
    # Of log spectra with mean 0 the terms' own does not matter.
    shapes = (inverse / bins).float() @ terms.T
    torch.mul(shapes.transpose(0, 1), share, out=rows[1:, :, :-1])
    rows[1:, :, -1] = -(inverse @ ((share * model).double() @ exact)[..., None])[..., 0].T
    return rows


def misfit(rows: torch.Tensor, y: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
    """Mean squared residuals (entries, n) of log spectra, mean 0, when the shape terms are fitted.

    rows: of `rows_of`. y: (n, F + 1), the log spectra with a 1 behind them. length: (n,) their mean
    square.
    """
    found = sliding.product(rows, y)
    return length + found[0] - found[1:].square_().sum(0)


def texture_over_noise(power: torch.Tensor) -> torch.Tensor:
    """Deviation of signal over that of noise (n,), the weakest tenth of the bins taken for noise."""
    _, share, _ = _bins(power.device)
    # Only of the bins that are means of many frequencies, which noise alone scatters little.
    noise = power[:, share == share.max()].quantile(0.1, dim=1)
    return ((power @ share / noise - 1).clamp_min(1e-4)).sqrt()
