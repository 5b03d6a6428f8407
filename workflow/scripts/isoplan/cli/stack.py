"""Z stacks whose slices lie at known positions."""

import argparse
import math
from collections.abc import Iterator

from isoplan.base.errors import UserError
from isoplan.mosaic.reader import open_mosaic
from isoplan.mosaic.slices import check_order
from isoplan.mosaic.window import Picture


def positions(args: argparse.Namespace, count: int) -> list[float]:
    """Positions in um of so many slices. Raises UserError if the file does not give them, or if they do not rise or fall all along."""
    if args.z_um is None:
        if not args.step_um or not math.isfinite(args.step_um):
            raise UserError(f"--step-um {args.step_um:g}: give the distance from slice to slice")
        return [args.step_um * k for k in range(count)]
    try:
        z = [float(line) for line in args.z_um.read_text().split()]
    except ValueError as error:
        raise UserError(f"{args.z_um}: {error}; give one number a line") from None
    try:
        check_order(z, count)
    except UserError as error:
        raise UserError(f"{args.z_um}: {error}") from None
    return z


def slices(args: argparse.Namespace, count: int) -> Iterator[Picture]:
    """The slices, each open until the next is asked for."""
    for number in range(count):
        with open_mosaic(
            args.picture, channel=args.channel, slice=number, series=args.series
        ) as picture:
            yield picture
