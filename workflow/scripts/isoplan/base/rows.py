"""What a rule, or a task for networks, is in the lists of the house, and what applications add to these lists.

An application's `applications/<name>/rows.py` may hold STAGES, further rows of `isoplan.stages`, TASKS, of
`isoplan.tasks`, COMMANDS, functions that add a command to the command line, and FUNCTIONS, which
are reached from the package, as `isoplan.superresolve`. It is found by listing, so that a new application edits no file of another. Read while Snakemake parses:
rows name code as "module:name" and import nothing that takes long.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from math import prod
from pathlib import Path

APPLICATIONS = Path(__file__).resolve().parents[1] / "applications"


@dataclass(frozen=True)
class Stage:
    """One rule.

    rule: its name. per: its wildcards, in the order that its logs and benchmarks name them. made: the files by
    which it says that it is done, in results/<study>/.
    memory, minutes: the kind of `resources` that it asks for; None where it asks for none, and "file" where the
    memory is computed from a mosaic's file. device: whether it computes on the config's `device`. wanted: whether a
    checked study has jobs of it.
    usual: whether every mosaic of a user's has it. one_method: whether it is done for one of the methods alone.
    sampled: whether it looks at a few places of a mosaic, and takes as long for every size.
    data: what is behind `made` and is read back to look for damage: arrays, stores (all arrays in them), other files.
    Small files that a job made need not stand there: `base.records` knows them.
    reads: "module:function" that raises UserError of a file that is no store. units: "module:function" that gives, of
    the first of `data`, a function to read a unit back and how many there are, or None for as many as are known;
    each has its record in the folder `ledger`, and belongs to job unit modulo jobs. laid_out_by: the rule that makes
    the store they lie in. unit_px: "module:function" that gives a unit's side, of a checked study.
    lists: of a wildcard of an application's own, (wildcard, key of the config): the list whose entries' names it takes.
    bytes_a_px: what an application's stage leaves on the disk of each pixel of a mosaic, uncompressed, for each entry of
    its lists. own_bytes_a_px: the same of each pixel of the picture that an entry of its list names by `path`, of that entry.
    then: rules whose files go with what is damaged. first: rules that are then run before all others, as what they
    make may come out as it was, and what was made of it stays.
    """

    rule: str
    per: tuple[str, ...] = ()
    made: tuple[str, ...] = ()
    memory: str | None = None
    minutes: str | None = None
    device: bool = False
    wanted: Callable[[dict], bool] = lambda study: True
    usual: bool = True
    one_method: bool = False
    sampled: bool = False
    data: tuple[str, ...] = ()
    reads: str | None = None
    units: str | None = None
    ledger: str | None = None
    laid_out_by: str | None = None
    unit_px: str | None = None
    then: tuple[str, ...] = ()
    first: tuple[str, ...] = ()
    lists: tuple[tuple[str, str], ...] = ()
    bytes_a_px: float = 0
    own_bytes_a_px: Callable[[dict], float] | None = None

    @property
    def shared(self) -> bool:
        """Whether jobs share its units."""
        return "job" in self.per

    def entries(self, study: dict) -> int:
        """How many entries of its lists a checked study has, 1 without lists: as often it is done for a mosaic."""
        return prod(len(study[key]) for _, key in self.lists)

    @property
    def of_mosaic(self) -> bool:
        return self.per[:1] == ("mosaic",)

    @property
    def of_method(self) -> bool:
        """Whether each method that restores a mosaic has it."""
        return "method" in self.per and not self.one_method


@dataclass(frozen=True)
class TaskRow:
    """One task, its parts as "module:name" (training/task.py says what each of them offers).

    name: in a card. samples: the function that stores a set of samples; None where the task's own rules make them. task: the class that the training loop drives. judge: the class that judges a trained network.
    words: the module that writes the card of a released one. listed: the key of the config whose entries are networks of it. study: the module that tells
    of such an entry its recipe, code and test sets (`training.psf_study`).
    """

    name: str
    samples: str | None
    task: str
    judge: str
    words: str
    listed: str = "networks"
    study: str = "isoplan.training.psf_study"


@cache
def rows(kind: str) -> tuple:
    """What all applications have of a kind, such as "STAGES", in the order of their names."""
    names = sorted(file.parent.name for file in APPLICATIONS.glob("*/rows.py"))
    rooms = (import_module(f"isoplan.applications.{name}.rows") for name in names)
    return tuple(row for room in rooms for row in getattr(room, kind, ()))
