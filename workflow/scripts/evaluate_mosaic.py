"""The report's metrics of one mosaic and all its restorations, and of its map where the truth is known."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from _job import job
from isoplan.evaluation import compare, evaluate_picture, map_errors
from isoplan.mosaic import ngff
from isoplan.mosaic.reader import open_mosaic
from isoplan.restoration import levels


def main(snakemake):
    params, output = snakemake.params, snakemake.output
    facts = json.loads(Path(snakemake.input.facts).read_text())
    name, shape = facts["mosaic"], (facts["height_px"], facts["width_px"])
    offset, scale = np.float32(facts["offset"]), levels(facts)["scale"]
    truth = params.truth and picture(params.truth)
    results, gains = {}, {}
    with open_mosaic(facts["path"], channel=facts.get("channel"), slice=facts["slice"]) as mosaic:

        def observed(*window):
            return mosaic.read(*window) - offset

        for method in params.methods:
            results[method], gains[method] = evaluate_picture(
                observed if method == "none" else picture(params.stores[method]),
                shape,
                scale=scale,
                cell_px=params.cell_px,
                read_truth=truth,
                read_observed=observed,
            )
    rows = [
        {"method": method, "metric": metric, "value": value}
        for method, values in results.items()
        for metric, value in values.items()
    ] + compare(results, gains)
    if truth:  # what CV and Sharpness should come to
        values, _ = evaluate_picture(truth, shape, scale=scale, cell_px=params.cell_px)
        rows += [{"method": "truth", "metric": m, "value": v} for m, v in values.items()]
    named = {"study": params.study, "mosaic": name}
    settings = {"network": params.network, **params.settings, "counts_for_255": scale}
    pd.DataFrame([named | row | settings for row in rows]).to_csv(output.metrics, index=False)
    cell_table(name, gains).to_csv(output.cells, index=False)
    errors = (
        map_errors(params.maps["estimated"], params.maps["true"]) if params.maps["true"] else []
    )
    columns = ["mosaic", "network", "parameter", "metric", "value", "n"]
    named = {"mosaic": name, "network": params.network}
    pd.DataFrame([named | row for row in errors], columns=columns).to_csv(
        output.map_errors, index=False
    )


def picture(store):
    level = ngff.open_array(store)
    return lambda y0, y1, x0, x1: level[y0:y1, x0:x1].astype(np.float32)


def cell_table(name, gains):
    """Gain per cell in dB over the observed picture, one row each."""
    tables = [pd.DataFrame(columns=["mosaic", "method", "cell_y", "cell_x", "snr_gain_db"])]
    for method, gain in gains.items():
        if gain is not None and method != "none":
            y, x = np.indices(gain.shape).reshape(2, -1)
            columns = {"mosaic": name, "method": method, "cell_y": y, "cell_x": x}
            tables.append(pd.DataFrame(columns | {"snr_gain_db": gain.ravel()}))
    return pd.concat(tables) if len(tables) > 1 else tables[0]


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
