"""What networks are trained for, one row per task: where its code lies, which is loaded only where it is used.

Read while Snakemake parses. The rules' scripts do not read it: their params tell them what to load, so that a task
that is added here reruns nothing that does not use it.
"""

from dataclasses import dataclass

from isoplan.base.errors import UserError


@dataclass(frozen=True)
class Row:
    """One task, its parts as "module:name" (training/task.py says what they offer).

    samples: the function that stores a set of samples. task: the class that the training loop drives.
    judge: the class that judges a trained network. words: the module that writes the card of a released one.
    """

    samples: str
    task: str
    judge: str
    words: str


PSF_REGRESSION = "psf-regression"
TASKS = {
    PSF_REGRESSION: Row(
        samples="isoplan.training.samples:store_set",
        task="isoplan.training.psf_regression:PsfRegression",
        judge="isoplan.training.psf_judging:PsfJudge",
        words="isoplan.training.psf_card",
    ),
}


def of(item: dict) -> Row:
    """The task of an entry of the config's `networks` or of a card; one that names none is for PSF regression.

    Raises UserError where there is no such task.
    """
    name = item.get("task", PSF_REGRESSION)
    if name not in TASKS:
        raise UserError(f"there is no task {name}; known: {', '.join(TASKS)}")
    return TASKS[name]
