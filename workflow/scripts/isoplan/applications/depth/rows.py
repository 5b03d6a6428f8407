"""What the house's lists hold of this application."""

from isoplan.base.rows import Stage

FUNCTIONS = ("isoplan.applications.depth.function:depth",)
COMMANDS = (
    "isoplan.applications.depth.command:add_depth",
    "isoplan.applications.depth.command:add_depth_calibrate",
)


def _tested(study: dict) -> bool:
    return bool(study["depth_tests"])


def _own(study: dict) -> bool:
    return bool(study["height_maps"])


def _bytes_a_px(height_map: dict) -> float:
    # Imports what takes long.
    from isoplan.applications.depth.maps import bytes_a_px

    return bytes_a_px(height_map)


_LISTS = (("depth_test", "depth_tests"),)
_MAPS = (("height_map", "height_maps"),)
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
    Stage(
        "measure_heights",
        ("height_map",),
        made=("height_maps/{height_map}/known.json",),
        memory="map",
        minutes="other",
        wanted=_own,
        first=("measure_heights",),
        lists=_MAPS,
    ),
    Stage(
        "map_heights",
        ("height_map", "job"),
        made=("stages/height_maps/{height_map}/map.{job}.done",),
        memory="map",
        minutes="map",
        wanted=_own,
        data=("height_maps/{height_map}/blocks",),
        units="isoplan.cluster.unit_files:stored_units",
        ledger="ledgers/height_maps/{height_map}",
        then=("finish_heights", "tabulate_heights"),
        lists=_MAPS,
        own_bytes_a_px=_bytes_a_px,
    ),
    Stage(
        "finish_heights",
        ("height_map",),
        made=(
            "stages/height_maps/{height_map}/finished.done",
            *(f"height_maps/{{height_map}}/{name}" for name in ("facts.json", "heights.csv")),
            *(f"height_maps/{{height_map}}/{name}" for name in ("heights.tif", "heights.png")),
            "height_maps/{height_map}/surface.png",
        ),
        memory="other",
        minutes="other",
        wanted=_own,
        data=("height_maps/{height_map}.ome.zarr",),
        then=("tabulate_heights",),
        lists=_MAPS,
    ),
    Stage(
        "tabulate_heights",
        made=("height_maps.csv",),
        memory="other",
        minutes="other",
        wanted=_own,
    ),
)
