"""What a file's header knows of its picture: names of channels, pixel size, aperture, wavelengths.

All of it is a comfort: no broken header shall cost a picture, so that what cannot be read is not known.
"""

import contextlib
import math
import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field

import tifffile

_UM = {
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
_MICRO_MANAGER, _PER_CENTIMETRE = 51123, 3  # a tag, and a unit of the resolution
# Larger pixels are those of a printer, a scanner, or the camera's chip.
_LARGEST_AT_SAMPLE_UM = 2.0


@dataclass
class Known:
    """names: of the channels. pixel_size_um: at the sample. wavelengths_um: of each channel's emission.
    notes: for the log.

    None, or an empty list, stands for what the header does not tell.
    """

    names: list[str] = field(default_factory=list)
    pixel_size_um: float | None = None
    na: float | None = None
    magnification: float | None = None
    wavelengths_um: list[float | None] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def measure(self, y: float | None, x: float | None) -> None:
        """Takes the sides of a pixel in um for its size, where both are the same to a thousandth."""
        if not y or not x:
            return
        if math.isclose(y, x, rel_tol=1e-3):
            self.pixel_size_um = x
        else:
            self.notes.append(
                f"CAUTION: a pixel is {x:g} um wide and {y:g} um high, as the file says: give pixel_size_um, "
                "by which it counts as square"
            )

    def optics(self, channel: int) -> dict[str, float]:
        """What is known of one channel's picture, by the names of the table's columns."""
        waves = self.wavelengths_um
        wave = waves[channel] if channel < len(waves) else None
        found = {"pixel_size_um": self.pixel_size_um, "na": self.na, "wavelength_um": wave}
        found["magnification"] = self.magnification
        return {key: value for key, value in found.items() if value is not None}


# Between these no note is made; outside a unit was mistaken, more likely than not.
_USUAL = {"pixel_size_um": (0.005, 20.0), "na": (0.02, 1.7), "wavelength_um": (0.2, 2.5)}


def complete_optics(given: dict, known: dict[str, float]) -> tuple[dict, list[str]]:
    """Pixel size, NA and wavelength of a picture: as given, else as its file knows them.

    given: of the table or the command line. known: a picture's `optics`. Returns the values (None where
    nobody knows) and notes: what was taken from the file, where the two disagree, and what is unusual.
    """
    values, notes = {}, []
    for key, (low, high) in _USUAL.items():
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
    """A length in um; None where it is no positive number or its unit is none.

    >>> micrometres("325", "nm")
    0.325
    """
    text = str(unit).strip().replace("\\u00B5", "u").replace("µ", "u").replace("μ", "u")
    scale = _UM.get(text, _UM.get(text.lower()))
    number = positive(value)
    return None if scale is None or number is None else float(f"{number * scale:.12g}")


def finite(value: object) -> float | None:
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def positive(value: object) -> float | None:
    number = finite(value)
    return number if number is not None and number > 0 else None


def of_tiff(tiff: tifffile.TiffFile, number: int, count: int, shape: tuple[int, int]) -> Known:
    """Of picture `number` among `count`, which has this (H, W)."""
    try:
        if tiff.is_ome:
            known = _of_ome(tiff, number, count, shape)
        elif tiff.is_imagej and not tiff.pages.first.is_micromanager:
            known = _of_imagej(tiff)
        elif tiff.is_lsm:
            known = _of_lsm(tiff.lsm_metadata)
        else:
            known = _of_page(tiff.pages.first)
    except Exception:
        return Known()
    size, (low, high) = known.pixel_size_um, _USUAL["pixel_size_um"]
    with contextlib.suppress(Exception):  # the tag may be missing or broken
        if size and not low <= size <= high and (tag := _of_page(tiff.pages.first).pixel_size_um):
            known.notes.append(f"its resolution tag says pixel_size_um {tag:g}")
    return known


def of_ngff(multiscale: dict, axes: str, omero: dict | None) -> Known:
    """Of one entry of `multiscales`, whose axes have these letters."""
    try:
        channels = (omero or {}).get("channels") or []
        known = Known([str(channel.get("label", "")) for channel in channels])
        parts = (multiscale["datasets"][0], multiscale)
        steps = [step for part in parts for step in part.get("coordinateTransformations") or []]
        scales = [step["scale"] for step in steps if step.get("type") == "scale"]
        if not scales:  # else a pixel would be 1 of the axes' unit
            return known
        scale = [math.prod(factors) for factors in zip(*scales, strict=True)]
        sizes = {
            letter: micrometres(length, axis.get("unit"))
            for letter, length, axis in zip(axes, scale, multiscale["axes"], strict=True)
        }
        known.measure(sizes.get("Y"), sizes.get("X"))
        return known
    except Exception:
        return Known()


# OME-XML -------------------------------------------------------------------------------------------


def _tag(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _all(element: ET.Element, name: str) -> list[ET.Element]:
    return [one for one in element.iter() if _tag(one) == name]


def _of_ome(tiff: tifffile.TiffFile, number: int, count: int, shape: tuple[int, int]) -> Known:
    tree = ET.fromstring(tiff.ome_metadata)
    images = _all(tree, "Image")
    # Where the file does not hold all of them, nobody knows which one a picture is: what all share serves.
    chosen = images[number : number + 1] if len(images) == count else images
    found = [_of_image(tree, image, shape) for image in chosen]
    return found[0] if all(one == found[0] for one in found) else Known()


def _of_image(tree: ET.Element, image: ET.Element, shape: tuple[int, int]) -> Known:
    known = Known([one.get("Name") or "" for one in _all(image, "Channel")])
    known.wavelengths_um = [
        micrometres(one.get("EmissionWavelength"), one.get("EmissionWavelengthUnit", "nm"))
        for one in _all(image, "Channel")
    ]
    pixels = _all(image, "Pixels")[0]
    sides = [
        micrometres(pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "um"))
        for axis in "YX"
    ]
    told = int(pixels.get("SizeY")), int(pixels.get("SizeX"))
    if told == shape:
        known.measure(*sides)
    elif any(sides):  # a picture that was scaled or cut, under the header of another
        known.notes.append(
            f"its pixel size is not known: the header is that of a picture of {told[0]} x {told[1]} px"
        )
    used = [one.get("ID") for one in _all(image, "ObjectiveSettings")]
    lenses = _all(tree, "Objective")
    lens = [one for one in lenses if one.get("ID") in used] or (lenses if len(lenses) == 1 else [])
    if lens:
        known.na = positive(lens[0].get("LensNA"))
        known.magnification = positive(lens[0].get("NominalMagnification"))
    return known


def stage_positions(xml: str | bytes | None) -> list[tuple[float, float] | None]:
    """Where the stage stood for each picture that OME's XML tells of, in its order."""
    try:
        images = _all(ET.fromstring(xml), "Image")
    except Exception:
        return []
    places = []
    for image in images:
        at = [(one.get("PositionX"), one.get("PositionY")) for one in _all(image, "Plane")]
        at += [(one.get("X"), one.get("Y")) for one in _all(image, "StageLabel")]
        try:
            places.append(next((float(x), float(y)) for x, y in at if None not in (x, y)))
        except (ValueError, StopIteration):
            places.append(None)
    return places


def files_of_set(tiff: tifffile.TiffFile) -> list[str]:
    """The files that the header of an OME-TIFF names as parts of its set."""
    try:
        tree = ET.fromstring(tiff.ome_metadata)
    except Exception:
        return []
    return list(dict.fromkeys(e.get("FileName") for e in _all(tree, "UUID") if e.get("FileName")))


# ImageJ and LSM ------------------------------------------------------------------------------------


def calibration(tiff: tifffile.TiffFile) -> str | None:
    """What ImageJ shows for a stored number, where that is another; signed numbers it stores 32768 too high."""
    told = (tiff.imagej_metadata or {}) if tiff.is_imagej else {}
    if "cf" not in told or (told.get("c0", 0), told.get("c1", 1)) == (0, 1):
        return None
    if told["cf"] == 0 and not {"c0", "c1"} - {*told}:
        return f"{told['c0']:g} + {told['c1']:g} * number"
    return "a function of it"


def _of_imagej(tiff: tifffile.TiffFile) -> Known:
    known, page = Known(), tiff.pages.first
    sides = []
    for name in ("YResolution", "XResolution"):
        top, bottom = page.tags[name].value
        sides.append(micrometres(bottom / top, tiff.imagej_metadata.get("unit", "")))
    known.measure(*sides)
    return known


def _of_page(page: tifffile.TiffPage) -> Known:
    """Of Micro-Manager's tag, else of the resolution, where that can be a pixel at the sample."""
    known = Known()
    if page.is_micromanager:
        size = positive(page.tags[_MICRO_MANAGER].value.get("PixelSizeUm"))
        known.measure(size, size)
    elif page.tags["ResolutionUnit"].value == _PER_CENTIMETRE:
        pairs = [page.tags[name].value for name in ("YResolution", "XResolution")]
        sides = [1e4 * below / above for above, below in pairs]
        if max(sides) <= _LARGEST_AT_SAMPLE_UM:
            known.measure(*(float(f"{side:.6g}") for side in sides))
    return known


def _of_lsm(meta: dict) -> Known:
    known = Known([str(name) for name in meta.get("ChannelColors", {}).get("ColorNames", [])])
    known.measure(*(micrometres(meta.get(f"VoxelSize{a}"), "m") for a in "YX"))
    scan = meta.get("ScanInformation", {})
    lens = str(scan.get("Objective", ""))
    if found := re.search(r"(\d+(?:\.\d+)?)x\s*/\s*(\d+(?:[.,]\d+)?)", lens):
        known.magnification = positive(found[1])
        known.na = positive(found[2].replace(",", "."))
    return known
