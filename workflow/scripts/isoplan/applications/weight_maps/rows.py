"""What the house's lists hold of this application."""

from isoplan.base.rows import Stage, TaskRow

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
)
