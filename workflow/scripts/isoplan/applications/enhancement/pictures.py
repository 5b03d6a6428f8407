"""A picture of a user's: what is known of it before it is enhanced, and what is said of it afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Self

from isoplan.applications.enhancement.defects import Signs, cautions
from isoplan.applications.enhancement.filters import Camera
from isoplan.applications.enhancement.second import Match, Second, matched
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
    second : Match or None
        How a second exposure lies to it.
    """

    shape: tuple[int, int]
    level: Level
    camera: Camera | None
    pixel_size_um: float | None
    notes: list[str]
    second: Match | None = None

    @classmethod
    def of(cls, picture: Picture, given: dict, second: Picture | None = None) -> Self:
        """Reads the picture twice. given: offset, gain, read_noise_e and pixel_size_um, None where they are not known. second:
        another exposure.

        Raises UserError where there is nothing to enhance, or the second is of something else.
        """
        camera, notes = complete_camera(given, picture.middle())
        known = None
        if camera["gain"] is None:
            notes.append("where the counts speak against the result is not told; give the gain")
        else:
            known = Camera(camera["gain"], camera["offset"], camera["read_noise_e"] or 0.0)
        level = Level.of(picture)
        notes += [f"CAUTION: {words}" for words in cautions(Signs.of(picture))]
        match = None
        if second is not None:
            if known is None:
                raise UserError(f"{second.path}: a second exposure wants the gain; give it")
            means = [one.mean - known.offset for one in (level, Level.of(second))]
            match, words = matched(picture, second, (means[0], means[1]))
            notes.append(words)
        return cls(picture.shape, level, known, given["pixel_size_um"], notes, match)

    def record(self) -> dict:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: dict) -> Self:
        camera = record["camera"] and Camera(**record["camera"])
        level, shape, match = Level(**record["level"]), tuple(record["shape"]), record["second"]
        second = match and Match(tuple(match["shift"]), match["brightness"])
        return cls(shape, level, camera, record["pixel_size_um"], record["notes"], second)


@contextmanager
def opened(entry: dict) -> Iterator[Picture]:
    """The picture of an entry of `enhanced_pictures`; the ground of a fused mosaic (zeros where no tile was) reads as NaN."""
    with without_ground(open_row(entry)) as picture:
        yield picture


@contextmanager
def opened_second(entry: dict) -> Iterator[Picture | None]:
    """Its second exposure, of the same channel, slice and series; None where it has none."""
    if not entry["second"]:
        yield None
        return
    with opened(entry | {"path": entry["second"]}) as picture:
        yield picture


def seen_again(second: Picture | None, known: Known) -> Second | None:
    """The second exposure of a picture, as it was matched."""
    return Second(second, known.second) if second is not None and known.second else None


def known_of(entry: dict) -> Known:
    """What is known of an entry's picture. Raises UserError, with its name, where it cannot be used."""
    try:
        with opened(entry) as picture, opened_second(entry) as second:
            told = entry | {"na": None, "wavelength_um": None}
            optics, notes = complete_optics(told, picture.optics)
            given = entry | {"pixel_size_um": optics["pixel_size_um"]}
            found = Known.of(picture, given, second)
            return Known(**vars(found) | {"notes": [*picture.notes, *notes, *found.notes]})
    except UserError as error:
        raise UserError(f"enhanced picture {entry['name']}: {error}") from error.__cause__


def words_of(facts: dict[str, float], known: Known) -> list[str]:
    """What is said of a result: how much of it is in doubt, and how far networks are apart.

    facts: of `stores.EnhancedStore.finish`.
    """
    words = []
    if (doubted := facts.get("doubted")) is not None:
        whose = "the second exposure's" if known.second else "the input's"
        words.append(
            f"{whose} counts speak against {100 * doubted:.2g} % of the result, by {DOUBTED:g} standard deviations of "
            "their noise or more"
        )
        if doubted > MUCH:
            more = ", or its exposures differ" if known.second else ""
            words.append(
                "CAUTION: that is much: this network, or the gain and offset, do not suit this picture"
                + more
            )
    if (apart := facts.get("apart")) is not None:
        words.append(f"the networks are {apart:.2g} of the input's noise apart (root mean square)")
    return words


def taught_by(card: dict) -> str:
    """What a network was made for.

    Examples
    --------
    >>> taught_by({"fields": 63, "enhancement": {"name": "ours"}}).partition(";")[0]
    'learnt from 63 fields of the pairs ours'
    """
    pairs = (card.get("enhancement") or {}).get("name", "?")
    return (
        f"learnt from {card.get('fields', '?')} fields of the pairs {pairs}; other detectors, objects and magnifications it "
        "may take for what it knows"
    )
