"""Mosaics with a known truth: sharp pictures laid out, blurred by a known field, seen by a camera.

Everything is a pure function of (study seed, mosaic name) and is made block by block, out of core.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from isoplan.base.seeds import numpy_rng, torch_rng
from isoplan.objects import pictures
from isoplan.optics.blur import SpaceVariantBlur
from isoplan.optics.camera import draw_camera, expose, mean_counts
from isoplan.optics.model import PsfModel

FIELD_STRIDE_PX = 32  # the true field is sampled twice as finely as the published map
BLOCK_PX = 1024


@dataclass(frozen=True)
class Field:
    """A PSF field over a mosaic: one entry {parameter, shape, low, high} per parameter of the model.

    Shapes run from low to high: tilt-x and tilt-y along an axis, bowl from the centre to the
    corners, saddle from the middle of the left and right edges to that of the top and bottom ones,
    constant: low.
    """

    model: PsfModel
    entries: tuple[dict, ...]
    shape_px: tuple[int, int]

    def at(self, y_px: np.ndarray, x_px: np.ndarray) -> torch.Tensor:
        """Parameters at the grid of the given edge coordinates: (len(y), len(x), P) float32."""
        v, u = np.meshgrid(
            np.clip(y_px / self.shape_px[0], 0, 1),
            np.clip(x_px / self.shape_px[1], 0, 1),
            indexing="ij",
        )
        centred = 2 * v - 1, 2 * u - 1
        shapes = {
            "tilt-x": u,
            "tilt-y": v,
            "bowl": (centred[0] ** 2 + centred[1] ** 2) / 2,
            "saddle": (centred[0] ** 2 - centred[1] ** 2 + 1) / 2,
            "constant": np.zeros_like(u),
        }
        named = {entry["parameter"]: entry for entry in self.entries}
        out = [np.empty((0, *u.shape))]  # a measured PSF has no parameters
        for parameter in self.model.parameters:
            entry = named[parameter.name]
            high = entry["low"] if entry["high"] is None else entry["high"]
            out.append((entry["low"] + (high - entry["low"]) * shapes[entry["shape"]])[None])
        return torch.from_numpy(np.moveaxis(np.concatenate(out), 0, -1).astype(np.float32))


class LaidOut:
    """Sharp pictures laid out in squares of tile_px, each a random crop in a random right-angle turn.

    Reads any window in bounded memory (the pictures, under 20 MB, and the window); beyond the edge
    the layout goes on, so that the blur has something to draw from.
    """

    def __init__(self, simulation: dict, seed: int):
        self.tile_px, self.seed = simulation["tile_px"], seed
        self.stream = f"simulation/{simulation['mosaic']}"
        names = simulation["pictures"]
        names = pictures.SPLITS["demo"] if names == ["demo"] else names
        self.pictures = [self._prepared(name, simulation["reduce"]) for name in names]

    def _prepared(self, name: str, reduce: int) -> np.ndarray:
        picture = pictures.reduce_by_area(pictures.load_picture(name), reduce)
        low, high = np.percentile(picture, (0.1, 99.9))
        picture = np.clip((picture - low) / max(high - low, 1e-6), 0, 1)
        short = [max(0, self.tile_px - side) for side in picture.shape]
        return np.pad(picture, [(0, s) for s in short], mode="symmetric").astype(np.float32)

    def _tile(self, j: int, i: int) -> np.ndarray:
        # Neighbours never show the same picture: the index walks along rows and skips between them.
        picture = self.pictures[(i + j * (len(self.pictures) // 2 + 1)) % len(self.pictures)]
        rng = numpy_rng(self.seed, self.stream, (j + 1000) * 1_000_000 + i + 1000)
        top, left = (rng.integers(side - self.tile_px + 1) for side in picture.shape)
        tile = picture[top : top + self.tile_px, left : left + self.tile_px]
        tile = np.rot90(tile, rng.integers(4))
        return tile[:, ::-1] if rng.integers(2) else tile

    def read(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """(y1 - y0, x1 - x0) float32 in [0, 1]."""
        out = np.empty((y1 - y0, x1 - x0), np.float32)
        size = self.tile_px
        for j in range(y0 // size, (y1 - 1) // size + 1):
            for i in range(x0 // size, (x1 - 1) // size + 1):
                top, left = j * size, i * size
                ys = slice(max(y0, top), min(y1, top + size))
                xs = slice(max(x0, left), min(x1, left + size))
                out[ys.start - y0 : ys.stop - y0, xs.start - x0 : xs.stop - x0] = self._tile(j, i)[
                    ys.start - top : ys.stop - top, xs.start - left : xs.stop - left
                ]
        return out


class Simulation:
    """One entry of the config's `simulations` with the entries that it names."""

    def __init__(
        self,
        simulation: dict,
        psf_model: PsfModel,
        camera: dict,
        order: str,
        seed: int,
        layout=None,
    ):
        """layout: what the sharp picture is read from, by `read`; by default pictures laid out as the entry says."""
        self.spec, self.model, self.camera, self.order, self.seed = (
            simulation,
            psf_model,
            camera,
            order,
            seed,
        )
        self.shape_px = tuple(simulation["size_px"])
        self.field = Field(psf_model, tuple(simulation["field"]), self.shape_px)
        self.layout = layout or LaidOut(simulation, seed)

    @cached_property
    def settings(self) -> dict:
        """The camera of this mosaic: one draw from the camera's ranges."""
        rng = torch_rng(self.seed, f"simulation/{self.spec['mosaic']}/camera")
        return draw_camera(self.camera, 1, rng)

    @property
    def dtype(self) -> str:
        """uint16 where the camera's counts are whole numbers that fit, else float32."""
        return "uint16" if 0 < self.camera["bits"] <= 16 else "float32"

    def camera_columns(self) -> dict:
        """Gain, offset and read noise as the mosaic table names them, and the cut-off of the pupil."""
        pupil = {"cutoff": self.model.cutoff} if hasattr(self.model, "field_px") else {}
        return pupil | {
            "gain": float(self.settings["gain"]),
            "offset": float(self.settings["offset"]),
            "read_noise_e": float(self.settings["read_noise_e"]),
        }

    def truth(self, y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
        """Sharp picture in expected counts above the offset, float32."""
        sharp = torch.from_numpy(self.layout.read(y0, y1, x0, x1))[None]
        bright = self.settings | {"vignetting": torch.zeros(1)}
        counts = mean_counts(sharp, bright)[0] - float(self.settings["offset"])
        return counts.numpy()

    def observed(self, y0: int, y1: int, x0: int, x1: int, unit: int) -> np.ndarray:
        """What the camera gives for a block: (y1 - y0, x1 - x0) counts, offset included."""
        size = FIELD_STRIDE_PX
        # Field nodes from one before the block to one after it, on a grid common to all blocks.
        reach = self.model.size_px // 2 + size
        nodes = [
            np.arange((a - reach) // size, (b + reach) // size + 1) * size + size / 2
            for a, b in ((y0, y1), (x0, x1))
        ]
        params = self.field.at(*nodes)
        psfs, _ = self.model.psf(params.flatten(0, 1))
        blur = SpaceVariantBlur(
            psfs.reshape(*params.shape[:2], *psfs.shape[1:]),
            torch.from_numpy(nodes[0] - y0 - 0.5),
            torch.from_numpy(nodes[1] - x0 - 0.5),
            (y1 - y0, x1 - x0),
            order=self.order,
        )
        margin = blur.margin
        sharp = self.layout.read(y0 - margin, y1 + margin, x0 - margin, x1 + margin)
        blurred = blur.forward(torch.from_numpy(sharp)).clamp_min(0)
        rng = torch_rng(self.seed, f"simulation/{self.spec['mosaic']}/noise", unit)
        counts = expose(
            blurred[None], self.settings, rng, full_field=self.shape_px, origin=(y0, x0)
        )
        return counts[0].numpy()
