"""What a job's small files held when it succeeded, so that one that was cut off or edited since gives itself away.

A record lies in results/<study>/records/, under the name of the job's log: the rule, then its wildcards.
"""

import json
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from isoplan.base.ledger import write_atomically

FOLDER = "records"
# Tables, facts and pictures for the report. Stores and networks are read back in other ways, and a study's config.yaml
# is the user's to edit.
KINDS = (".csv", ".tsv", ".json", ".npz")
LARGEST = 50 * 2**20  # bytes


@contextmanager
def recorded(log: str, outputs: Iterable[str]) -> Iterator[None]:
    """Around a job's work: records its small files once it has succeeded, and knows nothing of them before.

    log: results/<study>/logs/<rule>/<wildcards>.log. outputs: the job's files.
    """
    files = [Path(name) for name in outputs if name.endswith(KINDS)]
    if not files:
        yield
        return
    top, study, _, *names = Path(log).parts
    results = Path(top, study)
    record = results.joinpath(FOLDER, *names).with_suffix(".json")
    record.unlink(missing_ok=True)
    yield
    small = [file for file in files if file.stat().st_size <= LARGEST]
    sums = {file.relative_to(results).as_posix(): _checksum(file) for file in small}
    write_atomically(record, json.dumps(sums) + "\n")


def differing(record: Path, results: Path) -> list[Path]:
    """The recorded files that are there and hold something else. Of a broken record nothing is known."""
    try:
        sums = {results / name: told for name, told in json.loads(record.read_text()).items()}
    except (OSError, ValueError, AttributeError):
        return []
    return [file for file, told in sums.items() if file.is_file() and _checksum(file) != told]


def _checksum(file: Path) -> int:
    return zlib.crc32(file.read_bytes())
