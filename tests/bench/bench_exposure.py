"""What knowing read noise and background is worth, into results/bench/exposure.csv.

Pictures of scikit-image, blurred and exposed as the demo's mosaic. SNR in dB against the truth, which is without the
background: of the picture, of the restoration that knows nothing, and of the one that knows. Rows
"read noise": photons at the peak, electrons of read noise, shift 0 against gain * read_noise_e^2. Rows
"background": haze as a share of the peak, and what is taken off: nothing, the true haze, and `auto`
(`mosaic.measure`'s `dark`). The benchmark itself is the time of a restoration with and without a shift.
"""

import csv

import numpy as np
import torch
from fields import demo
from isoplan.mosaic.measure import DARK_PX, DARK_SHARE
from isoplan.optics.blur import SpaceVariantBlur
from isoplan.optics.psf import make_psf_model
from isoplan.restoration.richardson_lucy import richardson_lucy
from isoplan.simulation import Simulation
from run import RESULTS
from timing import in_turn

SIZE_PX, GAIN = 256, 2.0
READ_NOISE = [(20, 2), (20, 10), (100, 2), (100, 20), (1000, 2), (1000, 20), (10_000, 50)]
# Dark between bright things, and light everywhere.
PICTURES = ("hubble_deep_field.jpg", "cell.png")
HAZE = (0.0, 0.03, 0.1, 0.3, 1.0)


def run() -> list[dict]:
    rows = []
    for photons, read_noise_e in READ_NOISE:
        seen = Seen("demo", photons, read_noise_e)
        rows.append(
            {
                "what": "read noise",
                "picture": "demo",
                "photons": photons,
                "read_noise_e": read_noise_e,
                "haze": 0.0,
                "observed_db": seen.snr(seen.y),
                "untold_db": seen.snr(seen.restored()),
                "told_db": seen.snr(seen.restored(shift=GAIN * read_noise_e**2)),
            }
        )
    for picture in PICTURES:
        for photons in (300, 10_000):
            for haze in HAZE:
                seen = Seen(picture, photons, 2.0, haze)
                how = {"shift": GAIN * 4.0}
                auto = seen.dark()
                rows.append(
                    {
                        "what": "background",
                        "picture": picture,
                        "photons": photons,
                        "read_noise_e": 2.0,
                        "haze": haze,
                        "observed_db": seen.snr(seen.y),
                        "untold_db": seen.snr(seen.restored(**how)),
                        "told_db": seen.snr(seen.restored(background=seen.haze, **how)),
                        "auto_db": seen.snr(seen.restored(background=auto, **how)),
                        "auto_share": auto / seen.peak,
                    }
                )
    write(rows)
    times = in_turn(lambda: seen.restored(shift=8.0), lambda: seen.restored())
    return [{"benchmark": f"restoring {SIZE_PX} px, shifted", "peer": "not shifted", **times}]


class Seen:
    """A picture as a camera of GAIN counts per electron saw it through the demo's PSFs."""

    def __init__(self, picture: str, photons: float, read_noise_e: float, haze: float = 0.0):
        study = demo()
        camera = study["cameras"][1] | {"photons": [photons] * 2}
        spec = study["simulations"][0] | {"size_px": [SIZE_PX] * 2, "pictures": [picture]}
        made = Simulation(spec, make_psf_model(study["psfs"][0]), camera, "mask-blur", 1)
        centres = np.arange(16, SIZE_PX, 32)
        params = made.field.at(centres, centres)
        psfs = made.model.psf(params.flatten(0, 1))[0]
        psfs = psfs.reshape(*params.shape[:2], *psfs.shape[1:])
        self.blur = SpaceVariantBlur(psfs, centres - 0.5, centres - 0.5, (SIZE_PX, SIZE_PX))
        m = self.blur.margin
        sharp = torch.from_numpy(made.truth(-m, SIZE_PX + m, -m, SIZE_PX + m))
        self.truth = sharp[m:-m, m:-m]
        self.peak = GAIN * photons
        self.haze = haze * self.peak
        rng = torch.Generator().manual_seed(0)
        electrons = torch.poisson((self.blur.forward(sharp).clamp(min=0) + self.haze) / GAIN, rng)
        noise = read_noise_e * torch.randn(electrons.shape, generator=rng)
        self.y = (GAIN * (electrons + noise)).round()

    def restored(self, background: float = 0.0, shift: float = 0.0) -> torch.Tensor:
        scale, m = float(self.y.quantile(0.999)), self.blur.margin
        x = richardson_lucy(
            self.y, self.blur, background=background, shift=shift, scale=scale,
            start=max(float(self.y.mean()) - background, 1e-3 * scale),
        )  # fmt: skip
        return x[m:-m, m:-m]

    def dark(self) -> float:
        count = SIZE_PX // DARK_PX
        squares = self.y.reshape(count, DARK_PX, count, DARK_PX).mean((1, 3))
        return max(float(squares.quantile(DARK_SHARE)), 0.0)

    def snr(self, found: torch.Tensor) -> float:
        error = (found - self.truth).square().sum()
        return float(10 * torch.log10(self.truth.square().sum() / error))


def write(rows: list[dict]) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    with (RESULTS / "exposure.csv").open("w", newline="") as handle:
        table = csv.DictWriter(handle, list(rows[-1]))
        table.writeheader()
        for row in rows:
            shown = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()}
            table.writerow(shown)
            print(" ".join(f"{k} {v}" for k, v in shown.items()))
