"""What the house's lists hold of this application."""

from isoplan.base.rows import Stage

FUNCTIONS = ("isoplan.applications.flow.function:flow",)
COMMANDS = ("isoplan.applications.flow.command:add_flow",)


def _tested(study: dict) -> bool:
    return bool(study["flow_tests"])


def _own(study: dict) -> bool:
    return bool(study["flow_maps"])


def _bytes_a_px(flow_map: dict) -> float:
    # Imports what takes long.
    from isoplan.applications.flow.maps import bytes_a_px

    return bytes_a_px(flow_map)


_MAPS = (("flow_map", "flow_maps"),)
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
    Stage(
        "measure_flow",
        ("flow_map",),
        made=("flow_maps/{flow_map}/known.json",),
        memory="map",
        minutes="other",
        wanted=_own,
        first=("measure_flow",),
        lists=_MAPS,
    ),
    Stage(
        "map_flow",
        ("flow_map", "job"),
        made=("stages/flow_maps/{flow_map}/map.{job}.done",),
        memory="map",
        minutes="map",
        wanted=_own,
        data=("flow_maps/{flow_map}/blocks",),
        units="isoplan.cluster.unit_files:stored_units",
        ledger="ledgers/flow_maps/{flow_map}",
        then=("finish_flow", "tabulate_flow_maps"),
        lists=_MAPS,
        own_bytes_a_px=_bytes_a_px,
    ),
    Stage(
        "finish_flow",
        ("flow_map",),
        made=(
            "stages/flow_maps/{flow_map}/finished.done",
            *(f"flow_maps/{{flow_map}}/{name}" for name in ("facts.json", "flow.csv", "flow.tif")),
            *(
                f"flow_maps/{{flow_map}}/{name}"
                for name in ("flow.png", "profile.png", "tracks.csv")
            ),
        ),
        memory="other",
        minutes="other",
        wanted=_own,
        data=("flow_maps/{flow_map}.ome.zarr",),
        then=("tabulate_flow_maps",),
        lists=_MAPS,
    ),
    Stage(
        "tabulate_flow_maps",
        made=("flow_maps.csv",),
        memory="other",
        minutes="other",
        wanted=_own,
    ),
)
