"""Where the project's own files lie: schemas, released networks, published tables, the scripts of jobs."""

from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parents[4]
_PACKAGED = (
    Path(__file__).resolve().parents[1] / "files"
)  # laid out like a checkout; pyproject.toml fills it

# The checkout comes first: an editable install must not read what was packaged before an edit.
ROOT = _CHECKOUT if (_CHECKOUT / "workflow" / "schemas").is_dir() else _PACKAGED
