"""How the study ended; fails where mosaics were refused, after everything else was made."""

import pandas as pd
from _job import job
from isoplan.base.errors import UserError


def main(snakemake):
    report = snakemake.input.report
    metrics = pd.read_csv(snakemake.input.metrics)
    gains = metrics[(metrics.metric == "gain_dB") & (metrics.method != "none")]
    for row in gains.itertuples():
        print(f"{row.mosaic}: {row.method} {row.value:+.2f} dB over doing nothing")
    print(f"report: {report}")
    if snakemake.input.refused:
        refused = pd.read_csv(snakemake.input.refused)
        if len(refused):
            named = "; ".join(f"{r.mosaic}: {r.reason}" for r in refused.itertuples())
            raise UserError(
                f"{snakemake.input.refused}: {len(refused)} mosaics were refused ({named}). "
                f"All others are done and in {report}. Mend or remove the refused ones, run again"
            )
    with open(snakemake.output.finished, "w") as handle:
        handle.write(f"every mosaic is done; open {report}\n")


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
