"""What the house's lists hold of this application."""

from isoplan.base.rows import Stage, TaskRow

COMMANDS = ("isoplan.applications.enhancement.command:add_enhance",)


def _wanted(study: dict) -> bool:
    return bool(study["enhancements"])


def _own(study: dict) -> bool:
    return bool(study["enhanced_pictures"])


TASKS = (
    TaskRow(
        "enhancement",
        samples=None,
        task="isoplan.applications.enhancement.task:Enhancement",
        judge="isoplan.applications.enhancement.judging:EnhancementJudge",
        words="isoplan.applications.enhancement.card",
        listed="enhancers",
        study="isoplan.applications.enhancement.judging",
    ),
)
_LISTS = (("enhancement", "enhancements"),)
_PICTURES = (("picture", "enhanced_pictures"),)
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
    Stage(
        "measure_picture",
        ("picture",),
        made=("enhanced_pictures/{picture}/known.json",),
        memory="other",
        minutes="other",
        wanted=_own,
        first=("measure_picture",),
        lists=_PICTURES,
    ),
    Stage(
        "enhance_picture",
        ("picture", "job"),
        made=("stages/enhanced_pictures/{picture}/enhance.{job}.done",),
        memory="restore",
        minutes="restore",
        wanted=_own,
        data=("enhanced_pictures/{picture}.ome.zarr",),
        units="isoplan.applications.enhancement.stores:stored_units",
        ledger="ledgers/enhanced_pictures/{picture}",
        laid_out_by="measure_picture",
        then=("finish_picture", "tabulate_pictures"),
        lists=_PICTURES,
        # The picture, its doubts, and of several networks where they differ; with pyramids.
        own_bytes_a_px=lambda picture: (2 + (len(picture["networks"]) > 1)) * 4 * 4 / 3,
    ),
    Stage(
        "finish_picture",
        ("picture",),
        made=(
            "stages/enhanced_pictures/{picture}/finished.done",
            "enhanced_pictures/{picture}/facts.json",
            "enhanced_pictures/{picture}/preview.png",
        ),
        memory="other",
        minutes="other",
        wanted=_own,
        data=("enhanced_pictures/{picture}.ome.zarr",),
        then=("tabulate_pictures",),
        lists=_PICTURES,
    ),
    Stage(
        "tabulate_pictures",
        made=("enhanced_pictures.csv",),
        memory="other",
        minutes="other",
        wanted=_own,
    ),
)
