"""`python -m isoplan`: one picture, or one network, without Snakemake."""

import sys

from isoplan.cli.arguments import main

if __name__ == "__main__":
    sys.exit(main())
