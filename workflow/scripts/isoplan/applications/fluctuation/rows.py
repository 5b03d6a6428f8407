"""What the house's lists hold of this application."""

from isoplan.base.rows import Stage

COMMANDS = ("isoplan.applications.fluctuation.command:add_superresolve",)
FUNCTIONS = ("isoplan.applications.fluctuation.function:superresolve",)


def _wanted(study: dict) -> bool:
    return bool(study["fluctuation_tests"])


def _own(study: dict) -> bool:
    return bool(study["sequences"])


def _block_bytes(sequence: dict) -> int:
    """Of two fine pictures, two flat ones, and two fine ones of each half."""
    return 4 * (2 + (6 if sequence["halves"] else 2) * sequence["factor"] ** 2)


def _picture_bytes(sequence: dict) -> float:
    """Of the picture with its pyramid, and beside it one more fine picture, three flat ones, and one of each half."""
    fine = 4 / 3 + (3 if sequence["halves"] else 1)
    return 4 * (3 + fine * sequence["factor"] ** 2)


_LISTS = (("fluctuation", "fluctuation_tests"),)
_SEQUENCES = (("sequence", "sequences"),)
_FILES = "isoplan.cluster.unit_files:stored_units"
STAGES = (
    Stage(
        "score_fluctuation",
        ("fluctuation", "job"),
        made=("stages/fluctuation_tests/{fluctuation}/score.{job}.done",),
        memory="restore",
        minutes="restore",
        wanted=_wanted,
        data=("fluctuation_tests/{fluctuation}",),
        units=_FILES,
        ledger="ledgers/fluctuation_tests/{fluctuation}",
        then=("tabulate_fluctuation",),
        lists=_LISTS,
    ),
    Stage(
        "tabulate_fluctuation",
        made=("fluctuation.csv", "fluctuation_summary.csv"),
        memory="other",
        minutes="other",
        wanted=_wanted,
    ),
    Stage(
        "picture_fluctuation",
        ("fluctuation",),
        made=("fluctuation_tests/{fluctuation}.npz",),
        memory="restore",
        minutes="other",
        wanted=_wanted,
        first=("picture_fluctuation",),
        lists=_LISTS,
    ),
    Stage(
        "measure_sequence",
        ("sequence",),
        made=("sequences/{sequence}/settings.json",),
        memory="other",
        minutes="other",
        wanted=_own,
        first=("measure_sequence",),
        lists=_SEQUENCES,
    ),
    Stage(
        "look_sequence",
        ("sequence", "job"),
        made=("stages/sequences/{sequence}/look.{job}.done",),
        memory="restore",
        minutes="restore",
        wanted=_own,
        data=("sequences/{sequence}/evidence",),
        units=_FILES,
        ledger="ledgers/sequences/{sequence}/evidence",
        # Its evidence comes out as it was, and what was made of it stays.
        first=("look_sequence",),
        lists=_SEQUENCES,
        own_bytes_a_px=lambda sequence: 4,
    ),
    Stage(
        "superresolve_sequence",
        ("sequence", "job"),
        made=("stages/sequences/{sequence}/superresolve.{job}.done",),
        memory="restore",
        minutes="restore",
        wanted=_own,
        data=("sequences/{sequence}/blocks",),
        units=_FILES,
        ledger="ledgers/sequences/{sequence}/blocks",
        then=("finish_sequence", "tabulate_sequences"),
        lists=_SEQUENCES,
        own_bytes_a_px=_block_bytes,
    ),
    Stage(
        "finish_sequence",
        ("sequence",),
        made=(
            "stages/sequences/{sequence}/finished.done",
            "sequences/{sequence}/facts.json",
        ),
        memory="restore",
        minutes="other",
        wanted=_own,
        data=("sequences/{sequence}.ome.zarr",),
        then=("tabulate_sequences",),
        lists=_SEQUENCES,
        own_bytes_a_px=_picture_bytes,
    ),
    Stage(
        "tabulate_sequences",
        made=("sequences.csv",),
        memory="other",
        minutes="other",
        wanted=_own,
    ),
)
