"""The microscope that a command's options and its picture's file tell."""

import argparse

from isoplan.base.errors import UserError
from isoplan.optics.defocus import Defocus

NEEDED = ("na", "wavelength_um", "pixel_size_um")


def optics_of(args: argparse.Namespace) -> Defocus:
    """Raises UserError if neither the options nor the file tell."""
    missing = [f"--{name.replace('_', '-')}" for name in NEEDED if getattr(args, name) is None]
    if missing:
        raise UserError(
            f"{args.picture}: the file does not tell its optics; give {' and '.join(missing)}"
        )
    return Defocus(args.na, args.wavelength_um, args.pixel_size_um, args.index)
