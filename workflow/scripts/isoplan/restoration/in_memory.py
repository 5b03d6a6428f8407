"""Maps and restores a single picture in memory, in the same way as a study and the command `restore`."""

from dataclasses import asdict, dataclass

import numpy as np

from isoplan.mosaic import tiles
from isoplan.mosaic.facts import Facts
from isoplan.mosaic.measure import measure
from isoplan.mosaic.window import Picture
from isoplan.optics.camera_facts import complete_camera
from isoplan.optics.exposure import exposure_of
from isoplan.psf_map.estimate import map_whole
from isoplan.psf_map.layout import MapLayout
from isoplan.restoration.cores import restore_core
from isoplan.restoration.halo import halo_of, with_choice
from isoplan.restoration.psfs import LocalPsfs


class Counts(Picture):
    """A picture from an array (h, w) in counts: in memory, or read by window like arrays of zarr or dask."""

    path = "memory"

    def __init__(self, counts):
        self.counts = counts
        self.shape, self.dtype = tuple(counts.shape), np.dtype(counts.dtype)
        self.files, self.channels, self.notes, self.optics = [], [], [], {}

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        self.check_window(y0, y1, x0, x1)
        return np.asarray(self.counts[y0:y1, x0:x1]).astype(np.float32)

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class Measured:
    """A picture in memory, and its facts."""

    counts: Counts
    facts: Facts

    @classmethod
    def of(cls, counts: np.ndarray, **given) -> "Measured":
        """Measure a picture (h, w) in counts.

        given: offset, gain and read_noise_e as far as they are known; missing ones are estimated.
        """
        picture = Counts(counts)
        camera, _ = complete_camera(given, picture.middle())
        return cls(picture, Facts(measure(picture) | camera))


def estimate_psfs(picture: Measured, network, model, settings: dict, device) -> LocalPsfs:
    """Estimate the PSFs of a picture.

    Parameters
    ----------
    picture
        The picture.
    network
        A trained network.
    model
        Its PSF model.
    settings
        The config's `map`.
    device
        Device that computes.

    Returns
    -------
    LocalPsfs
        The filled map.
    """
    layout = MapLayout(
        picture.counts.shape, network.window_px, settings["stride_px"], settings["edges"]
    )
    how = {
        "offset": picture.facts["offset"],
        "exposure": exposure_of(picture.facts),
        "device": device,
    }
    cells = map_whole(network, model, picture.counts, layout, settings, **how)
    return LocalPsfs(model, layout=layout, cells=cells)


def restored(picture: Measured, local: LocalPsfs, settings: dict, choice: dict | None, device):
    """Restore a picture.

    Parameters
    ----------
    picture
        The picture.
    local
        Its PSFs.
    settings
        The config's `restoration`.
    choice
        What was chosen for "auto", from `restoration.choosing`; None if nothing was.
    device
        Device that computes.

    Returns
    -------
    numpy.ndarray
        (h, w) float32 counts above the offset.
    """
    known = picture.facts
    settings = with_choice(settings, choice)
    settings |= {"halo_px": halo_of(settings, local.size_px), "offset": known["offset"]}
    settings["exposure"] = asdict(exposure_of(known, settings["background"]))
    out = np.empty(picture.counts.shape, np.float32)
    for core in tiles.shards(out.shape, settings["core_px"]):
        out[core] = restore_core(
            picture.counts, local, core, settings, brightness=known.brightness, device=device
        )
    return out
