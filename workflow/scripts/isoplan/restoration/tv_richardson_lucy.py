"""Richardson-Lucy with total variation as a restoration algorithm (`algorithm`)."""

import math

MOST_ITERATIONS = {"momentum": 40, "none": 80}


class RichardsonLucy:
    """`richardson_lucy` with the `tv_step` and `acceleration` of the settings."""

    def __init__(self, settings: dict):
        self.how = {key: settings[key] for key in ("tv_step", "acceleration")}

    @property
    def most_iterations(self) -> int:
        return MOST_ITERATIONS[self.how["acceleration"]]

    def halo_px(self, psf_px: int, iterations: int, tv: bool) -> int:
        tv = tv and self.how["tv_step"] != "none"
        return halo_px(psf_px, iterations, tv, self.how["acceleration"])

    def strength(self, iterations: int) -> float:
        # Plain iterations have half the effect.
        return iterations / (1 if self.how["acceleration"] == "momentum" else 2)

    def restore(self, y, blur, **how):
        from isoplan.restoration.richardson_lucy import richardson_lucy

        return richardson_lucy(y, blur, **self.how, **how)


def halo_px(
    psf_size: int,
    iterations: int = 10,
    tv: bool = True,
    acceleration: str = "momentum",
    cap: int = 256,
) -> int:
    """Width in px of the halo with which a tile's core equals the whole picture, nearly within 1e-4 of its range.

    Parameters
    ----------
    psf_size
        Side of the PSF in px.
    iterations
        Number of iterations.
    tv
        Whether there is a TV step.
    acceleration
        "momentum" or "none".
    cap
        Largest halo in px.

    Notes
    -----
    The worst case is a disk as wide as its window. There the influence of the border fell below 1e-4 within
    1.1 psf_size iterations^(1/2) px with momentum, and within 1.3 psf_size iterations^(1/3) px without (PSFs of 3 to
    127 px, 5 to 40 iterations). With momentum the factor is 1.3 too, as 1.1 is too small along the border of a mosaic,
    where the data determine the object less. The TV step adds a little if the PSF is small.

    `cap` is for wide windows, most of which real PSFs do not fill. A test requires 1e-4 after 10 iterations and 1e-3
    after 40, with PSFs of 127 px: PSFs made from modes have errors of up to 1e-4, which grow. They grow most in the
    outermost pixels of a mosaic, whatever the halo, to 2e-3 after 40 iterations (`seam_error` in metrics.csv, of
    `tiny.yaml` without its iterations and weight).

    Examples
    --------
    >>> halo_px(31, iterations=10), halo_px(31, iterations=10, acceleration="none")
    (136, 95)
    """
    reach = 1.3 * iterations ** (1 / 2 if acceleration == "momentum" else 1 / 3)
    return min(math.ceil(reach * psf_size) + (8 if tv else 0), cap)
