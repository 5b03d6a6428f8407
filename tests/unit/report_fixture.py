"""Builds a small, believable results folder: what a finished study leaves, without running one."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
import zarr
from isoplan.report import verdict
from isoplan.report.core import in_order
from isoplan.report.page import write_report
from isoplan.report.results import read_study
from isoplan.restoration import trust
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
jobs_per_mosaic: 1
psfs:
  - {name: gauss, model: gaussian-2, size_px: 31, width_px: [1.5, 9.0]}
deconvolution:
  iterations: 20
  tv_weight: 0.1
"""


def write_page(folder: Path, *, out: Path | None = None, more=(), **settings) -> str:
    """Writes a study's report as the pipeline does; its text. more: sections beside the report's own."""
    out, sections = out or folder / "report.html", in_order(more)
    study = read_study(folder, [table for section in sections for table in section.tables])
    write_report(study, sections, out, **{"title": "Study", "crop_px": 64, **settings})
    return out.read_text()


def figures_of(study) -> dict:
    """Section key -> its figures."""
    sections = {s.key: [f for part in s.parts(study) for f in part.figures] for s in in_order()}
    scores = [score for s in in_order() if (score := s.score(study))]
    return sections | {"scores": [figure for score in scores for figure in score.figures]}


def judge(study):
    return verdict.rank(study, in_order())


def build_study(
    folder: Path, *, size_px: int = 512, gain: float = 1.0, invalid: bool = False, sure: bool = True
) -> Path:
    """Write a study with a simulated mosaic, one without truth and one refused.

    gain: 1 lets the estimated map help; below 0 it does harm. invalid: the map has no usable cell.
    sure: the network says how sure it is, which those of older results did not.
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
    write_trust(folder / "restored/tissue/estimated.ome.zarr/trust", bad)
    doubt = _doubt(true_map) if sure else None
    _write_map(folder / "psf_map/tissue/net-small.zarr", "tissue", estimated, bad, doubt)
    _write_map(folder / "psf_map/tissue/true.zarr", "tissue", true_map, np.zeros_like(bad))
    _write_tables(folder, rng, truth, methods, true_map, estimated, bad)
    _write_plain_mosaic(folder, rng, size_px, sure)
    if sure:
        _write_calibration(folder, rng)
    for name, shape_px in (("tissue", shape), ("retina", (size_px // 2, size_px // 2))):
        _write_facts(folder, name, shape_px)
    _write_network(folder, rng)
    _write_benchmarks(folder)
    _write_choices(folder)
    return folder


def build_regression_only(folder: Path) -> Path:
    """A study that trains networks and restores nothing, of the time before intervals and configs."""
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


ARCHITECTURES = {
    "ours": {"architecture": "isoplan", "width": 64},
    "rn34": {"architecture": "resnet34", "pretrained": None, "width": 128},
    "pre": {"architecture": "resnet34", "pretrained": "imagenet.safetensors", "width": 128},
    "fit": {"architecture": "spectrum-fit", "width": 128},
}
SKILL = {"ours": 1.0, "rn34": 2.2, "pre": 1.8, "fit": 9.0}
PARAMETERS = {
    "gaussian-1": ["width"],
    "gaussian-2": ["width_y", "width_x"],
    "zernike-1": ["focus"],
    "zernike-2": ["cylinder", "axis"],
    "zernike-3": ["focus", "cylinder", "axis"],
}


class NetworkStudy:
    """A study of networks alone: its config and tables grow test by test."""

    def __init__(self, folder: Path, published: str | None):
        self.folder = folder
        self.rng = np.random.default_rng(1)
        self.config = {"study": folder.name, "report": {"published": published}}
        self.config |= {"networks": [], "psfs": [], "test_sets": []}
        self.config["cameras"] = [
            {"name": "noisy", "photons": [1, 1e6], "read_noise_e": [0, 5]},
            {"name": "clean", "photons": [1e9, 1e9], "read_noise_e": [0, 0]},
        ]
        self.rows, self.held, self.kept = [], [], []

    def network(self, kind: str, model: str, form: str, train: str, **more) -> str:
        """Adds a network (and its PSF model); its name."""
        words = [kind, model, form, train, *map(str, more.values())]
        psf = {"name": f"{model}-{form}", "model": model, "form": form}
        entry = {"name": "-".join(words), "psf": psf["name"], "objects": train}
        entry |= {"camera": "noisy", "samples": 64000, "weights": None}
        entry |= ARCHITECTURES[kind] | more
        if psf not in self.config["psfs"]:
            self.config["psfs"].append(psf)
        if entry not in self.config["networks"]:
            self.config["networks"].append(entry)
        return entry["name"]

    def test(self, name: str, test: str, lost: float, degradation: str = "none", level=0) -> None:
        """Judges a network on a type of pictures, where it leaves 1 - R2 = `lost` unexplained."""
        entry = next(e for e in self.config["networks"] if e["name"] == name)
        psf = next(p for p in self.config["psfs"] if p["name"] == entry["psf"])
        test_set = {"name": f"{test}-{psf['name']}", "psf": psf["name"], "objects": test}
        if test_set not in self.config["test_sets"]:
            self.config["test_sets"].append(test_set)
        row = [name, psf["model"], entry["objects"], test_set["name"], degradation, level]
        parameters = PARAMETERS[psf["model"]]
        values = [1 - lost * self.rng.uniform(0.8, 1.2) for _ in parameters]
        for parameter, value in zip([*parameters, "mean"], [*values, np.mean(values)], strict=True):
            spread = 0.15 * (1 - value)
            limits = [value - spread, min(1, value + spread), 2000]
            self.rows.append([*row, parameter, "R2", value, *limits])
            if parameter == "axis":
                error = 0.4 * lost**0.5
                limits = [0.9 * error, 1.1 * error, 1500]
                self.rows.append([*row, parameter, "circular-median", error, *limits])
        if degradation == "none":
            self._doubt(name, test_set["name"], parameters, lost)

    def _doubt(self, name, test_set, parameters, lost) -> None:
        for parameter in parameters:
            groups = {"all": [0], "spread fifth": range(1, 6), "photons decade": range(6)}
            if parameter == "axis":
                groups["axis region"] = range(0, 180, 30)
            for group, levels in groups.items():
                for level in levels:
                    share = min(1, 0.9 + 0.025 * self.rng.standard_normal())
                    n = 2000 // len(levels)
                    self.held.append([name, test_set, parameter, group, level, share, n])
            metric = "circular-median" if parameter == "axis" else "RMSE"
            for share in np.arange(20, 1, -1) / 20:
                value = lost**0.5 * (0.3 + 0.7 * share)
                self.kept.append([name, test_set, parameter, share, metric, value, 2000 * share])

    def write(self) -> Path:
        """Writes config and tables; the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "config.yaml").write_text(yaml.safe_dump(self.config))
        columns = "network psf_model train_set test_set degradation level parameter metric"
        _save(self.folder / "regression.csv", f"{columns} value low high n", self.rows)
        columns = ["network", "test_set", "parameter", "group", "level", "coverage", "n"]
        pd.DataFrame(self.held, columns=columns).to_csv(
            self.folder / "calibration.csv", index=False
        )
        columns = "network test_set parameter kept_share metric value n"
        _save(self.folder / "abstention.csv", columns, self.kept)
        return self.folder


def build_table_2_3(folder: Path, models=tuple(PARAMETERS), types=("syn", "poi", "nat")) -> Path:
    """Networks trained and tested on one type, under the published form and ours."""
    study = NetworkStudy(folder, "table_2_3")
    for form in ("published", "isoplan"):
        for model in models:
            hard = 0.006 if "gaussian" in model else 0.03
            for kind in ARCHITECTURES:
                for place, kind_of_picture in enumerate(types):
                    name = study.network(kind, model, form, kind_of_picture)
                    study.test(name, kind_of_picture, hard * SKILL[kind] * (1 + place))
            name = study.network("ours", model, form, "scenes")
            for kind_of_picture in (*types, "scenes"):
                study.test(name, kind_of_picture, 1.3 * hard)
    return study.write()


def build_table_2_4(folder: Path, types=("syn", "poi", "nat")) -> Path:
    """Networks trained on each type and tested on every type."""
    study = NetworkStudy(folder, "table_2_4")
    for form in ("published", "isoplan"):
        for kind in ("ours", "pre", "fit"):
            for train in types:
                name = study.network(kind, "gaussian-2", form, train)
                for test in types:
                    lost = 0.006 if train == test else 1.7 if train == "poi" else 0.05
                    study.test(name, test, lost * SKILL[kind])
    return study.write()


def build_figure_2_6(folder: Path) -> Path:
    """Networks trained with and without noise, judged at growing strengths of every degradation."""
    study = NetworkStudy(folder, "figure_2_6")
    for model, hard in (("gaussian-1", 0.01), ("zernike-1", 0.03)):
        for kind in ("ours", "rn34"):
            for camera in ("noisy", "clean"):
                name = study.network(kind, model, "published", "micr-syn-poi", camera=camera)
                study.test(name, "nat", hard * SKILL[kind])
                for what, pull in (("illumination", 0), ("gaussian", 4), ("mixed", 8)):
                    for level in (0.1, 0.2, 0.3, 0.5, 0.7, 1.0):
                        pull_now = pull * (12 if camera == "clean" else 1)
                        study.test(
                            name, "nat", hard * SKILL[kind] * (1 + pull_now * level), what, level
                        )
    return study.write()


def build_learning_curve(folder: Path) -> Path:
    """Networks that differ in the number of samples and in width alone."""
    study = NetworkStudy(folder, None)
    study.test(study.network("fit", "zernike-2", "isoplan", "scenes"), "scenes", 0.3)
    for kind, widths in (("ours", (32, 64, 128)), ("rn34", (128,))):
        for width in widths:
            for samples in (4000, 16000, 64000, 256000):
                name = study.network(
                    kind, "zernike-2", "isoplan", "scenes", width=width, samples=samples
                )
                study.test(
                    name, "scenes", SKILL[kind] * (40 / width) ** 0.3 * (400 / samples) ** 0.5
                )
                network = folder / "networks" / name
                network.mkdir(parents=True)
                size = width**2 * 70 if kind == "ours" else 21_000_000
                (network / "card.json").write_text(
                    json.dumps({"samples": samples - 200, "parameters": size})
                )
    return study.write()


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


def write_trust(path: Path, bad: np.ndarray, disagrees=np.s_[2:4, 3:6], noise: bool = True) -> None:
    """A map of trust: cells that disagree with the data, and some dead pixels; noise: is known."""
    values = {name: np.zeros(bad.shape) for name in trust.NAMES}
    values["chi_square"] += 0.94 if noise else np.nan
    values["correlation"] -= 0.05
    values["chi_square"][disagrees], values["correlation"][disagrees] = 2.4, 0.4
    values["doubt"][bad] = trust.NO_PSF
    values["doubt"][disagrees] += trust.DISAGREES
    values["lone_pixels"][0] = 9
    group = zarr.open_group(path, mode="w", zarr_format=3)
    group.create_array("0", data=np.stack(list(values.values())).astype(np.float32))
    group.attrs["isoplan"] = {"channels": trust.CHANNELS, "stride_px": STRIDE_PX}


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


def _doubt(values: np.ndarray) -> tuple[np.ndarray, ...]:
    """Half-widths that grow with the blur, one wide enough to be called uncertain; an alarm; what was seen."""
    half_width = 0.3 + 0.08 * values
    half_width[:, 1, 1] = 3.0
    alarm = np.full(values.shape[1:], 0.03)
    alarm[:2, -3:] = 0.9
    usable = np.ones(values.shape[1:])
    usable[-2:, :4] = 0.6
    return half_width, alarm, usable


def _write_map(path: Path, mosaic: str, values: np.ndarray, bad: np.ndarray, doubt=None) -> None:
    names, units = ["width_y", "width_x"], ["px", "px"]
    flags = [np.where(bad, 0.1, 0.97)]
    if doubt is not None:
        half_width, alarm, seen = doubt
        bad = bad | (alarm > 0.5)
        names += ["width_y_uncertainty", "width_x_uncertainty"]
        units += ["px", "px"]
        flags += [alarm, seen]
    raw = np.where(bad, np.nan, values)
    usable = np.where(bad & ~bad.all(), np.median(values, axis=(1, 2))[:, None, None], values)
    filled = np.where(bad.all(), np.nan, usable)
    group = zarr.open_group(path, mode="w", zarr_format=3)
    for name, layer in (("0", filled), ("raw", raw)):
        layers = [layer] if doubt is None else [layer, half_width]
        stack = np.concatenate([*layers, *(flag[None] for flag in flags), bad[None]])
        group.create_array(name, data=stack.astype(np.float32), chunks=(1, 8, 8))
    names += ["validity", *(["alarm", "usable"] if doubt is not None else []), "filled"]
    units += [""] * (len(names) - len(units))
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
        half_width = rng.uniform(0.8, 2.5, 400) * error
        photons = 10 ** rng.uniform(2, 5, 400)
        for row in zip(true, guess, half_width, photons, valid, strict=True):
            predictions.append(["net-small", "validation", name, *row])
        r2 = 1 - error**2 / true.var()
        for metric, value, low, high in (
            ("R2", r2, r2 - 0.005, r2 + 0.004),
            ("RMSE", error, error - 0.02, error + 0.03),
            ("bias", 0.04, np.nan, np.nan),
        ):
            regression.append(
                [
                    *("net-small", "gauss", "mixtures", "validation", "none"),
                    *(0, name, metric, value, low, high, 400),
                ]
            )
    for parameter, metric, value in (
        ("mean", "R2", 0.97),
        ("validity", "accuracy", 0.98),
        ("alarm", "false-alarms", 0.02),
        ("alarm", "found", 0.91),
    ):
        row = ["net-small", "gauss", "mixtures", "validation", "none", 0, parameter, metric]
        regression.append([*row, value, value - 0.01, value + 0.01, 400])
    _save(
        folder / "predictions.csv",
        "network test_set parameter true estimated half_width photons valid",
        predictions,
    )
    columns = (
        "network psf_model train_set test_set degradation level parameter metric value low high n"
    )
    _save(folder / "regression.csv", columns, regression)


def _write_calibration(folder, rng) -> None:
    held, kept = [], []
    groups = {"all": [0], "spread fifth": range(1, 6), "photons decade": range(2, 5)}
    for parameter, error in (("width_y", 0.45), ("width_x", 0.6)):
        for group, levels in groups.items():
            for level in levels:
                share = 0.9 + 0.02 * rng.standard_normal()
                row = ["net-small", "validation", parameter, group, level, share]
                held.append([*row, 400 // len(levels)])
        for share in np.arange(20, 1, -1) / 20:
            value = error * (0.35 + 0.65 * share**0.7)
            row = ["net-small", "validation", parameter, share, "RMSE", value]
            kept.append([*row, round(400 * share)])
    columns = "network test_set parameter group level coverage n"
    table = pd.DataFrame(held, columns=columns.split())
    table.to_csv(folder / "calibration.csv", index=False)
    columns = "network test_set parameter kept_share metric value n"
    _save(folder / "abstention.csv", columns, kept)


def _write_plain_mosaic(folder, rng, size_px, sure) -> None:
    grey = data.retina().mean(2)
    step = max(1, 2 * grey.shape[0] // size_px)
    picture = transform.downscale_local_mean(grey, (step, step))[: size_px // 2, : size_px // 2]
    sharp = picture + 1.5 * (picture - ndimage.gaussian_filter(picture, 2))
    write_picture(folder / "restored/retina/none.ome.zarr", picture, levels=2)
    write_picture(folder / "restored/retina/estimated.ome.zarr", sharp, levels=2)
    values = _true_map(picture.shape) + rng.normal(0, 0.2)
    bad = np.zeros(values.shape[1:], bool)
    bad[0, 0] = bad[-1, -1] = True
    doubt = _doubt(values) if sure else None
    _write_map(folder / "psf_map/retina/net-small.zarr", "retina", values, bad, doubt)
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
        ("measure_mosaic/tissue", 6.0, 602.0),
        ("map_psf/tissue/net-small/0", 12.4, 702.0),
        ("restore_mosaic/tissue/estimated/0", 41.7, 911.0),
    ):
        write_benchmark(folder, rule, seconds, peak)


def _write_choices(folder) -> None:
    """Of one mosaic: a method judged by held-out photons and one that could not be."""
    iterations = np.arange(1, 41)
    curves = [
        {
            "tv_weight": weight,
            "iterations": iterations.tolist(),
            "error": (1 + (np.log(iterations / best) / 20) ** 2 + height).tolist(),
        }
        for weight, best, height in ((0.001, 6, 0.004), (0.003, 12, 0), (0.01, 20, 0.009))
    ]
    told = {"iterations": 12, "tv_weight": 0.003, "reason": "judged", "photons": 1200.0}
    told |= {"psf_scale": 0.82, "psf_shape": "map", "resolution_px": 0.9}
    told["ends"] = {
        "iterations": "12 iterations are the most that may be",
        "psf_scale": "PSFs 0.82 times as wide are the narrowest that were tried",
    }
    widths = [
        {"psf_scale": scale, "width_px": 5.0 * scale, "worse": worse}
        for scale, worse in ((1, 3.2), (0.85, 0.0), (0.7, 1.4), (0.55, 8.1))
    ]
    left = told | {
        "psf_scale": 1.0,
        "resolution_px": 0,
        "iterations": 0,
        "curves": [],
        "widths": [],
        "ends": {},
    }
    (folder / "choices/tissue").mkdir(parents=True, exist_ok=True)
    for method, choice in (
        ("estimated", told | {"curves": curves, "widths": widths}),
        ("constant", left | {"reason": "the camera's gain is not known"}),
    ):
        (folder / f"choices/tissue/{method}.json").write_text(json.dumps(choice))


def write_benchmark(folder: Path, job: str, seconds: float, peak_mb: float) -> None:
    """What Snakemake leaves of one job."""
    path = folder / f"benchmarks/{job}.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"s\th:m:s\tmax_rss\tmean_load\n{seconds}\t0:00:00\t{peak_mb}\t98.0\n")


def _save(path: Path, columns: str, rows: list) -> None:
    pd.DataFrame(rows, columns=columns.split()).to_csv(path, index=False)
