"""Builds a small, believable results folder: what a finished study leaves, without running one."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import zarr
from scipy import ndimage
from skimage import data, transform

STRIDE_PX = 32
PIXEL_UM = 0.325
PSF_SPEC = {
    "name": "gauss",
    "model": "gaussian-2",
    "form": "isoplan",
    "size_px": 31,
    "cutoff": 0.2,
    "excitation_cutoff": None,
    "width_px": [1.5, 9.0],
    "focus_waves": [0.0, 0.8],
    "cylinder_waves": [0.0, 0.35],
    "file": None,
}
CONFIG = """study: demo          # a resolved config
seed: 1
psfs:
  - {name: gauss, model: gaussian-2, size_px: 31, width_px: [1.5, 9.0]}
deconvolution:
  iterations: 20
  tv_weight: 0.1
"""


def build_study(
    folder: Path, *, size_px: int = 512, gain: float = 1.0, invalid: bool = False
) -> Path:
    """Write a study with a simulated mosaic, one without truth and one refused.

    gain: 1 lets the estimated map help; below 0 it does harm. invalid: the map has no usable cell.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    (folder / "config.yaml").write_text(CONFIG)
    truth = _scene(size_px)
    shape = (size_px, size_px * 3 // 4)
    truth = truth[: shape[0], : shape[1]]
    true_map = _true_map(shape)
    estimated = (true_map + rng.normal(0, 0.3, true_map.shape)).astype(np.float32)
    observed = _blur(truth, true_map) + 100 + rng.normal(0, 25, shape)
    methods = {
        "none": observed - 100,
        "constant": observed - 100 + 0.25 * gain * (truth - observed + 100),
        "estimated": observed - 100 + 0.45 * gain * (truth - observed + 100),
        "oracle": observed - 100 + 0.55 * (truth - observed + 100),
    }
    write_picture(folder / "simulated/tissue/observed.ome.zarr", observed)
    write_picture(folder / "simulated/tissue/truth.ome.zarr", truth)
    for method in ("constant", "estimated", "oracle"):
        write_picture(folder / f"restored/tissue/{method}.ome.zarr", methods[method])
    bad = np.zeros(true_map.shape[1:], bool)
    bad[-4:, :5] = True
    bad |= invalid
    _write_map(folder / "psf_map/tissue/net-small.zarr", "tissue", estimated, bad)
    _write_map(folder / "psf_map/tissue/true.zarr", "tissue", true_map, np.zeros_like(bad))
    _write_tables(folder, rng, truth, methods, true_map, estimated, bad)
    _write_plain_mosaic(folder, rng, size_px)
    for name, shape_px in (("tissue", shape), ("retina", (size_px // 2, size_px // 2))):
        _write_facts(folder, name, shape_px)
    _write_network(folder, rng)
    _write_benchmarks(folder)
    return folder


def build_regression_only(folder: Path) -> Path:
    """A study that trains networks and restores nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for network, r2 in (("one-pass", 0.94), ("resnet34", 0.81)):
        for level in (0, 1, 2, 3):
            for parameter in ("width_x", "width_y"):
                for metric, value in (("R2", r2 - 0.12 * level), ("RMSE", 0.3 + 0.2 * level)):
                    rows.append(
                        [
                            *(network, "gaussian-2", "syn", "nat", "poisson"),
                            *(level, parameter, metric, value, 2000),
                        ]
                    )
    columns = "network psf_model train_set test_set degradation level parameter metric value n"
    pd.DataFrame(rows, columns=columns.split()).to_csv(folder / "regression.csv", index=False)
    (folder / "config.yaml").write_text("study: regression\n")
    return folder


def write_picture(path: Path, picture: np.ndarray, levels: int = 3) -> None:
    group = zarr.open_group(path, mode="w", zarr_format=3)
    datasets = []
    for level in range(levels):
        group.create_array(str(level), data=picture.astype(np.float32), chunks=(128, 128))
        scale = [PIXEL_UM * 2**level] * 2
        datasets.append(
            {
                "path": str(level),
                "coordinateTransformations": [{"type": "scale", "scale": scale}],
            }
        )
        picture = transform.downscale_local_mean(picture, (2, 2))
    axes = [{"name": n, "type": "space", "unit": "micrometer"} for n in "yx"]
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [{"axes": axes, "datasets": datasets}],
    }


def _scene(size_px: int) -> np.ndarray:
    tile = transform.downscale_local_mean(data.immunohistochemistry()[..., :3].mean(2), (2, 2))
    tile = np.pad(255 - tile, ((0, tile.shape[0]), (0, tile.shape[1])), mode="symmetric")
    repeat = -(-size_px // tile.shape[0])
    return np.tile(tile, (repeat, repeat))[:size_px, :size_px] * 40.0


def _true_map(shape: tuple[int, int]) -> np.ndarray:
    rows, columns = (-(-length // STRIDE_PX) for length in shape)
    y, x = np.meshgrid(np.linspace(0, 1, rows), np.linspace(0, 1, columns), indexing="ij")
    return np.stack([2 + 5 * y**1.5 + 0.5 * x, 2 + 4.5 * x**2 + y]).astype(np.float32)


def _blur(truth: np.ndarray, widths: np.ndarray) -> np.ndarray:
    field = transform.resize(widths.mean(0), truth.shape, order=1) / 2.355
    sigmas = np.linspace(field.min(), field.max(), 6)
    stack = np.stack([ndimage.gaussian_filter(truth, sigma) for sigma in sigmas])
    position = np.clip((field - sigmas[0]) / (sigmas[1] - sigmas[0]), 0, 4.999)
    low = position.astype(int)
    share = position - low
    take = lambda index: np.take_along_axis(stack, index[None], 0)[0]  # noqa: E731
    return (1 - share) * take(low) + share * take(low + 1)


def _write_map(path: Path, mosaic: str, values: np.ndarray, bad: np.ndarray) -> None:
    raw = np.where(bad, np.nan, values)
    usable = np.where(bad & ~bad.all(), np.median(values, axis=(1, 2))[:, None, None], values)
    filled = np.where(bad.all(), np.nan, usable)
    validity = np.where(bad, 0.1, 0.97)
    group = zarr.open_group(path, mode="w", zarr_format=3)
    for name, layer in (("0", filled), ("raw", raw)):
        stack = np.concatenate([layer, validity[None], bad[None]]).astype(np.float32)
        group.create_array(name, data=stack, chunks=(1, 8, 8))
    names = ["width_y", "width_x", "validity", "filled"]
    units = ["px", "px", "", ""]
    group.attrs["isoplan"] = {
        "psf": PSF_SPEC,
        "channels": [{"name": n, "unit": u} for n, u in zip(names, units, strict=True)],
        "window_px": 128,
        "stride_px": STRIDE_PX,
        "network": path.stem,
        "mosaic": mosaic,
        "fingerprint": "0123456789abcdef",
    }


def _snr(truth: np.ndarray, picture: np.ndarray) -> float:
    return 10 * np.log10((truth**2).sum() / ((truth - picture) ** 2).sum())


def _no_reference(picture: np.ndarray) -> dict:
    gradient = np.hypot(ndimage.sobel(picture, 0), ndimage.sobel(picture, 1))
    return {"CV": picture.std() / picture.mean(), "Sharpness": gradient.mean()}


def _write_tables(folder, rng, truth, methods, true_map, estimated, bad) -> None:
    rows, cells = [], []
    base, best = _snr(truth, methods["none"]), _snr(truth, methods["oracle"])
    for method, picture in methods.items():
        mse = ((picture - truth) ** 2).mean()
        values = {
            "MSE": mse,
            "SSIM": float(np.clip(1 - mse / truth.var(), 0, 1)) ** 0.5,
            "PSNR": 10 * np.log10(truth.max() ** 2 / mse),
            "gradient-MSE": 1.7 * mse,
            "SNR": _snr(truth, picture),
            **_no_reference(picture),
        }
        grid = np.full(true_map.shape[1:], np.nan)
        for y, x in np.ndindex(grid.shape):
            block = np.s_[y * STRIDE_PX : (y + 1) * STRIDE_PX, x * STRIDE_PX : (x + 1) * STRIDE_PX]
            grid[y, x] = _snr(truth[block], picture[block]) - _snr(
                truth[block], methods["none"][block]
            )
        if method != "none":
            grid += rng.normal(-2.4, 1.6, grid.shape)
            values["gain_dB"] = values["SNR"] - base
            values["oracle_share"] = values["gain_dB"] / (best - base)
            values["worse_cells_share"] = float((grid < 0).mean())
            cells += [["tissue", method, y, x, grid[y, x]] for y, x in np.ndindex(grid.shape)]
        rows += [["demo", "tissue", method, name, value] for name, value in values.items()]
    for value in _no_reference(truth).items():
        rows.append(["demo", "tissue", "truth", *value])
    _save(folder / "metrics.csv", "study mosaic method metric value", rows)
    metrics = pd.read_csv(folder / "metrics.csv", keep_default_na=False)
    metrics[["network", "iterations", "tv_weight"]] = ["net-small", 20, 0.1]
    metrics.to_csv(folder / "metrics.csv", index=False)
    _save(folder / "cells.csv", "mosaic method cell_y cell_x snr_gain_db", cells)
    _save(
        folder / "refused.csv",
        "mosaic path reason",
        [["slide-7", "data/slide-7.tif", "the file is cut short: 3 of 12 strips are missing"]],
    )
    _write_regression(folder, rng)


def _write_regression(folder, rng) -> None:
    predictions, regression = [], []
    for name, error in (("width_y", 0.45), ("width_x", 0.6)):
        true = rng.uniform(1.5, 9, 400)
        guess = np.clip(true + rng.normal(0, error, 400), 1.5, 9)
        valid = rng.random(400) > 0.06
        guess = np.where(valid, guess, rng.uniform(1.5, 9, 400))
        for row in zip(true, guess, valid, strict=True):
            predictions.append(["net-small", "validation", name, *row])
        r2 = 1 - error**2 / true.var()
        for metric, value in (("R2", r2), ("RMSE", error), ("bias", 0.04)):
            regression.append(
                [
                    *("net-small", "gauss", "mixtures", "validation", "none"),
                    *(0, name, metric, value, 400),
                ]
            )
    _save(
        folder / "predictions.csv",
        "network test_set parameter true estimated valid",
        predictions,
    )
    columns = "network psf_model train_set test_set degradation level parameter metric value n"
    _save(folder / "regression.csv", columns, regression)


def _write_plain_mosaic(folder, rng, size_px) -> None:
    grey = data.retina().mean(2)
    step = max(1, 2 * grey.shape[0] // size_px)
    picture = transform.downscale_local_mean(grey, (step, step))[: size_px // 2, : size_px // 2]
    sharp = picture + 1.5 * (picture - ndimage.gaussian_filter(picture, 2))
    write_picture(folder / "restored/retina/none.ome.zarr", picture, levels=2)
    write_picture(folder / "restored/retina/estimated.ome.zarr", sharp, levels=2)
    values = _true_map(picture.shape) + rng.normal(0, 0.2)
    bad = np.zeros(values.shape[1:], bool)
    bad[0, 0] = bad[-1, -1] = True
    _write_map(folder / "psf_map/retina/net-small.zarr", "retina", values, bad)
    rows = [
        ["demo", "retina", method, name, value, "net-small", 20, 0.1]
        for method, version in (("none", picture), ("estimated", sharp))
        for name, value in _no_reference(version).items()
    ]
    columns = "study mosaic method metric value network iterations tv_weight"
    table = pd.read_csv(folder / "metrics.csv", keep_default_na=False)
    extra = pd.DataFrame(rows, columns=columns.split())
    pd.concat([table, extra]).to_csv(folder / "metrics.csv", index=False)


def _write_facts(folder, name, shape) -> None:
    facts = {
        "name": name,
        "path": f"data/{name}.tif",
        "pixel_size_um": PIXEL_UM,
        "gain": 0.5,
        "offset": 100 if name == "tissue" else 0,
        "height_px": shape[0],
        "width_px": shape[1],
        "dtype": "uint16",
        "minimum": 0,
        "maximum": 10500,
        "mean": 3100.0,
        "nonfinite_pixels": 0,
        "saturated_pixels": 12,
        "constant": False,
        "notes": ["RGB was brought to luminance"] if name == "retina" else [],
    }
    (folder / "mosaics").mkdir(exist_ok=True)
    (folder / f"mosaics/{name}.json").write_text(json.dumps(facts))


def _write_network(folder, rng) -> None:
    network = folder / "networks/net-small"
    network.mkdir(parents=True, exist_ok=True)
    epochs = np.arange(1, 13)
    train = 0.05 + 0.6 * np.exp(-epochs / 3)
    validation = train * (1.05 + 0.05 * rng.random(12))
    history = pd.DataFrame(
        {
            "epoch": epochs,
            "step": epochs * 100,
            "samples": epochs * 6400,
            "seconds": epochs * 21.0,
            "learning_rate": 1e-3 * np.cos(epochs / 8) ** 2,
            "train_loss": train,
            "validation_loss": validation,
            "validation_r2": 1 - validation,
            "best": validation == np.minimum.accumulate(validation),
        }
    )
    history.to_csv(network / "history.csv", index=False)
    card = {"name": "net-small", "parameters": 412_000, "psf": PSF_SPEC}
    (network / "card.json").write_text(json.dumps(card))


def _write_benchmarks(folder) -> None:
    for rule, seconds, peak in (
        ("train_network/net-small", 254.1, 1310.0),
        ("map_tiles/tissue-0", 12.4, 702.0),
        ("map_tiles/tissue-1", 11.9, 698.0),
        ("restore_tiles/tissue-0", 41.7, 911.0),
    ):
        path = folder / f"benchmarks/{rule}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"s\th:m:s\tmax_rss\tmean_load\n{seconds}\t0:00:00\t{peak}\t98.0\n")


def _save(path: Path, columns: str, rows: list) -> None:
    pd.DataFrame(rows, columns=columns.split()).to_csv(path, index=False)
