"""Scenes painted shape by shape: dead leaves, cells, nuclei, points, glyphs.

Edges are anti-aliased but otherwise sharp, except for those of nuclei. Painting is done with NumPy, which
is faster than a GPU on windows of a few hundred pixels.
"""

import math

import numpy as np

from isoplan.base.compiled import compiled
from isoplan.objects.fields import View, coverage

REFERENCE_AREA = 256**2


class Canvas:
    """A picture that ellipses and rectangles are painted on, later ones over earlier ones."""

    def __init__(self, size: int, texture: np.ndarray, ground: float):
        self.picture = np.full((size, size), ground, np.float32)
        self.texture = np.tile(texture, (2, 2))
        self.axis = np.arange(size, dtype=np.float32)
        self.size = size

    def window(self, centre, matrix, rectangle: bool):
        """The window around a shape, and the distance of its pixels to the shape's edge.

        The shape is a unit circle or square, transformed by `matrix` (x, y) and moved to `centre`.
        Distances are in px, positive inside. Returns None if the shape lies outside the picture.
        """
        (a, b), (c, d) = matrix.tolist()
        x, y = map(float, centre)
        rows = (a, b), (c, d)
        wide, high = (sum(map(abs, row)) if rectangle else math.hypot(*row) for row in rows)
        left, right = max(math.floor(x - wide - 1), 0), min(math.ceil(x + wide + 2), self.size)
        top, bottom = max(math.floor(y - high - 1), 0), min(math.ceil(y + high + 2), self.size)
        if left >= right or top >= bottom:
            return None
        distance = np.empty((bottom - top, right - left), np.float32)
        inverse = inverse_of(matrix).astype(np.float32)
        middle = np.array([y, x], np.float32)
        _distances(distance, top, left, middle, inverse, rectangle, 1 / norm_of(inverse))
        return (slice(top, bottom), slice(left, right)), distance

    def paint(self, where, share, value):
        """Paint `value` (a number or an array) over the picture, in a given share of each pixel."""
        patch = self.picture[where]
        patch += share * (value - patch)

    def cut_texture(self, where, start) -> np.ndarray:
        """The texture over a window, taken from position `start`."""
        height, width = where[0].stop - where[0].start, where[1].stop - where[1].start
        return self.texture[start[0] : start[0] + height, start[1] : start[1] + width]


@compiled
def _distances(distance, top, left, middle, inverse, rectangle, least):
    """Distances of pixels to the edge of a shape, which is a unit circle or square about `middle` (y, x) by `inverse`.

    `top` and `left` are the first pixel. `least` is the distance from the middle of an ellipse to its edge.
    """
    one, small = np.float32(1), np.float32(1e-6)
    norm_u = np.sqrt(inverse[0, 0] * inverse[0, 0] + inverse[0, 1] * inverse[0, 1])
    norm_v = np.sqrt(inverse[1, 0] * inverse[1, 0] + inverse[1, 1] * inverse[1, 1])
    for i in range(distance.shape[0]):
        dy = np.float32(top + i) - middle[0]
        for j in range(distance.shape[1]):
            dx = np.float32(left + j) - middle[1]
            u = inverse[0, 0] * dx + inverse[0, 1] * dy
            v = inverse[1, 0] * dx + inverse[1, 1] * dy
            if rectangle:
                distance[i, j] = min((one - abs(u)) / norm_u, (one - abs(v)) / norm_v)
                continue
            # To first order, (1 - q) / |grad q|, with q the radius function of the ellipse.
            square = u * u + v * v
            gx = inverse[0, 0] * u + inverse[1, 0] * v
            gy = inverse[0, 1] * u + inverse[1, 1] * v
            root = np.sqrt(square)
            found = (one - root) * root / (np.sqrt(gx * gx + gy * gy) + small)
            distance[i, j] = least if square < small else found


def inverse_of(matrix: np.ndarray) -> np.ndarray:
    """The inverse of a (2, 2) matrix, in a tenth of the time that LAPACK takes for one so small."""
    (a, b), (c, d) = matrix.tolist()
    scale = 1 / (a * d - b * c)
    return np.array([[d * scale, -b * scale], [-c * scale, a * scale]])


def norm_of(inverse: np.ndarray) -> float:
    """The spectral norm of a (2, 2) matrix; for an inverse, one over the smallest semi-axis."""
    (a, b), (c, d) = inverse.tolist()
    squares, determinant = a * a + b * b + c * c + d * d, a * d - b * c
    return math.sqrt((squares + math.sqrt(max(squares**2 - 4 * determinant**2, 0))) / 2)


def dead_leaves(size, view: View, texture, rng, textured: bool) -> np.ndarray:
    """Dead leaves, (size, size): ellipses and rectangles that occlude each other, largest first.

    Radii follow an inverse-cube law from 2-8 to 20-80 px, times the zoom, above a layer of large leaves.

    Parameters
    ----------
    size
        Side of the scene in px.
    view
        Zoom, stretch and angle.
    texture
        (size, size) fractal field of standard deviation 1.
    rng
        Source of random numbers.
    textured
        Whether every leaf gets its own part of the texture.
    """
    low, high = rng.uniform(2, 8), rng.uniform(20, 80)
    low = max(low, 0.8 / view.zoom)
    area = size**2 / REFERENCE_AREA
    count = int(np.clip(180 * area / view.zoom**2, 60 * area, 240 * area)) + 8
    u = rng.random(count)
    small = (high**-2 + u * (low**-2 - high**-2)) ** -0.5
    # The law alone would leave most of the ground bare, so large leaves are painted below.
    under = int(np.clip(30 * (50 / high) ** 2 * area / view.zoom**2, 10, 40 * area))
    large = max(high, 12 / view.zoom) * rng.uniform(0.5, 1, under)
    radius = np.concatenate([large, np.sort(small)[::-1]])
    count += under
    margin = 0.5 * high * view.zoom
    centre = rng.uniform(-margin, size + margin, (count, 2))
    angle, aspect = rng.uniform(0, math.pi, count), np.exp(rng.uniform(0, math.log(3), count))
    value, rectangle = rng.random(count), rng.random(count) < 0.4
    slope = rng.normal(0, 0.25, (count, 2)) * (rng.random(count) < 0.3)[:, None]
    start = rng.integers(0, size, (count, 2))
    depth = rng.uniform(0.05, 0.45, count) if textured else np.zeros(count)
    canvas = Canvas(size, texture, rng.random())
    for i in range(count):
        matrix = view.matrix @ ellipse_matrix(angle[i], radius[i] * aspect[i] ** 0.5, aspect[i])
        found = canvas.window(centre[i], matrix, rectangle[i])
        if found is None:
            continue
        where, distance = found
        fill = value[i]
        if slope[i].any():
            reach = 1 / (radius[i] * view.zoom)
            fill = fill + slope[i, 0] * reach * (canvas.axis[where[0]] - centre[i, 1])[:, None]
            fill = fill + slope[i, 1] * reach * (canvas.axis[where[1]] - centre[i, 0])
        if textured:
            fill = fill * np.exp(depth[i] * canvas.cut_texture(where, start[i]))
        canvas.paint(where, coverage(distance), fill)
    return canvas.picture


def cells(size, view: View, texture, rng) -> np.ndarray:
    """Cells, (size, size): textured ellipses with radii of about 12 px on a faint ground.

    Each has its own brightness; some have a bright rim, or a dark or bright nucleus.
    """
    full = size**2 / REFERENCE_AREA * math.exp(rng.uniform(math.log(15), math.log(110)))
    count = int(np.clip(full / view.zoom**2, full / 4 + 4, 2.5 * full + 8))
    mean, depth = rng.uniform(7, 16), rng.uniform(0.1, 0.6)
    rim, rim_px = rng.uniform(0, 0.8) * (rng.random() < 0.6), rng.uniform(1, 3)
    nuclei, nucleus = rng.random() < 0.6, rng.uniform(-0.8, 0.8)
    canvas = Canvas(size, texture, rng.uniform(0.02, 0.1))
    for _ in range(count):
        radius = mean * math.exp(rng.normal(0, 0.35))
        angle, aspect = rng.uniform(0, math.pi), math.exp(abs(rng.normal(0, 0.4)))
        centre = rng.uniform(-mean, size + mean, 2)
        body = view.matrix @ ellipse_matrix(angle, radius * aspect**0.5, aspect)
        value, start = rng.uniform(0.3, 1), rng.integers(0, size, 2)
        place, share = rng.uniform(-0.3, 0.3, 2), rng.uniform(0.25, 0.5)
        found = canvas.window(centre, body, False)
        if found is None:
            continue
        where, distance = found
        fill = value * np.exp(depth * canvas.cut_texture(where, start))
        if rim:
            fill = fill + rim * coverage(rim_px * max(view.zoom, 0.5) - distance)
        canvas.paint(where, coverage(distance), fill)
        found = canvas.window(centre + body @ place, share * body, False) if nuclei else None
        if found:
            where, distance = found
            fill = canvas.picture[where] * (1 + nucleus)
            canvas.paint(where, coverage(distance), fill)
    return canvas.picture


def nuclei(size, view: View, texture, rng) -> np.ndarray:
    """Nuclei, (size, size): soft ellipses with radii of about 14 px on a faint ground.

    Brightness is proportional to thickness, so it rises over a tenth to all of the radius. Each nucleus
    has a smooth texture, and dark or bright spots with soft edges.
    """
    full = size**2 / REFERENCE_AREA * math.exp(rng.uniform(math.log(8), math.log(150)))
    count = int(np.clip(full / view.zoom**2, 2, 2.5 * full + 8))
    mean, depth, rim = rng.uniform(5, 22), rng.uniform(0.05, 0.5), rng.uniform(0.1, 1)
    spots, spot = rng.integers(0, 5), rng.uniform(-0.7, 1.5)
    canvas = Canvas(size, texture, rng.uniform(0, 0.1))
    for _ in range(count):
        radius = mean * math.exp(rng.normal(0, 0.25))
        angle, aspect = rng.uniform(0, math.pi), math.exp(abs(rng.normal(0, 0.3)))
        centre = rng.uniform(-mean, size + mean, 2)
        body = view.matrix @ ellipse_matrix(angle, radius * aspect**0.5, aspect)
        value, start = math.exp(rng.normal(-0.7, 0.4)), rng.integers(0, size, 2)
        places, shares = rng.uniform(-0.5, 0.5, (spots, 2)), rng.uniform(0.1, 0.3, spots)
        found = canvas.window(centre, body, False)
        if found is None:
            continue
        where, distance = found
        thick = _soft_thickness(distance, rim / norm_of(inverse_of(body)))
        canvas.picture[where] += value * thick * np.exp(depth * canvas.cut_texture(where, start))
        for place, share in zip(places, shares, strict=True):
            found = canvas.window(centre + body @ place, share * body, False)
            if found:
                where, distance = found
                inside = _soft_thickness(distance, 1 / norm_of(inverse_of(share * body)))
                canvas.picture[where] *= 1 + spot * inside
    return canvas.picture


def _soft_thickness(distance, rim_px: float) -> np.ndarray:
    """Thickness of a body with a rounded rim: 0 outside, 1 at least rim_px inside the edge."""
    inside = np.clip((distance + 0.5) / max(rim_px, 1.0), 0, 1)
    return np.sqrt(1 - (1 - inside) ** 2)


def points(size, view: View, rng) -> np.ndarray:
    """Points, (size, size): single pixels or small discs of log-normal brightness, on black.

    The density is 10^-4.6 to 10^-1.8 per px. Half of the scenes show beads with radii up to 2.5 px.
    """
    density = 10 ** rng.uniform(-4.6, -1.8)
    count = max(3, rng.poisson(density * size**2))
    bright = np.exp(rng.normal(0, rng.uniform(0.1, 1.0), count))
    centre = rng.uniform(0, size, (count, 2))
    if rng.random() < 0.5:  # clustered, as in tissue
        parents = rng.uniform(0, size, (max(1, count // 12), 2))
        spread = rng.normal(0, rng.uniform(5, 30), (count, 2)) @ view.matrix.T
        centre = (parents[rng.integers(len(parents), size=count)] + spread) % size
    picture = np.zeros((size, size), np.float32)
    if rng.random() < 0.5:
        y, x = centre.astype(int).T
        np.add.at(picture, (y, x), bright)
        return picture
    radius = np.clip(rng.uniform(0.6, 1.5) * view.zoom, 0.6, 2.5) * np.exp(
        rng.normal(0, 0.2, count)
    )
    reach = np.arange(-5, 6)
    whole = np.floor(centre)
    dy, dx = (reach - (centre - whole)[:, k, None] for k in (0, 1))
    distance = radius[:, None, None] - np.hypot(dy[:, :, None], dx[:, None, :])
    y, x = ((whole[:, k, None].astype(int) + reach) % size for k in (0, 1))
    stamp = coverage(distance) * bright[:, None, None]
    np.add.at(picture, (y[:, :, None], x[:, None, :]), stamp.astype(np.float32))
    return picture


def ellipse_matrix(angle: float, long: float, aspect: float) -> np.ndarray:
    """(2, 2) matrix that maps a unit circle to an ellipse with semi-axis `long` along `angle`."""
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c * long, -s * long / aspect], [s * long, c * long / aspect]])


def glyphs(size: int, view: View, rng: np.random.Generator) -> np.ndarray:
    """Lines of text, (size, size), from 0 to 1: letters are random dots on a raster of some px.

    Such regular rows with gaps occur in print, gratings and chips. They are sharp at any angle, with
    3 x 3 samples per pixel.
    """
    dot = max(1.0, rng.uniform(0.8, 3) * view.zoom)
    dots = math.ceil(1.5 * size / dot) + 2
    height, width = rng.integers(3, 9), rng.integers(2, 7)
    lines, letters = height + rng.integers(1, 7), width + rng.integers(1, 3)
    bits = rng.random((dots, dots)) < rng.uniform(0.3, 0.7)
    # Strokes: a dot is often continued along the line, or downwards.
    bits |= np.roll(bits, 1, rng.integers(2)) & (rng.random((dots, dots)) < 0.6)
    at = np.arange(dots)
    bits &= (at % lines < height)[:, None] & (at % letters < width)[None, :]
    # Words and short lines.
    words = rng.random((dots // lines + 1, dots // letters + 1)) < rng.uniform(0.6, 1)
    bits &= words[at[:, None] // lines, at[None, :] // letters]
    inverse = inverse_of(view.matrix / view.zoom * dot)
    place = (np.arange(3 * size) + 0.5) / 3 - size / 2
    u = inverse[0, 0] * place[None, :] + inverse[0, 1] * place[:, None]
    v = inverse[1, 0] * place[None, :] + inverse[1, 1] * place[:, None]
    ink = bits[np.floor(v).astype(int) % dots, np.floor(u).astype(int) % dots]
    return ink.reshape(size, 3, size, 3).mean((1, 3), dtype=np.float32)
