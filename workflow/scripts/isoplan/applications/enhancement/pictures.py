"""A picture of a user's: what is known of it before it is enhanced, and what is said of it afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Self

from isoplan.applications.enhancement.defects import Signs, cautions
from isoplan.applications.enhancement.filters import Camera
from isoplan.applications.enhancement.whole import DOUBTED, MUCH, Level
from isoplan.base.errors import UserError
from isoplan.mosaic.ground import without_ground
from isoplan.mosaic.headers import complete_optics
from isoplan.mosaic.reader import open_row
from isoplan.mosaic.window import Picture
from isoplan.optics.camera_facts import complete_camera


@dataclass(frozen=True)
class Known:
    """What is known of a picture.

    Attributes
    ----------
    shape : tuple of int
        (h, w) in px.
    level : Level
        Its brightness and noise.
    camera : Camera or None
        As given or estimated; None where it cannot be.
    pixel_size_um : float or None
        At the sample.
    notes : list of str
        What was found out, with a CAUTION for each sign of a defect of the instrument.
    """

    shape: tuple[int, int]
    level: Level
    camera: Camera | None
    pixel_size_um: float | None
    notes: list[str]

    @classmethod
    def of(cls, picture: Picture, given: dict) -> Self:
        """Reads the picture twice. given: offset, gain, read_noise_e and pixel_size_um, None where they are not known.

        Raises UserError where there is nothing to enhance.
        """
        camera, notes = complete_camera(given, picture.middle())
        known = None
        if camera["gain"] is None:
            notes.append("where the counts speak against the result is not told; give the gain")
        else:
            known = Camera(camera["gain"], camera["offset"], camera["read_noise_e"] or 0.0)
        level = Level.of(picture)
        notes += [f"CAUTION: {words}" for words in cautions(Signs.of(picture))]
        size = given["pixel_size_um"]
        return cls(picture.shape, level, known, size, notes)

    def record(self) -> dict:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: dict) -> Self:
        camera = record["camera"] and Camera(**record["camera"])
        level, shape = Level(**record["level"]), tuple(record["shape"])
        return cls(shape, level, camera, record["pixel_size_um"], record["notes"])


@contextmanager
def opened(entry: dict) -> Iterator[Picture]:
    """The picture of an entry of `enhanced_pictures`; the ground of a fused mosaic (zeros where no tile was) reads as NaN."""
    with without_ground(open_row(entry)) as picture:
        yield picture


def known_of(entry: dict) -> Known:
    """What is known of an entry's picture. Raises UserError, with its name, where it cannot be used."""
    try:
        with opened(entry) as picture:
            told = entry | {"na": None, "wavelength_um": None}
            optics, notes = complete_optics(told, picture.optics)
            found = Known.of(picture, entry | {"pixel_size_um": optics["pixel_size_um"]})
            return Known(**vars(found) | {"notes": [*picture.notes, *notes, *found.notes]})
    except UserError as error:
        raise UserError(f"enhanced picture {entry['name']}: {error}") from error.__cause__


def words_of(doubted: float | None) -> list[str]:
    """What is said of the share of a result that its counts speak against.

    Examples
    --------
    >>> words_of(0.1)[1]
    'CAUTION: that is much: this network, or the gain and offset, do not suit this picture'
    """
    if doubted is None:
        return []
    words = [
        f"the input's counts speak against {100 * doubted:.2g} % of the result, by {DOUBTED:g} standard deviations of "
        "their noise or more"
    ]
    if doubted > MUCH:
        words.append(
            "CAUTION: that is much: this network, or the gain and offset, do not suit this picture"
        )
    return words


def taught_by(card: dict) -> str:
    """What a network was made for."""
    pairs = (card.get("enhancement") or {}).get("name", "?")
    return (
        f"learnt from {card.get('fields', '?')} fields of the pairs {pairs}; other detectors, objects and magnifications it "
        "may take for what it knows"
    )
