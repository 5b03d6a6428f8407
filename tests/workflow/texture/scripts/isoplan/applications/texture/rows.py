"""What the house's lists hold of this application."""

from isoplan.base.rows import Stage, TaskRow


def _wanted(study: dict) -> bool:
    return bool(study["textures"])


_OF = "isoplan.applications.texture"
TASKS = (
    TaskRow(
        "texture",
        samples=f"{_OF}.task:store_set",
        task=f"{_OF}.task:Denoising",
        judge=f"{_OF}.task:DenoisingJudge",
        words=f"{_OF}.task",
    ),
)
STAGES = (
    Stage(
        "train_denoiser",
        ("texture",),
        made=("denoisers/{texture}/network.safetensors",),
        memory="train",
        minutes="train",
        device=True,
        wanted=_wanted,
        data=("denoisers/{texture}/network.safetensors",),
        reads="isoplan.networks.store:read",
        first=("train_denoiser",),
        lists=(("texture", "textures"),),
    ),
    Stage(
        "texture_mosaic",
        ("mosaic", "texture", "job"),
        made=("stages/textures/{mosaic}/{texture}/texture.{job}.done",),
        memory="other",
        minutes="other",
        wanted=_wanted,
        data=("textures/{mosaic}/{texture}",),
        units="isoplan.cluster.unit_files:stored_units",
        ledger="ledgers/textures/{mosaic}/{texture}",
        unit_px=f"{_OF}.squares:unit_px",
        then=("tabulate_texture",),
        lists=(("texture", "textures"),),
        bytes_a_px=8 / 128**2,
    ),
    Stage(
        "tabulate_texture",
        made=("texture.csv",),
        memory="other",
        minutes="other",
        wanted=_wanted,
    ),
)
