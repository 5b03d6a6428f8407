"""What the house's lists hold of this application."""

from isoplan.base.rows import Stage

COMMANDS = (
    "isoplan.applications.depth.command:add_depth",
    "isoplan.applications.depth.command:add_depth_calibrate",
)


def _tested(study: dict) -> bool:
    return bool(study["depth_tests"])


_LISTS = (("depth_test", "depth_tests"),)
STAGES = (
    Stage(
        "calibrate_depth",
        ("depth_test",),
        made=("depth_tests/{depth_test}/calibration.json",),
        memory="map",
        minutes="map",
        wanted=_tested,
        first=("calibrate_depth",),
        lists=_LISTS,
    ),
    Stage(
        "score_depth",
        ("depth_test", "job"),
        made=("stages/depth_tests/{depth_test}/score.{job}.done",),
        memory="map",
        minutes="map",
        wanted=_tested,
        data=("depth_tests/{depth_test}/scores",),
        units="isoplan.cluster.unit_files:stored_units",
        ledger="ledgers/depth_tests/{depth_test}",
        then=("tabulate_depth",),
        lists=_LISTS,
    ),
    Stage(
        "tabulate_depth",
        made=("depth.csv", "depth_summary.csv"),
        memory="other",
        minutes="other",
        wanted=_tested,
    ),
    Stage(
        "picture_depth",
        ("depth_test",),
        made=("depth_tests/{depth_test}/pictures.npz",),
        memory="map",
        minutes="other",
        wanted=_tested,
        first=("picture_depth",),
        lists=_LISTS,
    ),
)
