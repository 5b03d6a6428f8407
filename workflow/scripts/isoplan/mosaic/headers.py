"""Metadata in file headers: names of channels, pixel size, numerical aperture, wavelengths.

All of it is optional. A broken header must not make a picture unreadable, so whatever cannot be
parsed counts as unknown.
"""

import contextlib
import math
import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field

import tifffile

_MICROMETRES = {
    "m": 1e6,
    "cm": 1e4,
    "mm": 1e3,
    "um": 1.0,
    "nm": 1e-3,
    "pm": 1e-6,
    "Å": 1e-4,
    "meter": 1e6,
    "centimeter": 1e4,
    "millimeter": 1e3,
    "micrometer": 1.0,
    "nanometer": 1e-3,
    "micron": 1.0,
    "microns": 1.0,
    "inch": 25400.0,
    "in": 25400.0,
    "angstrom": 1e-4,
}
_MICRO_MANAGER, _PER_CENTIMETRE = 51123, 3  # a TIFF tag, and a value of ResolutionUnit
# Larger pixels belong to a printer, a scanner or the camera's chip.
_LARGEST_AT_SAMPLE_UM = 2.0


@dataclass
class Metadata:
    """What a header says about one picture; None or an empty list where it says nothing.

    Attributes
    ----------
    names
        Names of the channels.
    pixel_size_um
        Side of a pixel at the sample, in micrometres.
    na
        Numerical aperture of the objective.
    magnification
        Nominal magnification of the objective.
    wavelengths_um
        Emission wavelength of each channel, in micrometres.
    notes
        Messages for the log.
    """

    names: list[str] = field(default_factory=list)
    pixel_size_um: float | None = None
    na: float | None = None
    magnification: float | None = None
    wavelengths_um: list[float | None] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def set_pixel_size(self, y: float | None, x: float | None) -> None:
        """Set the pixel size from its two sides in um, if they agree to 0.1 %."""
        if not y or not x:
            return
        if math.isclose(y, x, rel_tol=1e-3):
            self.pixel_size_um = x
        else:
            self.notes.append(
                f"CAUTION: a pixel is {x:g} um wide and {y:g} um high, as the file says: give pixel_size_um, "
                "and pixels are taken as square"
            )

    def optics(self, channel: int) -> dict[str, float]:
        """What is known of one channel, keyed by the table's column names."""
        waves = self.wavelengths_um
        wave = waves[channel] if channel < len(waves) else None
        found = {"pixel_size_um": self.pixel_size_um, "na": self.na, "wavelength_um": wave}
        found["magnification"] = self.magnification
        return {key: value for key, value in found.items() if value is not None}


# A value outside these ranges probably has the wrong unit, so a note is made.
_USUAL_RANGES = {"pixel_size_um": (0.005, 20.0), "na": (0.02, 1.7), "wavelength_um": (0.2, 2.5)}


def complete_optics(given: dict, known: dict[str, float]) -> tuple[dict, list[str]]:
    """Pixel size, NA and wavelength of a picture: as given, else from its file.

    Parameters
    ----------
    given
        Values from the table or the command line.
    known
        The picture's `optics`, from its header.

    Returns
    -------
    values
        `pixel_size_um`, `na` and `wavelength_um`; None if unknown.
    notes
        What was taken from the file, where the two disagree, and which values are unusual.

    Examples
    --------
    >>> complete_optics({"na": 0.8}, {"na": 0.8, "pixel_size_um": 0.325})[1]
    ['pixel_size_um 0.325, as the file says']
    """
    values, notes = {}, []
    for key, (low, high) in _USUAL_RANGES.items():
        told, own = given.get(key), known.get(key)
        values[key] = own if told is None else told
        if values[key] is None:
            continue
        if told is None:
            notes.append(f"{key} {own:g}, as the file says")
        differ = told is not None and own is not None and not math.isclose(told, own, rel_tol=0.02)
        if not low <= values[key] <= high:
            more = f", and the file says {own:g}" if differ else ""
            notes.append(f"CAUTION: {key} {values[key]:g} is unusual{more}; check its unit")
        elif differ:
            notes.append(f"{key} is {told:g} as given, though the file says {own:g}")
    return values, notes


def micrometres(value: object, unit: object) -> float | None:
    """Convert a length to um; None if it is not a positive number or its unit is unknown.

    Examples
    --------
    >>> micrometres("325", "nm")
    0.325
    """
    text = str(unit).strip().replace("\\u00B5", "u").replace("µ", "u").replace("μ", "u")
    scale = _MICROMETRES.get(text, _MICROMETRES.get(text.lower()))
    number = positive_number(value)
    return None if scale is None or number is None else float(f"{number * scale:.12g}")


def finite_number(value: object) -> float | None:
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def positive_number(value: object) -> float | None:
    number = finite_number(value)
    return number if number is not None and number > 0 else None


def tiff_metadata(
    tiff: tifffile.TiffFile, number: int, count: int, shape: tuple[int, int]
) -> Metadata:
    """Metadata of picture `number` of `count` in a TIFF; shape: its (H, W) in px."""
    try:
        if tiff.is_ome:
            known = _ome_metadata(tiff, number, count, shape)
        elif tiff.is_imagej and not tiff.pages.first.is_micromanager:
            known = _imagej_metadata(tiff)
        elif tiff.is_lsm:
            known = _lsm_metadata(tiff.lsm_metadata)
        else:
            known = _page_metadata(tiff.pages.first)
    except Exception:
        return Metadata()
    size, (low, high) = known.pixel_size_um, _USUAL_RANGES["pixel_size_um"]
    with contextlib.suppress(Exception):  # the resolution tag may be missing or broken
        if (
            size
            and not low <= size <= high
            and (tag := _page_metadata(tiff.pages.first).pixel_size_um)
        ):
            known.notes.append(f"its resolution tag says pixel_size_um {tag:g}")
    return known


def ngff_metadata(multiscale: dict, axes: str, omero: dict | None) -> Metadata:
    """Metadata of one entry of `multiscales`; axes: a letter per axis."""
    try:
        channels = (omero or {}).get("channels") or []
        known = Metadata([str(channel.get("label", "")) for channel in channels])
        parts = (multiscale["datasets"][0], multiscale)
        steps = [step for part in parts for step in part.get("coordinateTransformations") or []]
        scales = [step["scale"] for step in steps if step.get("type") == "scale"]
        if not scales:  # a pixel of 1 unit would be a guess
            return known
        scale = [math.prod(factors) for factors in zip(*scales, strict=True)]
        sizes = {
            letter: micrometres(length, axis.get("unit"))
            for letter, length, axis in zip(axes, scale, multiscale["axes"], strict=True)
        }
        known.set_pixel_size(sizes.get("Y"), sizes.get("X"))
        return known
    except Exception:
        return Metadata()


# OME-XML -------------------------------------------------------------------------------------------


def _tag(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _elements(element: ET.Element, name: str) -> list[ET.Element]:
    return [one for one in element.iter() if _tag(one) == name]


def _ome_metadata(
    tiff: tifffile.TiffFile, number: int, count: int, shape: tuple[int, int]
) -> Metadata:
    tree = ET.fromstring(tiff.ome_metadata)
    images = _elements(tree, "Image")
    # If the file does not hold all images of the header, it is unclear which one this is. Then only
    # metadata that all of them share are used.
    chosen = images[number : number + 1] if len(images) == count else images
    found = [_ome_image_metadata(tree, image, shape) for image in chosen]
    return found[0] if all(one == found[0] for one in found) else Metadata()


def _ome_image_metadata(tree: ET.Element, image: ET.Element, shape: tuple[int, int]) -> Metadata:
    known = Metadata([one.get("Name") or "" for one in _elements(image, "Channel")])
    known.wavelengths_um = [
        micrometres(one.get("EmissionWavelength"), one.get("EmissionWavelengthUnit", "nm"))
        for one in _elements(image, "Channel")
    ]
    pixels = _elements(image, "Pixels")[0]
    sides = [
        micrometres(pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "um"))
        for axis in "YX"
    ]
    told = int(pixels.get("SizeY")), int(pixels.get("SizeX"))
    if told == shape:
        known.set_pixel_size(*sides)
    elif any(sides):  # the picture was resampled or cropped and kept the original's header
        known.notes.append(
            f"its pixel size is not known: the header describes a picture of {told[0]} x {told[1]} px"
        )
    used = [one.get("ID") for one in _elements(image, "ObjectiveSettings")]
    lenses = _elements(tree, "Objective")
    lens = [one for one in lenses if one.get("ID") in used] or (lenses if len(lenses) == 1 else [])
    if lens:
        known.na = positive_number(lens[0].get("LensNA"))
        known.magnification = positive_number(lens[0].get("NominalMagnification"))
    return known


def stage_positions(xml: str | bytes | None) -> list[tuple[float, float] | None]:
    """Stage position (x, y) of each picture in OME-XML, in its order; None if not given."""
    try:
        images = _elements(ET.fromstring(xml), "Image")
    except Exception:
        return []
    places = []
    for image in images:
        at = [(one.get("PositionX"), one.get("PositionY")) for one in _elements(image, "Plane")]
        at += [(one.get("X"), one.get("Y")) for one in _elements(image, "StageLabel")]
        try:
            places.append(next((float(x), float(y)) for x, y in at if None not in (x, y)))
        except (ValueError, StopIteration):
            places.append(None)
    return places


def files_of_set(tiff: tifffile.TiffFile) -> list[str]:
    """File names that the header of an OME-TIFF lists as parts of its set."""
    try:
        tree = ET.fromstring(tiff.ome_metadata)
    except Exception:
        return []
    return list(
        dict.fromkeys(e.get("FileName") for e in _elements(tree, "UUID") if e.get("FileName"))
    )


# ImageJ and LSM ------------------------------------------------------------------------------------


def calibration(tiff: tifffile.TiffFile) -> str | None:
    """ImageJ's calibration of stored numbers, as text; None if it shows them as stored.

    ImageJ stores signed numbers with 32768 added.
    """
    told = (tiff.imagej_metadata or {}) if tiff.is_imagej else {}
    if "cf" not in told or (told.get("c0", 0), told.get("c1", 1)) == (0, 1):
        return None
    if told["cf"] == 0 and not {"c0", "c1"} - {*told}:
        return f"{told['c0']:g} + {told['c1']:g} * number"
    return "a function of it"


def _imagej_metadata(tiff: tifffile.TiffFile) -> Metadata:
    known, page = Metadata(), tiff.pages.first
    sides = []
    for name in ("YResolution", "XResolution"):
        top, bottom = page.tags[name].value
        sides.append(micrometres(bottom / top, tiff.imagej_metadata.get("unit", "")))
    known.set_pixel_size(*sides)
    return known


def _page_metadata(page: tifffile.TiffPage) -> Metadata:
    """Pixel size from Micro-Manager's tag, else from the resolution if it is plausible at the sample."""
    known = Metadata()
    if page.is_micromanager:
        size = positive_number(page.tags[_MICRO_MANAGER].value.get("PixelSizeUm"))
        known.set_pixel_size(size, size)
    elif page.tags["ResolutionUnit"].value == _PER_CENTIMETRE:
        pairs = [page.tags[name].value for name in ("YResolution", "XResolution")]
        sides = [1e4 * below / above for above, below in pairs]
        if max(sides) <= _LARGEST_AT_SAMPLE_UM:
            known.set_pixel_size(*(float(f"{side:.6g}") for side in sides))
    return known


def _lsm_metadata(meta: dict) -> Metadata:
    known = Metadata([str(name) for name in meta.get("ChannelColors", {}).get("ColorNames", [])])
    known.set_pixel_size(*(micrometres(meta.get(f"VoxelSize{a}"), "m") for a in "YX"))
    scan = meta.get("ScanInformation", {})
    lens = str(scan.get("Objective", ""))
    if found := re.search(r"(\d+(?:\.\d+)?)x\s*/\s*(\d+(?:[.,]\d+)?)", lens):
        known.magnification = positive_number(found[1])
        known.na = positive_number(found[2].replace(",", "."))
    return known
