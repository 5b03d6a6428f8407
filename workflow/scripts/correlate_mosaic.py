"""How mosaics and their restorations agree with what they are judged by, over a few squares: Fourier ring
correlation, and beside a reference frame what a restoration says that it should show."""

import pandas as pd
from _job import job
from isoplan.comparison import open_readers, ring_correlations, signal_to_noise, standard_of
from isoplan.metrics import frc
from isoplan.mosaic import ngff
from isoplan.mosaic.facts import Facts


def main(snakemake):
    params, known = snakemake.params, snakemake.input.get("registered")
    facts = Facts.read(snakemake.input.facts)
    standard = standard_of(params.truth, known)
    tables = [pd.DataFrame(columns=["mosaic", "method", "cycles_per_px", "correlation"])]
    rows = []
    if standard:
        judged_by = {"truth": params.truth, "registration": known}
        with open_readers(facts, dict(params.stores), **judged_by) as readers:
            shape = facts.shape
            for method, curve in ring_correlations(readers, standard, shape).items():
                columns = {"mosaic": facts["mosaic"], "method": method}
                columns |= {"cycles_per_px": frc.FREQUENCIES, "correlation": curve}
                tables.append(pd.DataFrame(columns))
            if standard == "reference":
                found = signal_to_noise(again(readers, snakemake, shape), standard, shape)
                rows = [(method, "SNR-reblurred", value) for method, value in found.items()]
    pd.concat(tables[1:] or tables).to_csv(snakemake.output.rings, index=False)
    table = pd.DataFrame(rows, columns=["method", "metric", "value"])
    table.to_csv(snakemake.output.again, index=False)


def again(readers, snakemake, shape):
    """The readers, those of restorations through the model once more."""
    from isoplan.restoration.cores import blurred_again
    from isoplan.restoration.psfs import local_psfs

    found = dict(readers)
    for method, store in snakemake.params.stores.items():
        local = local_psfs(snakemake.params.psfs[method], shape)
        settings = ngff.read_attributes(store)["restoration"]
        local = local.chosen(settings)
        how = {"order": settings["order"], "background": settings["exposure"]["background"]}
        found[method] = blurred_again(readers[method], local, shape, **how)
    return found


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
