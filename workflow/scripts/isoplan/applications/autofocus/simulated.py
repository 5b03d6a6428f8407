"""A microscope without a microscope: what its stage and camera do wrong is known."""

from dataclasses import dataclass, field

import numpy as np
import torch

from isoplan.applications.autofocus.stage import StageError
from isoplan.optics.defocus import Defocus
from isoplan.optics.surface_pictures import exposed, picture


@dataclass
class Simulated:
    """A specimen under simulated optics.

    Parameters
    ----------
    scene
        (h, w) what lies on the slide, with MARGIN_PX around what the camera sees.
    optics
        The microscope's.
    focus_um
        The stage's position at which the slide is in focus; with drift, that of the first picture.
    heights_um
        (h, w) of the specimen above the slide; flat if not given.
    photons
        At the brightest pixel of a sharp picture.
    limits_um
        The stage raises beyond.
    noise_um
        Standard deviation of where the stage stops.
    backlash_um
        So far it stays behind, in the direction that it comes from.
    drift_um
        Of the focus, from picture to picture.
    bleaching
        Share of the light that is lost with every picture.
    exposure_noise
        Relative standard deviation of the exposure.
    seed
        Of all that is drawn.

    Examples
    --------
    >>> optics = Defocus(na=0.3, wavelength_um=0.48, pixel_size_um=0.32)
    >>> scope = Simulated(torch.rand(300, 300), optics, focus_um=5.0)
    >>> scope.move(-3.0)
    >>> scope.where(), scope.snap().shape, scope.distance_um
    (-3.0, (44, 44), -8.0)
    """

    scene: torch.Tensor
    optics: Defocus
    focus_um: float
    heights_um: torch.Tensor | None = None
    photons: float = 3000.0
    limits_um: tuple[float, float] = (-120.0, 120.0)
    noise_um: float = 0.0
    backlash_um: float = 0.0
    drift_um: float = 0.0
    bleaching: float = 0.0
    exposure_noise: float = 0.0
    seed: int = 0
    taken: int = field(default=0, init=False)

    def __post_init__(self):
        self._rng = np.random.default_rng(self.seed)
        self._asked = self._at = 0.0
        self._brightest = float(self.scene.max())

    def where(self) -> float:
        """Where the stage thinks it is."""
        return self._asked

    def move(self, z_um: float) -> None:
        low, high = self.limits_um
        if not low <= z_um <= high:
            raise StageError(f"the stage ends at {low:g} and {high:g} um")
        behind = self.backlash_um * np.sign(z_um - self._asked) / 2
        self._asked = float(z_um)
        self._at = self._asked - behind + self.noise_um * self._rng.standard_normal()

    @property
    def distance_um(self) -> float:
        """Of the slide from focus, at the next picture."""
        return float(self._at - self.focus_um - self.drift_um * self.taken)

    def snap(self) -> np.ndarray:
        heights = torch.zeros_like(self.scene) if self.heights_um is None else self.heights_um
        light = (1 - self.bleaching) ** self.taken
        light *= max(0.0, 1 + self.exposure_noise * self._rng.standard_normal())
        bright = picture(self.scene, heights + self.distance_um, self.optics)
        self.taken += 1
        share = float(bright.max()) / max(self._brightest, 1e-12)
        return exposed(bright, self.photons * light * share, self._rng)
