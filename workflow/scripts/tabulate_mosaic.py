"""The report's metrics of one mosaic and all its restorations, and of its map where the truth is known."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from _job import job
from isoplan.comparison import STANDARDS
from isoplan.config.entries import left_open
from isoplan.evaluation import by_picture, compare, metrics_and_gains
from isoplan.metrics import frc
from isoplan.mosaic import ngff
from isoplan.mosaic.facts import Facts
from isoplan.restoration.trust import summarise


def main(snakemake):
    params, output = snakemake.params, snakemake.output
    facts = Facts.read(snakemake.input.facts)
    name = facts["mosaic"]
    pictures = ngff.read_attributes(params.store)["pictures"]
    results, gains = metrics_and_gains(by_picture(ngff.open_array(params.store)[:], pictures))
    standards = {name: results.pop(name) for name in STANDARDS if name in results}
    results, gains = ({m: found[m] for m in params.methods} for found in (results, gains))
    rows = [
        {"method": method, "metric": metric, "value": value}
        for method, values in results.items()
        for metric, value in values.items()
    ] + compare(results, gains)
    rows += [
        {"method": standard, "metric": metric, "value": value}
        for standard, values in standards.items()
        for metric, value in values.items()
    ]
    if snakemake.input.rings:
        rings = pd.read_csv(snakemake.input.rings).groupby("method", sort=False)["correlation"]
        found = frc.summarise({method: curve.to_numpy() for method, curve in rings})
        rows += [
            {"method": method, "metric": metric, "value": value}
            for method, values in found.items()
            for metric, value in values.items()
        ]
    if snakemake.input.again:
        found = pd.read_csv(snakemake.input.again).to_dict("records")
        rows += [row for row in found if row["method"] in params.methods]
    for method, store in params.trust.items():
        found = summarise(ngff.open_array(store)[:])
        rows += [{"method": method, "metric": m, "value": v} for m, v in found.items()]
    for file in snakemake.input.seams:
        rows += pd.read_csv(file).to_dict("records")
    named = {"study": params.study, "mosaic": name}
    scale = facts.brightness["scale"]
    settings = {"network": params.network, **params.settings, "counts_for_255": scale}
    chosen = chosen_settings(snakemake.input.choices, left_open(params.settings))
    table = [named | row | settings | chosen.get(row["method"], {}) for row in rows]
    pd.DataFrame(table).to_csv(output.metrics, index=False)
    cell_table(name, gains).to_csv(output.cells, index=False)
    errors = []
    if params.maps["true"]:
        from isoplan.psf_map.fill import map_errors

        errors = map_errors(params.maps["estimated"], params.maps["true"])
    columns = ["mosaic", "network", "parameter", "metric", "value", "n"]
    named = {"mosaic": name, "network": params.network}
    pd.DataFrame([named | row for row in errors], columns=columns).to_csv(
        output.map_errors, index=False
    )


def chosen_settings(files, keys):
    """Method -> what was chosen for it, of choices in files of the methods' names."""
    choices = {Path(file).stem: json.loads(Path(file).read_text()) for file in files}
    return {method: {key: found[key] for key in keys} for method, found in choices.items()}


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
