"""The command line for one picture or one network, without Snakemake.

It only handles arguments, files and messages; the library computes. A command's module is imported
when the command is run. So threads are set before torch is loaded, and `train`, `evaluate`, `release`
and `verify` also run on a GPU machine without zarr, tifffile and Snakemake.
"""

import argparse
import os
import sys
from contextlib import suppress

from isoplan import __version__
from isoplan.base.errors import UserError
from isoplan.base.imports import load_named
from isoplan.base.rows import rows
from isoplan.cli import network_commands, picture_commands
from isoplan.config.validation import load


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Returns
    -------
    int
        Exit code: 0 done, 1 wrong input, 3 training stopped for time and can be continued, 130 stopped.
    """
    args = _parser().parse_args(arguments)
    try:
        if "config" in args:
            load(args.config)  # check the config before torch is loaded, which takes seconds
        _set_threads()
        return load_named(args.run)(args) or 0
    except UserError as error:
        print(f"isoplan: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # such as no permission, no space, no such folder
        print(f"isoplan: {error.filename or ''}: {error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nisoplan: stopped; run the same command again to continue", file=sys.stderr)
        return 130


def _set_threads() -> None:
    # Threads that spin while they wait slow down everything else on shared cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    count = int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
    from isoplan.base.device import set_threads

    set_threads(count)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="isoplan",
        description="Finds the local PSF of one picture and restores it, with networks that come "
        "with isoplan, or trains one. Whole studies run through Snakemake, from a clone of the repository.",
    )
    parser.add_argument("--version", action="version", version=f"isoplan {__version__}")
    with suppress(ImportError):  # optional
        import shtab

        shtab.add_argument_to(parser, help="print a completion script for a shell")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    picture_commands.add_map(commands)
    picture_commands.add_restore(commands)
    picture_commands.add_convert(commands)
    picture_commands.add_split(commands)
    network_commands.add_train(commands)
    network_commands.add_evaluate(commands)
    network_commands.add_release(commands)
    network_commands.add_verify(commands)
    network_commands.add_export(commands)
    for add in rows("COMMANDS"):
        load_named(add)(commands)
    return parser
