"""For napari: opens isoplan's results exactly over one another, and restores a layer.

The plugin napari-ome-zarr (0.9, 0.10) leaves out the translation of a store, so that maps lie half a cell off.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import zarr

from isoplan.base.errors import UserError
from isoplan.config.entries import MODELS
from isoplan.mosaic import ngff

LayerData = tuple[Any, dict[str, Any], str]
RELEASED = sorted(path.stem for path in MODELS.glob("*.safetensors"))
SHOWN = (0.01, 0.99)  # quantiles that are black and white where a picture's own window is not known
FIXED = {"probability": (0.0, 1.0), "0 or 1": (0.0, 1.0), "share of the window": (0.0, 1.0)}
LONG = 12  # letters of a unit, which otherwise stands in the layer's metadata alone
MAPS = {"doubt": "inferno", "validity": "viridis", "alarm": "inferno", "other_blur": "inferno"}


def reader_for(path: str | list[str]) -> Callable[[str], list[LayerData]] | None:
    """The function that reads a result of isoplan; None for any other file, which napari then offers to others."""
    if not isinstance(path, str) or not (Path(path) / "zarr.json").is_file():
        return None
    try:
        ngff.read_attributes(path)
    except UserError:
        return None
    return read


def read(path: str) -> list[LayerData]:
    """The layers of a restored or simulated picture, with its trust, or of a map.

    Parameters
    ----------
    path : str
        The OME-Zarr.

    Returns
    -------
    list of tuple
        Data, keywords and kind of each layer. Of a map's layers the first is visible; of the trust's none is.
    """
    if "channels" in ngff.read_attributes(path):
        return _map_layers(path, shown=0)
    picture = _picture_layer(path)
    trust = Path(path) / "trust"
    return [picture, *(_map_layers(trust, shown=None) if trust.exists() else [])]


def restore_layer(
    image: "napari.layers.Image",  # noqa: F821
    offset: float = 0.0,
    psf_model: Annotated[str, {"choices": RELEASED}] = "gaussian-2",
    na: float = 0.0,
    wavelength_um: float = 0.0,
) -> "napari.qt.threading.FunctionWorker[list[napari.types.LayerDataTuple]]":  # noqa: F821
    """Restores a layer of one plane with its own PSF map, in the background.

    Parameters
    ----------
    image : napari.layers.Image
        Counts as they came from the camera.
    offset : float
        The camera's counts without light.
    psf_model : str
        Whose released network is taken. Zernike models need the optics; the pixel size is the layer's scale.
    na, wavelength_um : float
        Numerical aperture, and wavelength of the light that is seen; 0 where they are not known.
    """
    from napari.qt.threading import thread_worker
    from napari.utils.notifications import show_info

    from isoplan.api import restore

    data = image.data[0] if image.multiscale else image.data
    place = {"scale": image.scale, "translate": image.translate, "units": image.units}
    micrometres = str(image.units[-1]) in ("micrometer", "micron", "um")
    optics = {
        "pixel_size_um": float(image.scale[-1]) if micrometres else None,
        "na": na or None,
        "wavelength_um": wavelength_um or None,
    }

    @thread_worker(start_thread=True, progress=True)
    def work() -> list[LayerData]:
        made = restore(data, offset=offset, psf_model=psf_model, quiet=True, **optics)
        show_info("\n".join(made.notes))
        told = {"name": f"{image.name}, restored", "metadata": {"notes": made.notes}}
        found = made.psf_map
        channels = [
            {"name": name, "unit": found.units[name], "values": values}
            for name, values in found.parameters.items()
        ]
        stride = float(found.y_px[1] - found.y_px[0]) if len(found.y_px) > 1 else len(data)
        maps = [_cells(one, image.name, place, stride, visible=False) for one in channels]
        return [(made.picture, place | told, "image"), *maps]

    return work()


def _picture_layer(path: str | Path) -> LayerData:
    datasets = _multiscale(path)["datasets"]
    levels = [ngff.open_array(path, dataset["path"]) for dataset in datasets]
    place = _place(_multiscale(path), datasets[0])
    return levels, place | {"name": _name(path), "contrast_limits": _range(levels[-1][:])}, "image"


def _map_layers(path: str | Path, *, shown: int | None) -> list[LayerData]:
    """A layer for each channel. shown: number of the one that is visible."""
    told = _multiscale(path)
    values = ngff.open_array(path, "0")[:]
    place = _place(told, told["datasets"][0])
    channels = ngff.read_attributes(path)["channels"]
    return [
        _cells(channel | {"values": found}, _name(path), place, 1, visible=number == shown)
        for number, (channel, found) in enumerate(zip(channels, values, strict=True))
    ]


def _cells(channel: dict, name: str, place: dict, stride: float, *, visible: bool) -> LayerData:
    """One channel of a map as a layer. place: of the cells, or of the picture whose pixels are `stride` times finer."""
    scale = np.asarray(place["scale"], float)
    unit = f" ({channel['unit']})" if 0 < len(channel["unit"]) < LONG else ""
    limits = FIXED.get(channel["unit"]) or _range(channel["values"])
    told = {
        "name": f"{channel['name']}{unit}, {name}",
        "metadata": {"unit": channel["unit"]},
        "scale": scale * stride,
        "translate": np.asarray(place["translate"], float) + scale * (stride - 1) / 2,
        "units": place["units"],
        "contrast_limits": (0.0, 3.0) if channel["name"] == "doubt" else limits,
        "colormap": MAPS.get(channel["name"], "viridis"),
        "interpolation2d": "nearest",
        "opacity": 0.6,
        "visible": visible,
    }
    return channel["values"], told, "image"


def _multiscale(path: str | Path) -> dict:
    return zarr.open_group(path, mode="r").attrs.asdict()["ome"]["multiscales"][0]


def _place(multiscale: dict, dataset: dict) -> dict:
    """Scale, translation and units of the last two axes."""
    scale, translation = (
        transform[transform["type"]][-2:] for transform in dataset["coordinateTransformations"]
    )
    units = [axis.get("unit", "pixel") for axis in multiscale["axes"][-2:]]
    return {"scale": scale, "translate": translation, "units": units}


def _name(path: str | Path) -> str:
    """What tells a result from others: with its folder, as all mosaics of a study have a map of one name."""
    path = Path(path).resolve()
    return f"{path.parent.name}/{path.name.removesuffix('.zarr').removesuffix('.ome')}"


def _range(values: np.ndarray) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    low, high = np.quantile(known, SHOWN) if known.size else (0.0, 1.0)
    return float(low), float(high if high > low else low + 1)
