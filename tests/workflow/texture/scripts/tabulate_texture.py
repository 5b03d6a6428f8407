"""The table of every mosaic's texture."""

from pathlib import Path

import pandas as pd
from _job import job
from isoplan.applications.texture import squares
from isoplan.cluster.unit_files import load_units
from isoplan.mosaic.facts import Facts


def main(snakemake):
    params, found = snakemake.params, []
    for file in map(Path, snakemake.input.facts):
        facts = Facts.read(file)
        for texture in params.textures:
            folder = Path(params.folder, file.stem, texture["name"])
            values = load_units(folder, len(squares.rows(facts.shape, texture["square_px"])))
            found.append((file.stem, texture["name"], values.mean(), values.size))
    table = pd.DataFrame(found, columns=["mosaic", "texture", "detail", "n"])
    table.to_csv(snakemake.output.table, index=False)


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
