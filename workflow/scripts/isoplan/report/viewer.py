"""Pictures of the before/after viewer: crops of a few places by all methods, with the same grey scale."""

import numpy as np

from isoplan.optics.model import of_unit
from isoplan.report import pictures, style
from isoplan.report.places import Place, choose_places, whole
from isoplan.report.psfs import cell_psfs, same_size, visible_radius
from isoplan.report.results import Mosaic, PsfMap, Study

# From best to smallest: JPEG quality and the longest side of the whole mosaic.
GRADES = ((86, 1024), (80, 896), (70, 768), (55, 640), (40, 512))


def viewer_data(study: Study, mosaics: list[Mosaic], crop_px: int, budget_bytes: int) -> list[dict]:
    """The data of the page's script for each mosaic, with pictures as data URIs.

    The quality of the pictures is reduced until all of them fit `budget_bytes`. crop_px: side of the places.
    """
    scenes = [scene for mosaic in mosaics if (scene := _scene(study, mosaic, crop_px))]
    for quality, limit_px in GRADES:
        encoded = [_encode_scene(scene, quality, limit_px) for scene in scenes]
        if sum(size for _, size in encoded) <= budget_bytes:
            break
    return [scene for scene, _ in encoded]


def _scene(study: Study, mosaic: Mosaic, crop_px: int) -> dict | None:
    sources = pictures.open_pictures(study.folder, mosaic.name, mosaic.facts, study.methods)
    if not sources:
        return None
    methods = style.sort_methods(sources)
    shape = sources[methods[0]].shape
    places = choose_places(study, mosaic.name, shape, crop_px)
    # Pictures in other units (a truth in units of the scene) are scaled to the mosaic's brightness.
    middle = places[0]
    levels = {m: _mean(_crop(source, middle)) for m, source in sources.items()}
    reference = levels.get("none") or levels[methods[0]]
    factors = {m: _factor(reference, level) for m, level in levels.items()}
    shown = []
    for place in [*places, whole(shape)]:
        views = {}
        for method in methods:
            source = sources[method]
            if place.key == "whole":
                view = source.overview()
            else:
                view = _crop(source, place) + source.offset
            if view is not None:
                views[method] = (view - source.offset) * factors[method]
        if views:
            low, high = _common_levels(views)
            grey = {m: pictures.to_grey(view, low, high) for m, view in views.items()}
            shown.append((place, grey))
    scaled = [style.method_label(m) for m, factor in factors.items() if factor != 1.0]
    return {
        "name": mosaic.name,
        "shape": shape,
        "pixel_um": mosaic.pixel_size_um,
        "methods": methods,
        "scaled": scaled,
        "places": [
            {"place": place, "grey": grey, **_psfs_at(study, mosaic, place)}
            for place, grey in shown
        ],
    }


def _crop(source, place: Place) -> np.ndarray:
    window = (place.y0, place.y0 + place.height, place.x0, place.x0 + place.width)
    return source.crop(*window) - source.offset


def _mean(picture: np.ndarray) -> float:
    finite = picture[np.isfinite(picture)]
    return float(finite.mean()) if finite.size else 0.0


def _factor(reference: float, level: float) -> float:
    if level <= 0 or reference <= 0 or 0.8 <= reference / level <= 1.25:
        return 1.0
    return reference / level


def _common_levels(views: dict) -> tuple[float, float]:
    """A common black and white point of all methods, without which the slider would compare contrasts."""
    return pictures.levels_of(np.concatenate([view.ravel() for view in views.values()]))


def _psfs_at(study: Study, mosaic: Mosaic, place: Place) -> dict:
    """The PSFs and the words for one place."""
    words, found = [], {}
    if place.gain_db is not None:
        words.append(f"SNR gain here {style.signed(place.gain_db)} dB")
    psf_map = study.maps.get(mosaic.name)
    if place.cell is None or psf_map is None:
        return {"words": words, "psfs": []}
    for kind, source in (("estimated", psf_map), ("true", study.true_maps.get(mosaic.name))):
        if source is None or not source.spec:
            continue
        values = source.values[(slice(None), *place.cell)]
        if np.isfinite(values).all():
            found[kind] = (source, cell_psfs(source, [place.cell]))
    if psf_map.untrusted[place.cell]:
        what = "doubtful" if psf_map.untrusted.all() else "filled in from neighbours"
        words.append(f"the PSF here is {what}")
    if psf_map.out_of_domain[place.cell]:
        words.append(
            "the picture here is of a kind that the network was not trained for: do not trust its PSF"
        )
    if not found:
        return {"words": words, "psfs": []}
    shown = same_size([psfs for _, psfs in found.values()])
    radius = visible_radius(np.concatenate(shown), 0.995)
    psfs = []
    for (kind, (source, _)), (psf,) in zip(found.items(), shown, strict=True):
        middle = psf.shape[-1] // 2
        window = slice(middle - radius, middle + radius + 1)
        content = pictures.encode(pictures.psf_colours(psf[window, window]), "PNG")
        numbers = _numbers(source, place.cell)
        uri = pictures.data_uri(content, "image/png")
        psfs.append({"label": f"{kind.capitalize()} PSF", "uri": uri, "words": numbers})
    side = 2 * radius + 1
    um = f" ({style.significant(side * mosaic.pixel_size_um)} µm)" if mosaic.pixel_size_um else ""
    return {"words": words, "psfs": psfs, "psf_side": f"{side} px{um} across"}


def _numbers(psf_map: PsfMap, cell: tuple[int, int]) -> list[str]:
    """Parameters of a cell in words, with their 90 % intervals if the map has them."""
    words = []
    for index, (name, unit) in enumerate(zip(psf_map.names, psf_map.units, strict=True)):
        text = style.significant(float(psf_map.values[(index, *cell)]))
        half_width = 0.0  # a true map has none
        if psf_map.uncertainty is not None and not psf_map.untrusted[cell]:
            half_width = float(psf_map.uncertainty[(index, *cell)])
        if half_width:
            text += f" ± {style.significant(half_width, 2)}"
        interval = " (90 % interval)" if half_width else ""
        words.append(of_unit(f"{style.parameter_label(name)} {text}", unit) + interval)
    return words


def _encode_scene(scene: dict, quality: int, limit_px: int) -> tuple[dict, int]:
    """The scene as data of the page's script, and its size in bytes."""
    places, size = [], 0
    for item in scene["places"]:
        place, uris = item["place"], {}
        for method, grey in item["grey"].items():
            if place.key == "whole":
                grey = pictures.shrink(grey, limit_px)
            uris[method] = pictures.data_uri(pictures.encode(grey, "JPEG", quality), "image/jpeg")
            size += len(uris[method])
        height, width = scene["shape"]
        places.append(
            {
                "key": place.key,
                "label": place.label,
                "width": place.width,
                "height": place.height,
                "box": [
                    *(100 * place.x0 / width, 100 * place.y0 / height),
                    *(100 * place.width / width, 100 * place.height / height),
                ],
                "bar": _bar(place.width, scene["pixel_um"]),
                "pictures": uris,
                "words": item["words"],
                "psfs": item["psfs"],
                "psfSide": item.get("psf_side", ""),
            }
        )
    last = scene["places"][-1]
    thumbnail = ""
    if last["place"].key == "whole":
        small = pictures.shrink(next(iter(last["grey"].values())), 240)
        thumbnail = pictures.data_uri(pictures.encode(small, "JPEG", 80), "image/jpeg")
    labels = {method: style.method_label(method) for method in scene["methods"]}
    colours = {method: style.method_colour(method) for method in scene["methods"]}
    return {
        "name": scene["name"],
        "methods": scene["methods"],
        "labels": labels,
        "colours": colours,
        "scaled": scene["scaled"],
        "thumbnail": thumbnail,
        "ratio": scene["shape"][0] / scene["shape"][1],
        "places": places,
    }, size


def _bar(width_px: int, pixel_um: float | None) -> dict:
    width, unit = (width_px * pixel_um, "µm") if pixel_um else (float(width_px), "px")
    length = style.bar_length(width)
    return {"share": 100 * length / width, "label": style.bar_label(length, unit)}
