"""Richardson-Lucy with total variation as an algorithm among others (`algorithm`)."""

import math

MOST_ITERATIONS = {"momentum": 40, "none": 80}


class RichardsonLucy:
    """`richardson_lucy` with a study's `tv_step` and `acceleration`."""

    def __init__(self, settings: dict):
        self.how = {key: settings[key] for key in ("tv_step", "acceleration")}

    @property
    def most_iterations(self) -> int:
        return MOST_ITERATIONS[self.how["acceleration"]]

    def halo_px(self, psf_px: int, iterations: int, tv: bool) -> int:
        tv = tv and self.how["tv_step"] != "none"
        return halo_px(psf_px, iterations, tv, self.how["acceleration"])

    def strength(self, iterations: int) -> float:
        # Plain iterations go half as far.
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
    """Halo around a tile whose core is to equal the whole picture within 1e-4 of the range, or nearly.

    psf_size: side of the PSF in px. Measured with the worst case, a disk as wide as its window:
    the border's influence fell below 1e-4 within 1.1 psf_size iterations^(1/2) px with momentum,
    1.3 psf_size iterations^(1/3) px without (PSFs of 3 to 127 px, 5 to 40 iterations). With
    momentum it is 1.3 too: along a mosaic's own border, where the data hold the object less, 1.1 left
    more. The TV step adds a little where the PSF is small. `cap` holds for wide windows, of which real
    PSFs fill little: a test holds those of 127 px to the 1e-4 after 10 iterations, to 1e-3 after 40:
    PSFs are put together within 1e-4, and that grows. In the outermost pixels of a mosaic it grows most,
    whatever the halo: to 2e-3 after 40 iterations (`seam_error` in metrics.csv, of `tiny.yaml` without
    its iterations and weight).
    """
    reach = 1.3 * iterations ** (1 / 2 if acceleration == "momentum" else 1 / 3)
    return min(math.ceil(reach * psf_size) + (8 if tv else 0), cap)
