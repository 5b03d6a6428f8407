"""What the house's lists hold of this application."""

from isoplan.base.rows import Stage, TaskRow


def _tested(study: dict) -> bool:
    return bool(study["weight_tests"])


TASKS = (
    TaskRow(
        "weight-map",
        samples=None,
        task="isoplan.applications.weight_maps.task:WeightMaps",
        judge="isoplan.applications.weight_maps.judging:WeightJudge",
        words="isoplan.applications.weight_maps.card",
        listed="weight_networks",
        study="isoplan.applications.weight_maps.judging",
    ),
)
_LISTS = (("weight_test", "weight_tests"),)
STAGES = (
    Stage(
        "train_weights",
        ("weights",),
        made=("weight_networks/{weights}/network.safetensors",),
        memory="train",
        minutes="train",
        device=True,
        wanted=lambda study: any(not network["weights"] for network in study["weight_networks"]),
        data=("weight_networks/{weights}/network.safetensors",),
        reads="isoplan.networks.store:read",
        first=("train_weights",),
        lists=(("weights", "weight_networks"),),
    ),
    Stage(
        "score_weights",
        ("weight_test", "job"),
        made=("stages/weight_tests/{weight_test}/score.{job}.done",),
        memory="restore",
        minutes="restore",
        wanted=_tested,
        data=("weight_tests/{weight_test}/scores",),
        units="isoplan.cluster.unit_files:stored_units",
        ledger="ledgers/weight_tests/{weight_test}",
        then=("tabulate_weights",),
        lists=_LISTS,
    ),
    Stage(
        "tabulate_weights",
        made=("weight_maps.csv", "weight_maps_summary.csv", "weight_maps_follow.csv"),
        memory="other",
        minutes="other",
        wanted=_tested,
    ),
    Stage(
        "picture_weights",
        ("weight_test",),
        made=("weight_tests/{weight_test}/pictures.npz",),
        memory="restore",
        minutes="other",
        wanted=_tested,
        first=("picture_weights",),
        lists=_LISTS,
    ),
)
