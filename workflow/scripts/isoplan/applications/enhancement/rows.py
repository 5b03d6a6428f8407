"""What the house's lists hold of this application."""

from isoplan.base.rows import Stage

COMMANDS = ("isoplan.applications.enhancement.command:add_enhance",)


def _wanted(study: dict) -> bool:
    return bool(study["enhancements"])


_LISTS = (("enhancement", "enhancements"),)
STAGES = (
    Stage(
        "choose_enhancement",
        ("enhancement",),
        made=("enhancements/{enhancement}/choice.json",),
        memory="restore",
        minutes="restore",
        wanted=_wanted,
        first=("choose_enhancement",),
        lists=_LISTS,
    ),
    Stage(
        "train_enhancer",
        ("enhancer",),
        made=("enhancers/{enhancer}/network.safetensors",),
        memory="train",
        minutes="train",
        device=True,
        wanted=lambda study: any(not network["weights"] for network in study["enhancers"]),
        data=("enhancers/{enhancer}/network.safetensors",),
        reads="isoplan.networks.store:read",
        first=("train_enhancer",),
        lists=(("enhancer", "enhancers"),),
    ),
    Stage(
        "score_enhancement",
        ("enhancement", "job"),
        made=("stages/enhancements/{enhancement}/score.{job}.done",),
        memory="restore",
        minutes="restore",
        wanted=_wanted,
        data=("enhancements/{enhancement}/scores",),
        units="isoplan.cluster.unit_files:stored_units",
        ledger="ledgers/enhancements/{enhancement}",
        then=("tabulate_enhancement",),
        lists=_LISTS,
    ),
    Stage(
        "tabulate_enhancement",
        made=("enhancement.csv", "enhancement_settings.csv"),
        memory="other",
        minutes="other",
        wanted=_wanted,
    ),
    Stage(
        "picture_enhancement",
        ("enhancement",),
        made=("enhancements/{enhancement}/pictures.npz",),
        memory="restore",
        minutes="other",
        wanted=_wanted,
        first=("picture_enhancement",),
        lists=_LISTS,
    ),
)
