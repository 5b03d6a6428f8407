"""Synthetic scenes: sharp objects before any blur.

Scene i of a stream is a pure function of (seed, stream, i). It is bit-identical on one kind of machine,
whatever batch it is drawn in. Scenes are sharp to the pixel, since a blur of their own would be an error
in the label. The SOFT ones are an exception: real specimens can be soft, which cannot be distinguished
from the blur of the optics, so networks must learn to be uncertain there.
"""

import math

import numpy as np
import torch

from isoplan.base.errors import UserError
from isoplan.base.seeds import numpy_rng, torch_rng
from isoplan.objects import pictures, shapes
from isoplan.objects.fields import (
    View,
    coverage,
    distance_to_level,
    draw_view,
    fractal,
    grid,
    smooth,
)

SYNTHETIC = ("syn", "poi", "filaments", "dead-leaves", "fractals", "glyphs")
SOFT = ("nuclei", "planes")
KINDS = (*SYNTHETIC, *SOFT, "grids", "mixtures", "black", "pictures", "folder")


def draw_scenes(
    spec: dict,
    n: int,
    size_px: int,
    *,
    seed: int,
    stream: str,
    first: int = 0,
    split: str = "train",
    device="cpu",
) -> torch.Tensor:
    """Draw scenes first, ..., first + n - 1 of a stream.

    Parameters
    ----------
    spec
        An entry of the config's `objects`. Each scene is of one of its kinds, chosen at random.
    n
        Number of scenes.
    size_px
        Side of a scene in px.
    seed, stream, first
        Which scenes of which random stream.
    split
        Which real pictures may be used: train, validation, test or demo.
    device
        Where the scenes are made.

    Returns
    -------
    torch.Tensor
        (n, size_px, size_px) float32, from 0 to about 1.

    Raises
    ------
    UserError
        If a kind is unknown or a folder has no pictures.
    """
    unknown = [kind for kind in spec["kinds"] if kind not in KINDS]
    if unknown or not spec["kinds"]:
        raise UserError(
            f"objects {spec['name']}: unknown kinds {unknown}; known are {', '.join(KINDS)}"
        )
    scenes = torch.empty(n, size_px, size_px, device=device)
    for i in range(n):
        rng = numpy_rng(seed, stream, first + i)
        generator = torch_rng(seed, stream, first + i, device)
        kind = spec["kinds"][rng.integers(len(spec["kinds"]))]
        scenes[i] = _scene(kind, spec, size_px, split, rng, generator)
    return scenes


def source_picture(spec: dict, number: int, *, seed: int, stream: str, split: str) -> int:
    """Number (from 0) of the real picture that scene `number` is cut from; -1 for a synthetic scene.

    Scenes from the same picture are not statistically independent.
    """
    rng = numpy_rng(seed, stream, number)
    kind = spec["kinds"][rng.integers(len(spec["kinds"]))]
    if kind == "pictures":
        return int(rng.integers(len(pictures.bundled_names(spec, split))))
    if kind == "folder":
        files = pictures.folder_files(str(spec["folder"]), split)
        return len(pictures.bundled_names(spec, split)) + int(rng.integers(len(files)))
    return -1


def _scene(kind, spec, size, split, rng, generator) -> torch.Tensor:
    device = generator.device
    if kind == "black":
        return torch.zeros(size, size, device=device)
    if kind in ("pictures", "folder"):
        return torch.from_numpy(_picture(kind, spec, size, split, rng)).to(device)
    if kind == "mixtures":
        scene = _mixture(spec, size, rng, generator)
    elif kind == "grids":
        scene = _printed_grid(draw_view(rng, spec["zoom"]), size, rng, generator)
    elif kind == "planes":
        scene = _planes(spec, size, rng, generator)
    else:
        scene = _synthetic(kind, draw_view(rng, spec["zoom"]), size, rng, generator)
    return _vary(scene, spec, rng)


def _picture(kind, spec, size, split, rng) -> np.ndarray:
    if kind == "pictures":
        stock = pictures.bundled(pictures.bundled_names(spec, split), spec["reduce"])
        picture = stock[rng.integers(len(stock))]
    else:
        if not spec["folder"]:
            raise UserError(f"objects {spec['name']}: the kind folder needs the key folder")
        paths = pictures.folder_files(str(spec["folder"]), split)
        picture = pictures.folder_picture(paths[rng.integers(len(paths))], spec["reduce"])
    low, high = spec["zoom"]
    return pictures.cut(picture, size, rng.uniform(min(low, 1), min(high, 1)), rng)


def _synthetic(kind, view: View, size, rng, generator) -> torch.Tensor:
    """A scene (size, size) of one kind, with a peak of 1."""
    if kind == "syn":
        scene = _cells(view, size, rng, generator)
    elif kind == "poi":
        scene = torch.from_numpy(shapes.points(size, view, rng)).to(generator.device)
    elif kind == "nuclei":
        texture = fractal(size, view, generator, rng, power=(1, 2)).cpu().numpy()
        nuclei = torch.from_numpy(shapes.nuclei(size, view, texture, rng)).to(generator.device)
        scene = _blurred_by_gaussian(nuclei, rng.uniform(0, 4))
    elif kind == "glyphs":
        scene = torch.from_numpy(shapes.glyphs(size, view, rng)).to(generator.device)
    elif kind == "filaments":
        scene = _filaments(view, size, rng, generator)
    elif kind == "dead-leaves":
        texture = fractal(size, view, generator, rng).cpu().numpy()
        leaves = shapes.dead_leaves(size, view, texture, rng, textured=rng.random() < 0.5)
        scene = torch.from_numpy(leaves).to(generator.device)
    else:
        # Clipped at 3 standard deviations, else one bright pixel would leave all others dark.
        scene = torch.exp(rng.uniform(0.3, 1) * fractal(size, view, generator, rng).clamp(-3, 3))
    return _scaled_to_peak(scene)


def _cells(view, size, rng, generator) -> torch.Tensor:
    """Textured cells: single ellipses, or the inside of the contours of a smooth field."""
    texture = fractal(size, view, generator, rng, power=(0.5, 1.6))
    if rng.random() < 0.5:
        painted = shapes.cells(size, view, texture.cpu().numpy(), rng)
        return torch.from_numpy(painted).to(generator.device)
    length = max(rng.uniform(4, 16), 2 / view.zoom)
    field = smooth(size, view, generator, length, rng.uniform(1.2, 3))
    inside = coverage(distance_to_level(field, rng.uniform(-0.3, 1.0)))
    body = torch.exp(rng.uniform(0.1, 0.6) * texture)
    ground = rng.uniform(0.02, 0.3)
    return ground + inside * (body - ground)


def _filaments(view, size, rng, generator) -> torch.Tensor:
    """Lines of constant width, at least 0.7 px, along the contours of two to six smooth fields."""
    scene = torch.zeros(size, size, device=generator.device)
    length = max(rng.uniform(4, 20), 3 / view.zoom)
    width = max(0.7, rng.uniform(0.7, 2.5) * view.zoom)
    uneven = rng.uniform(0, 0.8)
    for _ in range(rng.integers(2, 7)):
        field = smooth(size, view, generator, length, rng.uniform(1.6, 3))
        distance = distance_to_level(field, rng.uniform(-0.7, 0.7)).abs()
        line = coverage(width / 2 - distance) * min(1.0, width)
        along = torch.exp(uneven * fractal(size, view, generator, rng, power=(0.8, 1.6)))
        scene = scene + line * along * rng.uniform(0.3, 1)
    return scene


def _printed_grid(view, size, rng, generator) -> torch.Tensor:
    """Lines along two directions as a printer makes them: ragged, with the grain of ink and paper. Half are dark on bright."""
    period = rng.uniform(24, 80) * view.zoom
    half = period * rng.uniform(0.05, 0.15)
    place = torch.arange(size, device=generator.device)
    across = -math.inf * torch.ones(size, size, device=generator.device)
    for angle in (view.angle, view.angle + math.pi / 2):
        along = (math.cos(angle) * place + math.sin(angle) * place[:, None]) / period
        from_line = ((along + rng.random()) % 1 - 0.5).abs() * period
        across = torch.maximum(across, half - from_line)
    ragged = rng.uniform(0.2, 1) * smooth(size, view, generator, 2.0, 1.5)
    ink = coverage(across + ragged)
    grain = torch.exp(rng.uniform(0.1, 0.4) * fractal(size, view, generator, rng).clamp(-3, 3))
    paper = rng.uniform(0.02, 0.3)
    lines = grain * (paper + (1 - paper) * ink)
    if rng.random() < 0.5:
        lines = grain * (1 - (1 - paper) * ink)
    return _scaled_to_peak(lines)


def _mixture(spec, size, rng, generator) -> torch.Tensor:
    """Two scenes of different kinds, added, multiplied, or side by side along a sharp contour."""
    kinds = rng.choice(len(SYNTHETIC), 2, replace=False)
    a, b = (
        _synthetic(SYNTHETIC[k], draw_view(rng, spec["zoom"]), size, rng, generator) for k in kinds
    )
    way = rng.integers(3)
    share = rng.uniform(0.2, 0.8)
    if way == 0:
        return share * a + (1 - share) * b
    if way == 1:
        return a * (share + (1 - share) * b)
    field = smooth(size, View(), generator, size / 12, 2.0)
    inside = coverage(distance_to_level(field))
    return inside * a + (1 - inside) * b


def _planes(spec, size, rng, generator) -> torch.Tensor:
    """A thick specimen: up to three planes of one kind, each more blurred than the one before.

    Even the first is seldom sharp. A haze, blurred by 8 to 24 px, may be added.
    """
    kind = (*SYNTHETIC, "nuclei")[rng.integers(len(SYNTHETIC) + 1)]
    scene = torch.zeros(size, size, device=generator.device)
    width = rng.uniform(0, 5)
    for _ in range(rng.integers(1, 4)):
        plane = _synthetic(kind, draw_view(rng, spec["zoom"]), size, rng, generator)
        scene = scene + rng.uniform(0.2, 1) * _blurred_by_gaussian(plane, width)
        width += rng.uniform(1, 8)
    if rng.random() < 0.3:
        plane = _synthetic(kind, draw_view(rng, spec["zoom"]), size, rng, generator)
        scene = scene + rng.uniform(0.2, 1) * _blurred_by_gaussian(plane, rng.uniform(8, 24))
    return scene


def _blurred_by_gaussian(scene: torch.Tensor, width_px: float) -> torch.Tensor:
    """Scene blurred by a Gaussian of a full width at half maximum in px, with periodic borders."""
    ky, kx = grid(scene.shape[-1], scene.device)
    # A Gaussian of width w has the transform exp(-(pi w f)^2 / (4 log 2)).
    otf = torch.exp(-((math.pi * width_px) ** 2) / (4 * math.log(2)) * (ky**2 + kx**2))
    return torch.fft.irfft2(torch.fft.rfft2(scene) * otf, s=scene.shape).clamp_min(0)


def _vary(scene: torch.Tensor, spec, rng) -> torch.Tensor:
    """Random variations of a synthetic scene: points, inverted contrast, gamma, background."""
    if rng.random() < 0.2:
        dots = shapes.points(scene.shape[-1], draw_view(rng, spec["zoom"]), rng)
        scene = scene + rng.uniform(0.3, 1.5) * _scaled_to_peak(
            torch.from_numpy(dots).to(scene.device)
        )
    scene = _scaled_to_peak(scene)
    if rng.random() < 0.25:
        scene = 1 - scene
    scene = scene ** rng.uniform(0.6, 1.8)
    background = rng.uniform(0, 0.3) if rng.random() < 0.5 else 0.0
    return background + (1 - background) * scene


def _scaled_to_peak(scene: torch.Tensor) -> torch.Tensor:
    """Scaled to a peak of 1."""
    scene = scene.clamp_min(0)
    return scene / scene.amax().clamp_min(1e-6)
