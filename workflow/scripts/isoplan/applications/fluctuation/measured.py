"""What a sequence tells before it is made finer: its PSF, camera, drift, flicker and broken pixels."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from isoplan.applications.fluctuation.camera import Camera
from isoplan.applications.fluctuation.formation import Psf
from isoplan.applications.fluctuation.sequence import Frames
from isoplan.applications.fluctuation.settings import Settings, prepare, psf_of
from isoplan.base.errors import UserError
from isoplan.mosaic.headers import complete_optics


@dataclass(frozen=True)
class Measured:
    """A sequence's settings, as given or found, with what jobs that do not open it want to know.

    Parameters
    ----------
    settings : Settings
        PSF, camera, factor, parts, flicker and broken pixels.
    pixel_size_um : float
        Of the camera, at the sample.
    path : str
        Of the frames.
    shape : tuple of int
        (height, width) of a frame.
    frames : int
        How many there are.
    notes : tuple of str
        What was found and assumed, in words.

    Examples
    --------
    >>> still = np.random.default_rng(0).poisson(60, size=(60, 20, 20)) + 100
    >>> known = {"pixel_size_um": 0.1, "psf_fwhm_nm": 250, "offset": 100, "gain": 1}
    >>> found = Measured.of(Frames(still), read_noise_e=0, **known)
    >>> found.settings.psf.fwhm_px, found.shape, found.frames
    (2.5, (20, 20), 60)
    >>> Measured.from_record(found.record()) == found
    True
    """

    settings: Settings
    pixel_size_um: float
    path: str
    shape: tuple[int, int]
    frames: int
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        frames: Frames,
        *,
        pixel_size_um: float | None = None,
        psf_fwhm_nm: float | None = None,
        na: float | None = None,
        wavelength_um: float | None = None,
        psf_shape: str = "gaussian",
        factor: int = 4,
        emccd: bool = False,
        halves: bool = False,
        **camera: float | None,
    ) -> Self:
        """By what is given, the file's header, and the frames.

        Parameters
        ----------
        **camera
            `gain`, `offset` and `read_noise_e`, None where not known.

        Raises
        ------
        UserError
            If the sequence cannot be used, or something is neither given nor found.
        """
        given = {"pixel_size_um": pixel_size_um, "na": na, "wavelength_um": wavelength_um}
        optics, notes = complete_optics(given, frames.optics)
        size = optics["pixel_size_um"]
        if size is None:
            raise UserError(
                f"{frames.path}: does not tell its pixel size; give it in um (--pixel-size-um, of a study pixel_size_um)"
            )
        try:
            psf, told = psf_of(size, psf_fwhm_nm, optics["na"], optics["wavelength_um"], psf_shape)
        except UserError as error:
            raise UserError(f"{frames.path}: {error}") from None
        settings, found = prepare(
            frames, psf, factor=factor, excess=2.0 if emccd else 1.0, halves=halves, **camera
        )
        shape = tuple(map(int, frames.shape))
        notes = (*frames.notes, *notes, *told, *found)
        return cls(settings, float(size), str(frames.path), shape, len(frames), notes)

    def record(self) -> dict:
        """All of it as JSON has it, without a digit lost."""
        made = self.settings
        flicker = None if made.flicker is None else made.flicker.tolist()
        broken = None if made.broken is None else np.argwhere(made.broken).tolist()
        return {
            "psf": vars(made.psf),
            "camera": {key: float(value) for key, value in vars(made.camera).items()},
            "factor": made.factor,
            "parts": [[count, list(shift)] for count, shift in made.parts],
            "flicker": flicker,
            "broken": broken,
            "halves": made.halves,
            **{key: getattr(self, key) for key in ("pixel_size_um", "path", "frames")},
            "shape": list(self.shape),
            "notes": list(self.notes),
        }

    @classmethod
    def from_record(cls, record: dict) -> Self:
        shape, broken = tuple(record["shape"]), None
        if record["broken"] is not None:
            broken = np.zeros(shape, bool)
            broken[tuple(np.transpose(record["broken"]))] = True
        settings = Settings(
            Psf(**record["psf"]),
            Camera(**record["camera"]),
            record["factor"],
            tuple((count, tuple(shift)) for count, shift in record["parts"]),
            None if record["flicker"] is None else np.array(record["flicker"]),
            broken,
            record["halves"],
        )
        rest = {key: record[key] for key in ("pixel_size_um", "path", "frames")}
        return cls(settings, shape=shape, notes=tuple(record["notes"]), **rest)
