"""What the house's lists hold of this application."""

from isoplan.base.rows import Stage

FUNCTIONS = ("isoplan.applications.flow.function:flow",)
COMMANDS = ("isoplan.applications.flow.command:add_flow",)


def _tested(study: dict) -> bool:
    return bool(study["flow_tests"])


STAGES = (
    Stage(
        "score_flow",
        ("flow_test", "job"),
        made=("stages/flow_tests/{flow_test}/score.{job}.done",),
        memory="map",
        minutes="map",
        wanted=_tested,
        data=("flow_tests/{flow_test}/scores",),
        units="isoplan.cluster.unit_files:stored_units",
        ledger="ledgers/flow_tests/{flow_test}",
        first=("score_flow",),
        then=("tabulate_flow",),
        lists=(("flow_test", "flow_tests"),),
    ),
    Stage(
        "tabulate_flow",
        made=("flow.csv", "flow_summary.csv"),
        memory="other",
        minutes="other",
        wanted=_tested,
    ),
)
