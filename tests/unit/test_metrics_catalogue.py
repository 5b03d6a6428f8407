"""The catalogue of image metrics: complete, and one more row is all that a new metric takes."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from isoplan.evaluation import by_picture, channels, evaluate_unit, metrics_and_gains
from isoplan.metrics import catalogue, frc
from isoplan.metrics.catalogue import METRICS, Metric
from isoplan.metrics.image import cell_sums, metrics_of
from isoplan.report.image_metrics import metric_table


def homogeneity(picture, truth):
    """Of a grey-level co-occurrence matrix (Haralick 1973), one pixel to the right, 16 levels."""
    levels = np.floor(picture / 16)
    found = np.full(picture.shape, np.nan)
    found[:, :-1] = 1 / (1 + (levels[:, 1:] - levels[:, :-1]) ** 2)
    return found


def closeness(picture, truth):
    return 1 / (1 + np.abs(picture - truth))


@pytest.fixture
def more(monkeypatch):
    rows = (
        Metric("homogeneity", "evenness of neighbours", 0, "", 3, False, homogeneity),
        Metric("closeness", "nearness to the truth", 1, "", 2, True, closeness),
    )
    monkeypatch.setattr(catalogue, "METRICS", (*METRICS, *rows))


def evaluated(shape, units, cell_px=16, known=True):
    """Metrics of a picture, read unit by unit, and the pictures themselves."""
    rng = np.random.default_rng(0)
    pictures = {name: rng.uniform(0, 255, shape).astype(np.float32) for name in ("none", "truth")}
    pictures["none"][3, 5] = np.nan
    if not known:
        del pictures["truth"]
    readers = {
        name: lambda y0, y1, x0, x1, picture=picture: picture[y0:y1, x0:x1]
        for name, picture in pictures.items()
    }
    blocks = [
        evaluate_unit(readers, readers.get("truth"), shape, unit, scale=255.0, cell_px=cell_px)
        for unit in units
    ]
    sums = np.concatenate(blocks, axis=1)
    assert len(sums) == len(channels(list(pictures)))
    return metrics_and_gains(by_picture(sums, list(pictures)))[0], pictures


WHOLE = [(slice(0, 4), slice(0, 3))]
PARTS = [(slice(0, 1), slice(0, 3)), (slice(1, 4), slice(0, 3))]


def test_every_metric_that_is_computed_has_its_row():
    picture = np.ones((8, 8))
    computed = set(metrics_of(cell_sums(picture, picture, data_range=1, cell_px=8), 1)) - {"Mean"}
    computed |= set(frc.summarise({"a": np.ones(frc.RINGS)})["a"]) | {"SNR-reblurred"}
    assert computed == {metric.name for metric in METRICS if not metric.local}
    alone = set(metrics_of(cell_sums(picture, data_range=1, cell_px=8), 1)) - {"Mean"}
    assert alone == {m.name for m in METRICS if not m.needs_truth and not m.local}


@pytest.mark.parametrize("units", [WHOLE, PARTS], ids=["whole", "in parts"])
def test_a_new_metric_is_the_mean_of_its_function(more, units):
    results, pictures = evaluated((64, 45), units)
    for name, picture in pictures.items():
        expected = np.nanmean(homogeneity(picture, None))
        assert results[name]["homogeneity"] == pytest.approx(expected, rel=1e-9)
    expected = np.nanmean(closeness(pictures["none"], pictures["truth"]))
    assert results["none"]["closeness"] == pytest.approx(expected, rel=1e-6)
    assert "closeness" not in results["truth"]


def test_without_a_truth_only_what_needs_none(more):
    results, _ = evaluated((64, 45), WHOLE, known=False)
    assert set(results["none"]) == {"Mean", "CV", "Sharpness", "homogeneity"}


def test_a_new_metric_is_in_the_report_s_table(more):
    rows = [("none", 0.51234), ("estimated", 0.7), ("truth", 0.71)]
    rows = [{"mosaic": "a", "method": m, "metric": "homogeneity", "value": v} for m, v in rows]
    study = SimpleNamespace(table=lambda name: pd.DataFrame(rows))
    table = metric_table(study, "a")
    assert table.head == ["Method", "homogeneity \u2192 truth"]
    assert [row[1].text for row in table.rows] == ["0.512", "0.700", "0.710"]
    assert [row[1].best for row in table.rows] == [False, True, False]


def test_no_row_no_change():
    results, _ = evaluated((64, 45), WHOLE)
    assert set(results["none"]) == {
        *("Mean", "CV", "Sharpness", "MSE", "SSIM", "PSNR", "gradient-MSE", "SNR"),
    }
