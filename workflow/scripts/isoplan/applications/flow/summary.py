"""How near the motion comes that is found: the published score and ours, of a study's flow.csv.

As it is kept in resources/published:

PYTHONPATH=workflow/scripts .venv/bin/python -m isoplan.applications.flow.summary TABLE.csv OUT.csv
"""

import sys

import numpy as np
import pandas as pd

from isoplan.applications.flow.fit import APART
from isoplan.applications.flow.trials import INTERVALS, MAGNITUDES

MOVES = 0.25  # of the longest displacement along an axis: below it, directions do not count
CLEAR_PX = 136  # from a border: no window reaches across
NEAR_PX = 32  # of a border
ALL, TEXTURED, SUREST, CLEAR = "all", "with texture", "surest half", "far from borders"
SCORES = (
    *(f"r2_{name}" for name in MAGNITUDES),
    *("r2", "r2_low", "r2_high", "determined"),
    *("angle_deg", *(f"held_{name}" for name in INTERVALS), "alarm", "alarm_at_border"),
    *("doubted", "moves"),
    *(
        "headings",
        "headings_right",
        "follow",
        "tracks",
        "path",
        "off_path",
        "held_path",
        "held_end",
    ),
)
COLUMNS = ("test", "rows", "n", *SCORES)
DRAWN, COVERED = 500, 0.95


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """COLUMNS, a row for each test and kind of windows: all; those with texture; the half of these that is surest; those far from a border.

    r2: squared correlation over MAGNITUDES that vary, and their mean with its 95 % interval (bootstrap over windows); determined: likewise, the coefficient of determination; angle_deg: median
    angle between true and found direction, of what moves; held: how often 90 % intervals hold the truth; alarm: how often parts of a window are said
    to move differently; doubted: how many windows are of pictures that a specimen at rest explains better; moves: how many of all have a displacement beyond its
    interval, without such a doubt.
    Of sequences: headings: in how many of what moves the direction is told from its opposite; headings_right: how often rightly; follow: how many windows move until the
    next picture as blur tells; tracks: how many windows are followed to the last picture; path, off_path: medians of how far they then moved, and of how far their ends are off
    (um); held_path, held_end: how often intervals hold the end's place, and its distance from focus.

    Examples
    --------
    >>> from isoplan.applications.flow.trials import VALUES
    >>> values = np.random.default_rng(0).random((40, len(VALUES)))
    >>> rows = pd.DataFrame(values, columns=list(VALUES)).assign(test="t", textured=1.0)
    >>> rows[list(MAGNITUDES)] = rows[[f"true_{name}" for name in MAGNITUDES]].to_numpy()
    >>> first = summary(rows).loc[0]
    >>> first["rows"], int(first["n"]), round(float(first["r2"]), 6)
    ('all', 40, 1.0)
    """
    found = []
    for test, part in rows.groupby("test", sort=False):
        textured = part[part["textured"] > 0]
        kinds = {ALL: part, TEXTURED: textured, SUREST: surest(textured)}
        if np.isfinite(part["border_px"]).any():
            kinds[CLEAR] = textured[textured["border_px"] > CLEAR_PX]
        for kind, some in kinds.items():
            found.append({"test": test, "rows": kind, "n": len(some)} | scores(some))
    return pd.DataFrame(found, columns=COLUMNS)


def surest(rows: pd.DataFrame) -> pd.DataFrame:
    """The half whose intervals are narrowest, relative to how much the values of each spread."""
    wide = sum(
        rows[f"half_{name}"] / rows[name].std() for name in ("displacement", "axial", "middle")
    )
    return rows[wide <= wide.median()]


def scores(rows: pd.DataFrame) -> dict[str, float]:
    """SCORES of rows; NaN where there are too few."""
    found: dict[str, float] = dict.fromkeys(SCORES, np.nan)
    if len(rows) < 3:
        return found
    true, own = (
        rows[[f"{kind}{name}" for name in MAGNITUDES]].to_numpy() for kind in ("true_", "")
    )
    each = _correlated(true, own)
    found |= {f"r2_{name}": value for name, value in zip(MAGNITUDES, each, strict=True)}
    found["r2"] = float(np.nanmean(each))
    rng = np.random.default_rng(0)
    drawn = [rng.integers(0, len(rows), len(rows)) for _ in range(DRAWN)]
    means = [np.nanmean(_correlated(true[k], own[k])) for k in drawn]
    ends = np.nanquantile(means, [(1 - COVERED) / 2, (1 + COVERED) / 2])
    found |= {"r2_low": float(ends[0]), "r2_high": float(ends[1])}
    varies = true.std(0) > 1e-6
    left = 1 - ((true - own)[:, varies] ** 2).mean(0) / true[:, varies].var(0)
    found["determined"] = float(np.mean(left))
    turned = (rows["direction"] - rows["true_direction"] + np.pi / 2) % np.pi - np.pi / 2
    apart = {"direction": turned.abs()}
    for name in ("displacement", "axial", "middle"):
        apart[name] = (rows[name] - rows[f"true_{name}"]).abs()
    longest = rows[["true_y", "true_x"]].to_numpy().max()
    moves = rows["true_displacement"] > MOVES * longest
    for name, error in apart.items():
        held = error <= rows[f"half_{name}"]
        found[f"held_{name}"] = float(held[moves].mean() if name == "direction" else held.mean())
    found["angle_deg"] = float(np.degrees(apart["direction"][moves].median()))
    alarm = rows["apart"] > APART
    found["alarm"] = float(alarm.mean())
    doubted = rows["doubted"] > 0
    moved = (rows["displacement"] > rows["half_displacement"]) & ~doubted
    found |= {"doubted": float(doubted.mean()), "moves": float(moved.mean())}
    found |= _followed(rows[moves])
    near = rows["border_px"] < NEAR_PX
    found["alarm_at_border"] = float(alarm[near].mean()) if near.any() else np.nan
    return found


def _followed(rows: pd.DataFrame) -> dict[str, float]:
    """Scores of sequences, of what moves."""
    ended = rows[rows["path"].notna()]
    if ended.empty and rows["heading"].isna().all():
        return {}
    known = rows[rows["heading"].notna()]
    return {
        "headings": len(known) / len(rows),
        "headings_right": float((np.cos(known["heading"] - known["true_heading"]) > 0).mean()),
        "follow": float(rows["follows"].mean()),
        "tracks": len(ended) / len(rows),
        "path": float(ended["path"].median()),
        "off_path": float(ended["off_path"].median()),
        "held_path": float((ended["off_path"] <= ended["half_path"]).mean()),
        "held_end": float(((ended["end"] - ended["true_end"]).abs() <= ended["half_end"]).mean()),
    }


def _correlated(true: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Squared correlations of columns; NaN of a column that does not vary."""
    true, own = true - true.mean(0), own - own.mean(0)
    true[:, np.abs(true).max(0) < 1e-6] = np.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        return (true * own).sum(0) ** 2 / ((true**2).sum(0) * (own**2).sum(0))


if __name__ == "__main__":
    summary(pd.read_csv(sys.argv[1])).to_csv(sys.argv[2], index=False, float_format="%.4g")
