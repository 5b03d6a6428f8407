"""The study's config with every default filled in, as it was run."""

import yaml
from _job import job


def main(snakemake):
    with open(snakemake.output.config, "w") as handle:
        yaml.safe_dump(dict(snakemake.params.config), handle, sort_keys=False, allow_unicode=True)


if __name__ == "__main__":
    with job(snakemake):
        main(snakemake)
