"""Z stacks whose slices lie at known positions."""

import argparse
from collections.abc import Iterator

from isoplan.base.errors import UserError
from isoplan.mosaic.reader import open_mosaic
from isoplan.mosaic.window import Picture


def positions(args: argparse.Namespace, count: int) -> list[float]:
    """Positions in um of so many slices. Raises UserError if the file does not give them."""
    if args.z_um is None:
        return [args.step_um * k for k in range(count)]
    try:
        z = [float(line) for line in args.z_um.read_text().split()]
    except ValueError as error:
        raise UserError(f"{args.z_um}: {error}; give one number a line") from None
    if len(z) != count:
        raise UserError(f"{args.z_um}: has {len(z)} positions, and {args.picture} {count} slices")
    return z


def slices(args: argparse.Namespace, count: int) -> Iterator[Picture]:
    """The slices, each open until the next is asked for."""
    for number in range(count):
        with open_mosaic(
            args.picture, channel=args.channel, slice=number, series=args.series
        ) as picture:
            yield picture
