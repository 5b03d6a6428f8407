"""What the house's lists hold of this application."""

from isoplan.base.rows import Stage


def _tested(study: dict) -> bool:
    return bool(study["identification_tests"])


_LISTS = (("identification_test", "identification_tests"),)
STAGES = (
    Stage(
        "train_kernels",
        ("kernels",),
        made=("kernel_networks/{kernels}/network.safetensors",),
        memory="train",
        minutes="train",
        device=True,
        wanted=lambda study: any(not network["weights"] for network in study["kernel_networks"]),
        data=("kernel_networks/{kernels}/network.safetensors",),
        reads="isoplan.networks.store:read",
        first=("train_kernels",),
        lists=(("kernels", "kernel_networks"),),
    ),
    Stage(
        "score_identification",
        ("identification_test", "job"),
        made=("stages/identification_tests/{identification_test}/score.{job}.done",),
        memory="map",
        minutes="map",
        wanted=_tested,
        data=("identification_tests/{identification_test}/scores",),
        units="isoplan.cluster.unit_files:stored_units",
        ledger="ledgers/identification_tests/{identification_test}",
        then=("tabulate_identification",),
        lists=_LISTS,
    ),
    Stage(
        "tabulate_identification",
        made=("identification.csv", "identification_summary.csv"),
        memory="other",
        minutes="other",
        wanted=_tested,
    ),
    Stage(
        "picture_identification",
        ("identification_test",),
        made=("identification_tests/{identification_test}/pictures.npz",),
        memory="map",
        minutes="other",
        wanted=_tested,
        first=("picture_identification",),
        lists=_LISTS,
    ),
)
