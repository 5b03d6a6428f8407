"""What the house's lists hold of this application."""

from isoplan.base.rows import Stage

COMMANDS = ("isoplan.applications.fluctuation.command:add_superresolve",)
FUNCTIONS = ("isoplan.applications.fluctuation.function:superresolve",)


def _wanted(study: dict) -> bool:
    return bool(study["fluctuation_tests"])


_LISTS = (("fluctuation", "fluctuation_tests"),)
STAGES = (
    Stage(
        "score_fluctuation",
        ("fluctuation", "job"),
        made=("stages/fluctuation_tests/{fluctuation}/score.{job}.done",),
        memory="restore",
        minutes="restore",
        wanted=_wanted,
        data=("fluctuation_tests/{fluctuation}",),
        units="isoplan.cluster.unit_files:stored_units",
        ledger="ledgers/fluctuation_tests/{fluctuation}",
        then=("tabulate_fluctuation",),
        lists=_LISTS,
    ),
    Stage(
        "tabulate_fluctuation",
        made=("fluctuation.csv",),
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
)
