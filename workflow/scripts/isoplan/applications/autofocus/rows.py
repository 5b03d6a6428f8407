"""What the house's lists hold of this application."""

from isoplan.base.rows import Stage

FUNCTIONS = ("isoplan.applications.autofocus.function:autofocus",)
COMMANDS = (
    "isoplan.applications.autofocus.command:add_autofocus",
    "isoplan.applications.autofocus.command:add_autofocus_calibrate",
)


def _tested(study: dict) -> bool:
    return bool(study["autofocus_tests"])


_LISTS = (("autofocus_test", "autofocus_tests"),)
STAGES = (
    Stage(
        "calibrate_autofocus",
        ("autofocus_test",),
        made=("autofocus_tests/{autofocus_test}/calibration.json",),
        memory="map",
        minutes="map",
        wanted=_tested,
        first=("calibrate_autofocus",),
        lists=_LISTS,
    ),
    Stage(
        "score_autofocus",
        ("autofocus_test", "job"),
        made=("stages/autofocus_tests/{autofocus_test}/score.{job}.done",),
        memory="map",
        minutes="map",
        wanted=_tested,
        data=("autofocus_tests/{autofocus_test}/scores",),
        units="isoplan.cluster.unit_files:stored_units",
        ledger="ledgers/autofocus_tests/{autofocus_test}",
        then=("tabulate_autofocus",),
        lists=_LISTS,
    ),
    Stage(
        "tabulate_autofocus",
        made=(
            "autofocus.csv",
            "autofocus_summary.csv",
            "autofocus_curves.csv",
            "autofocus_scores.csv",
        ),
        memory="other",
        minutes="other",
        wanted=_tested,
    ),
)
