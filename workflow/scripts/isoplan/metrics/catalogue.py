"""The image metrics of a study, one row each. Evaluation, tables and verdict use only this list.

A new metric is a row here with its function `local`. Nothing else is edited, and only the evaluation runs
again.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

LOCAL_PX = 8  # `local` may use pixels up to this distance


@dataclass(frozen=True)
class Metric:
    """One image metric.

    Parameters
    ----------
    name : str
        Its name in metrics.csv and in the report, which shows metrics in the order of METRICS.
    meaning : str
        Its meaning in one line.
    better : int
        1 if higher is better, -1 if lower is, 0 if closer to the value of the truth is.
    unit : str
        Its unit, "" if it has none.
    decimals : int, optional
        Number of decimals that are shown; None for three significant digits.
    needs_truth : bool
        Whether it compares with a truth or a reference frame.
    local : callable, optional
        ``local(picture, truth)`` returns an array (h, w) whose mean is the metric, NaN where pixels do not
        count. Both pictures are (h, w) float32 on a scale of 0 to 255, NaN where unknown; truth is None
        for a metric that needs none. None if `image.metrics_of`, `frc` or the evaluation compute the
        metric.
    """

    name: str
    meaning: str
    better: int
    unit: str = ""
    decimals: int | None = None
    needs_truth: bool = True
    local: Callable[[np.ndarray, np.ndarray | None], np.ndarray] | None = None


METRICS = (
    Metric("SNR", "power of the truth over that of the error", 1, "dB", 2),
    Metric("PSNR", "square of the range of values over the mean square error", 1, "dB", 2),
    Metric("SSIM", "structural similarity (Wang et al. 2004), 1 for equal pictures", 1, "", 3),
    Metric("MSE", "mean square error", -1),
    Metric("gradient-MSE", "mean square error of the gradient magnitude", -1),
    Metric("CV", "contrast: standard deviation over mean", 0, "", 3, needs_truth=False),
    Metric("Sharpness", "mean gradient magnitude", 0, needs_truth=False),
    Metric("FRC", "mean Fourier ring correlation up to the finest resolution", 1, "", 3),
    Metric("FRC-resolution", "period at which the ring correlation falls below 1/7", -1, "px", 2),
    Metric("SNR-reblurred", "SNR of the restoration blurred again by its own PSFs", 1, "dB", 2),
)


def by_name() -> dict[str, Metric]:
    return {metric.name: metric for metric in METRICS}


def local_metrics() -> list[Metric]:
    """The metrics that are computed by their function `local`."""
    return [metric for metric in METRICS if metric.local]
