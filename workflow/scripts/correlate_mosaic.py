"""Fourier ring correlation of a mosaic and its restorations with what they are judged by."""

import json
from pathlib import Path

import pandas as pd
from _job import job
from isoplan.evaluation import measure_of, open_readers, ring_correlations
from isoplan.metrics import frc


def main(snakemake):
    params, known = snakemake.params, snakemake.input.get("registered")
    facts = json.loads(Path(snakemake.input.facts).read_text())
    measure = measure_of(params.truth, known)
    tables = [pd.DataFrame(columns=["mosaic", "method", "cycles_per_px", "correlation"])]
    if measure:
        judged_by = {"truth": params.truth, "registration": known}
        with open_readers(facts, dict(params.stores), **judged_by) as readers:
            shape = facts["height_px"], facts["width_px"]
            for method, curve in ring_correlations(readers, measure, shape).items():
                columns = {"mosaic": facts["mosaic"], "method": method}
                columns |= {"cycles_per_px": frc.FREQUENCIES, "correlation": curve}
                tables.append(pd.DataFrame(columns))
    pd.concat(tables[1:] or tables).to_csv(snakemake.output.rings, index=False)


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
