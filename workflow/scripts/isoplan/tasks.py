"""What networks are trained for, one row per task: where its code lies, which is loaded only where it is used.

Read while Snakemake parses. The rules' scripts do not read it: their params tell them what to load, so that a task
that is added here reruns nothing that does not use it.
"""

from isoplan.base.errors import UserError
from isoplan.base.rows import TaskRow, rows

PSF_REGRESSION = "psf-regression"
ROWS = (
    TaskRow(
        PSF_REGRESSION,
        samples="isoplan.training.samples:store_set",
        task="isoplan.training.psf_regression:PsfRegression",
        judge="isoplan.training.psf_judging:PsfJudge",
        words="isoplan.training.psf_card",
    ),
)
TASKS = {row.name: row for row in (*ROWS, *rows("TASKS"))}


def of(item: dict) -> TaskRow:
    """The task of an entry of the config's `networks` or of a card; one that names none is for PSF regression.

    Raises UserError where there is no such task.
    """
    name = item.get("task", PSF_REGRESSION)
    if name not in TASKS:
        raise UserError(f"there is no task {name}; known: {', '.join(TASKS)}")
    return TASKS[name]
