"""What the report says of mosaics that were restored with learnt weights: where how much was smoothed."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import zarr
from markupsafe import Markup

from isoplan.report import plots, style
from isoplan.report.map_stores import MAIN, MAP_LIMIT_CELLS
from isoplan.report.results import Study
from isoplan.report.section import Part, Section, StudyFigure
from isoplan.restoration.weight_store import CELL_PX, GROUP

INTRO = Markup(
    "A network told the weight of total variation for every pixel: the larger it is, the more is smoothed there. "
    "The map should be dark in texture and along edges, and bright where nothing is. It is in the group "
    "<code>tv_weight</code> of the restored mosaic's store."
)


def weights_figure(study: Study, mosaic: str) -> StudyFigure | None:
    """The map of a mosaic's weights; None if none were learnt."""
    for method in MAIN:
        path = Path(study.folder) / "restored" / mosaic / f"{method}.ome.zarr" / GROUP
        if (path / "zarr.json").exists():
            break
    else:
        return None
    cells = zarr.open_array(path / "0", mode="r")
    step = max(1, -(-max(cells.shape[1:]) // MAP_LIMIT_CELLS))
    values = np.log10(np.asarray(cells[0, ::step, ::step]))
    known = values[np.isfinite(values)]
    if not known.size:
        return None
    rows, columns = np.indices(values.shape)
    table = pd.DataFrame(
        {
            "cell_y": rows.ravel() * step,
            "cell_x": columns.ravel() * step,
            "lg_tv_weight": values.ravel(),
        }
    )
    pixel = study.pixel_size_um(mosaic)
    low, high = (float(v) for v in np.quantile(known, (0.01, 0.99)))
    draw = partial(
        *(plots.heat_map, values),
        label="lg TV weight",
        colours=style.DEFAULT_MAP,
        limits=(low, max(high, low + 1e-3)),
        width_um=pixel and CELL_PX * step * values.shape[1] * pixel,
    )
    middle = style.significant(10 ** float(np.median(known)), 2)
    alt = (
        f"TV weight in squares of {CELL_PX} px of {mosaic} restored by "
        f"{style.method_label(method)}, median {middle}; 98 % lie between {style.significant(10**low, 2)} and "
        f"{style.significant(10**high, 2)}."
    )
    file = f"tv_weight_{mosaic}"
    return StudyFigure(file, file, table, draw, "", "TV weight", alt, 330)


def parts(study: Study) -> list[Part]:
    found = [
        Part(mosaic.name, figures=[figure], notes=[figure.alt], mosaic=mosaic.name)
        for mosaic in study.mosaics
        if (figure := weights_figure(study, mosaic.name))
    ]
    return [Part(words=[INTRO]), *found] if found else []


SECTIONS = [Section("tv_weights", "TV weights", "How much was smoothed where", parts)]
