"""Builds small, believable results folders: what a finished study leaves, by the library's own writers."""

import json
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import yaml
from isoplan.config.entries import all_that_counts, entry
from isoplan.config.validation import validate
from isoplan.evaluation import by_picture, compare, evaluate_unit, metrics_and_gains
from isoplan.metrics.regression import abstention, calibration, summarise
from isoplan.mosaic import ngff, tiles
from isoplan.mosaic.facts import Facts
from isoplan.mosaic.measure import measure
from isoplan.mosaic.reader import open_row
from isoplan.optics.exposure import Exposure
from isoplan.optics.psf import make_psf_model
from isoplan.psf_map.fill import fill_invalid
from isoplan.psf_map.layout import ALARM, FILLED, USABLE, VALIDITY, MapLayout, channels
from isoplan.report import plots, verdict
from isoplan.report.page import write_report
from isoplan.report.results import TABLES, read_study
from isoplan.report.sections import in_order
from isoplan.restoration import trust
from isoplan.restoration.choosing import choose
from isoplan.simulation import Simulation
from isoplan.training.loop import history_header
from isoplan.training.psf_regression import PsfRegression
from skimage import data

STRIDE_PX = 32
PIXEL_UM = 0.325
OFFSET = 100.0
COLUMNS = {table.name: table.columns for table in TABLES}


def write_page(
    folder: Path, *, out: Path | None = None, more=(), drawn: bool = True, **settings
) -> str:
    """Writes a study's report as the pipeline does; its text.

    more: sections beside the report's own. drawn: without, figures are empty, where words alone are looked at.
    """
    out, sections = out or folder / "report.html", in_order(more)
    study = read_study(folder, [table for section in sections for table in section.tables])
    empty = patch.object(plots, "render_all", lambda draw, kinds: dict.fromkeys(kinds, b""))
    with nullcontext() if drawn else empty:
        write_report(study, sections, out, **{"title": "Study", "crop_px": 64, **settings})
    return out.read_text()


def figures_of(study) -> dict:
    """Section key -> its figures."""
    sections = {s.key: [f for part in s.parts(study) for f in part.figures] for s in in_order()}
    scores = [score for s in in_order() if (score := s.score(study))]
    return sections | {"scores": [figure for score in scores for figure in score.figures]}


def draw(figures) -> None:
    for figure in figures:
        assert plots.render(figure.draw)


def judge(study):
    return verdict.rank(study, in_order())


def write_config(folder: Path, config: dict) -> dict:
    """A study's config.yaml as it is after a run; the config with every default filled in."""
    folder.mkdir(parents=True, exist_ok=True)
    config = validate(config)
    (folder / "config.yaml").write_text(yaml.safe_dump(all_that_counts(config), sort_keys=False))
    return config


def build_study(folder: Path, *, size_px: int = 512, gain: float = 1.0) -> Path:
    """Writes a study with a simulated mosaic, one without truth and one refused.

    gain: 1 lets the estimated map help; below 0 it does harm.
    """
    shape = size_px, size_px * 3 // 4
    config = write_config(
        folder,
        {
            "study": "demo",
            "psfs": [{"name": "gauss", "width_px": [1.5, 9]}],
            "networks": [{"name": "net-small", "psf": "gauss"}],
            "test_sets": [{"name": "validation", "psf": "gauss"}],
            "tests": [{"network": "net-small", "test_set": "validation"}],
            "simulations": [
                {
                    "mosaic": "tissue",
                    "psf": "gauss",
                    "size_px": shape,
                    "pixel_size_um": PIXEL_UM,
                    "pictures": ["ihc.png"],
                    "field": [
                        {"parameter": "width_y", "shape": "tilt-y", "low": 2, "high": 8},
                        {"parameter": "width_x", "shape": "tilt-x", "low": 2, "high": 8},
                    ],
                }
            ],
            "mosaics": "mosaics.tsv",
            "map": {"stride_px": STRIDE_PX, "smoothing": "none"},
        },
    )
    rng = np.random.default_rng(0)
    model = make_psf_model(config["psfs"][0])
    scene = Simulation(
        *(config["simulations"][0], model, entry(config, "cameras", "field"), "mask-blur", 1)
    )
    window = 0, shape[0], 0, shape[1]
    truth, observed = scene.truth(*window), scene.observed(*window, 0) - OFFSET
    error = truth - observed
    # Where there was little blur the restoration's noise makes cells worse.
    noise = rng.normal(0, 0.5 * error.std(), shape)
    shares = {"constant": 0.25 * gain, "estimated": 0.45 * gain, "oracle": 0.55}
    restored = {name: observed + part * error + noise for name, part in shares.items()}
    pictures = {"none": observed, **restored, "truth": truth}
    write_picture(folder / "simulated/tissue/observed.ome.zarr", observed + OFFSET)
    write_picture(folder / "simulated/tissue/truth.ome.zarr", truth)
    layout = MapLayout(shape, 128, STRIDE_PX, "valid")
    true = scene.field.at(layout.centres_px(0), layout.centres_px(1)).numpy()
    true = np.moveaxis(true, -1, 0)
    bad = np.zeros(layout.cells, bool)
    bad[-4:, :5] = True
    _write_map(folder, "tissue", "net-small", model, true + rng.normal(0, 0.3, true.shape), bad)
    _write_map(folder, "tissue", "true", model, true)
    for method, picture in restored.items():
        write_picture(folder / f"restored/tissue/{method}.ome.zarr", picture)
    write_trust(folder / "restored/tissue/estimated.ome.zarr", bad)
    _write_facts(folder, "tissue", folder / "simulated/tissue/observed.ome.zarr", OFFSET)

    plain = data.retina().mean(2)[::4, ::4][: size_px // 2, : size_px // 2].astype(np.float32)
    write_picture(folder / "data/retina.ome.zarr", plain)
    write_picture(folder / "restored/retina/estimated.ome.zarr", 1.2 * plain)
    cells = [tiles.cell_grid(side, STRIDE_PX) for side in plain.shape]
    bad = np.zeros(cells, bool)
    bad[0, 0] = bad[-1, -1] = True
    values = np.full((2, *cells), 4.0) + rng.normal(0, 0.2, (2, *cells))
    _write_map(folder, "retina", "net-small", model, values, bad)
    _write_facts(
        folder, "retina", folder / "data/retina.ome.zarr", 0.0, "RGB was brought to luminance"
    )
    (folder / "accepted.tsv").write_text("mosaic\tpath\nretina\tdata/retina.ome.zarr\n")
    reason = "the file is cut short: 3 of 12 strips are missing"
    refused = pd.DataFrame({"mosaic": ["slide-7"], "path": "data/slide-7.tif", "reason": reason})
    refused.to_csv(folder / "refused.csv", index=False)

    _write_metrics(
        folder, {"tissue": pictures, "retina": {"none": plain, "estimated": 1.2 * plain}}
    )
    judged = _judge(config, config["tests"][0], 0, rng, 0.05)
    flag = judged["regression"][0] | {"low": 0.9, "high": 1.0}
    for parameter, metric, value in (
        ("validity", "accuracy", 0.98),
        ("alarm", "false-alarms", 0.02),
        ("alarm", "found", 0.91),
    ):
        row = {"parameter": parameter, "metric": metric, "value": value}
        judged["regression"].append(flag | row)
    for name, rows in judged.items():
        write_table(folder, f"{name}.csv", rows)
    _write_network(folder, rng, config)
    _write_choices(folder, config)
    for job, seconds, peak in (
        ("train_network/net-small", 254.1, 1310.0),
        ("measure_mosaic/tissue", 6.0, 602.0),
        ("map_psf/tissue/net-small/0", 12.4, 702.0),
        ("restore_mosaic/tissue/estimated/0", 41.7, 911.0),
    ):
        write_benchmark(folder, job, seconds, peak)
    return folder


def build_regression_only(folder: Path) -> Path:
    """A study that trains networks and restores nothing, of the time before intervals and configs."""
    folder.mkdir(parents=True, exist_ok=True)
    about = {"psf_model": "gaussian-2", "train_set": "syn", "test_set": "nat", "n": 2000}
    rows = [
        {"network": network, **about, "degradation": "poisson", "level": level}
        | {"parameter": parameter, "metric": metric, "value": value}
        for network, r2 in (("one-pass", 0.94), ("resnet34", 0.81))
        for level in range(4)
        for parameter in ("width_x", "width_y")
        for metric, value in (("R2", r2 - 0.12 * level), ("RMSE", 0.3 + 0.2 * level))
    ]
    write_table(folder, "regression.csv", rows)
    (folder / "config.yaml").write_text("study: regression\n")
    return folder


ARCHITECTURES = {
    "ours": {"architecture": "isoplan"},
    "rn34": {"architecture": "resnet34"},
    "pre": {"architecture": "resnet34", "pretrained": "imagenet.safetensors"},
    "fit": {"architecture": "spectrum-fit"},
}
SKILL = {"ours": 1.0, "rn34": 2.2, "pre": 1.8, "fit": 9.0}
TYPES = {"scenes": ["mixtures"], "nat": ["pictures"], "micr-syn-poi": ["syn", "poi"]}
TYPES |= {"syn": ["syn"], "poi": ["poi"]}
CAMERAS = [
    {"name": "noisy", "photons": [1, 1e6]},
    {"name": "faint", "photons": [9, 99], "read_noise_e": [0, 1]},
    {"name": "clean", "photons": [1e9, 1e9], "read_noise_e": [0, 0]},
]


class NetworkStudy:
    """A study of networks alone, which grows test by test."""

    def __init__(self, folder: Path, published: str | None):
        self.folder, self.published = folder, published
        self.networks, self.psfs, self.test_sets, self.lost = {}, {}, {}, {}

    def network(self, kind: str, model: str, form: str, train: str, **more) -> str:
        """Adds a network (and its PSF model); its name."""
        name = "-".join([kind, model, form, train, *map(str, more.values())])
        psf = {"name": f"{model}-{form}", "model": model, "form": form}
        self.psfs[psf["name"]] = psf
        entry = {"name": name, "psf": psf["name"], "objects": train, "camera": "noisy"}
        self.networks[name] = entry | ARCHITECTURES[kind] | more
        return name

    def test(self, name: str, test: str, lost: float, degradation: str = "none", level=0) -> None:
        """Judges a network on a type of pictures, where it leaves 1 - R2 = `lost` unexplained."""
        psf = self.networks[name]["psf"]
        test_set = {"name": f"{test}-{psf}", "psf": psf, "objects": test, "camera": "noisy"}
        self.test_sets[test_set["name"]] = test_set
        self.lost.setdefault((name, test_set["name"], degradation), {})[level] = lost

    def write(self) -> Path:
        """Writes config and tables; the folder."""
        lists = {"psfs": self.psfs, "networks": self.networks, "test_sets": self.test_sets}
        tests = [
            {"network": network, "test_set": test, "degradation": what, "strengths": [*levels]}
            for (network, test, what), levels in self.lost.items()
        ]
        config = {
            "study": self.folder.name,
            "report": {"published": self.published},
            **{key: [*entries.values()] for key, entries in lists.items()},
            "cameras": CAMERAS,
            "tests": tests,
            "simulations": [],
            "mosaics": None,
            "objects": [{"name": name, "kinds": kinds} for name, kinds in TYPES.items()],
        }
        config = write_config(self.folder, config)
        rng = np.random.default_rng(1)
        judged = [
            _judge(config, test, level, rng, self.lost[tuple([*test.values()][:3])][level])
            for test in config["tests"]
            for level in test["strengths"]
        ]
        for name in ("regression", "calibration", "abstention"):
            rows = [row for one in judged for row in one.get(name, [])]
            write_table(self.folder, f"{name}.csv", rows)
        return self.folder


def build_table_2_3(folder: Path, models, types) -> Path:
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


def build_table_2_4(folder: Path, types) -> Path:
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
                    pull *= 12 if camera == "clean" else 1
                    for level in (0.1, 0.2, 0.3, 0.5, 0.7, 1.0):
                        lost = hard * SKILL[kind] * (1 + pull * level)
                        study.test(name, "nat", lost, what, level)
    return study.write()


def build_learning_curve(folder: Path) -> Path:
    """Networks that differ in the number of samples and in width alone."""
    study = NetworkStudy(folder, None)
    study.test(study.network("fit", "zernike-2", "isoplan", "scenes"), "scenes", 0.3)
    for kind, width in (("ours", 32), ("ours", 64), ("ours", 128), ("rn34", 128)):
        for samples in (4000, 16000, 64000, 256000):
            more = {"samples": samples} | ({"width": width} if kind == "ours" else {})
            name = study.network(kind, "zernike-2", "isoplan", "scenes", **more)
            lost = SKILL[kind] * (40 / width) ** 0.3 * (400 / samples) ** 0.5
            study.test(name, "scenes", lost)
            size = width**2 * 70 if kind == "ours" else 21_000_000
            write_card(folder, name, samples=samples - 200, parameters=size)
    return study.write()


# Parts -----------------------------------------------------------------------------------------


def write_table(folder: Path, name: str, rows: list[dict]) -> None:
    """A CSV of a study with all columns that the report asks for."""
    table = pd.DataFrame(rows)
    assert set(COLUMNS[name]) <= set(table)
    table.to_csv(folder / name, index=False)


def write_card(folder: Path, name: str, **card) -> None:
    """The card of a trained network."""
    path = folder / "networks" / name / "card.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(card))


def write_benchmark(folder: Path, job: str, seconds: float, peak_mb: float) -> None:
    """What Snakemake leaves of one job."""
    path = folder / f"benchmarks/{job}.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"s\th:m:s\tmax_rss\tmean_load\n{seconds}\t0:00:00\t{peak_mb}\t98.0\n")


def write_picture(path: Path, picture: np.ndarray, levels: int = 2) -> None:
    shape = picture.shape
    about = {"dtype": "float32", "pixel_size_um": PIXEL_UM, "levels": levels, "attributes": {}}
    ngff.create_image(path, shape, **about)
    ngff.write_shards(ngff.open_array(path, "0", "r+"), tiles.shards(shape, max(shape))[0], picture)
    ngff.build_pyramid(path)


def write_trust(
    store: Path, bad: np.ndarray, disagrees=np.s_[2:4, 3:6], noise: bool = True
) -> None:
    """A map of trust: cells that disagree with the data, and some dead pixels; noise: is known."""
    values = {name: np.zeros(bad.shape) for name in trust.NAMES}
    values["chi_square"] += 0.94 if noise else np.nan
    values["correlation"] -= 0.05
    values["chi_square"][disagrees], values["correlation"][disagrees] = 2.4, 0.4
    values["doubt"][bad] = trust.NO_PSF
    values["doubt"][disagrees] += trust.DISAGREES
    values["lone_pixels"][0] = 9
    sides = dict(zip(("height_px", "width_px"), np.multiply(bad.shape, STRIDE_PX), strict=True))
    settings = {"trust_px": STRIDE_PX, "core_px": 1024}
    trust.create_trust(store, settings, sides | {"pixel_size_um": PIXEL_UM}, {})
    _write_cells(store / trust.TRUST, ["0"], np.stack([*values.values()]))


def keep_channels(store: Path, names, **attributes) -> None:
    """Makes a map one of fewer channels, as older ones are."""
    made = ngff.read_attributes(store)
    kept = [k for k, channel in enumerate(made["channels"]) if channel["name"] in names]
    cells = ngff.open_array(store)[:][kept]
    _create_map(store, [made["channels"][k] for k in kept], cells.shape[1:], made | attributes)
    _write_cells(store, ["0", ngff.RAW], cells)


def _create_map(store: Path, named: list[dict], shape_cells, attributes: dict) -> None:
    about = {"stride_px": STRIDE_PX, "pixel_size_um": PIXEL_UM, "attributes": attributes}
    ngff.create_map(store, named, shape_cells, **about)


def _write_cells(store: Path, names: list[str], cells: np.ndarray) -> None:
    for name in names:
        ngff.write_shards(ngff.open_array(store, name, "r+"), (slice(None),) * 3, cells)


def _write_map(folder: Path, mosaic: str, network: str, model, values, bad=None) -> None:
    """Parameters (P, y, x) of a map; of the true one alone nothing is doubtful.

    Half-widths grow with the blur, one is wide enough to be called uncertain; the alarm is raised in a corner.
    """
    raw = np.zeros((len(channels(model)), *values.shape[1:]), np.float32)
    raw[: len(values)] = values
    raw[[VALIDITY, USABLE]] = 1
    names = ["0", ngff.RAW]
    if bad is not None:
        half = raw[len(values) : 2 * len(values)]
        half[:] = 0.3 + 0.08 * values
        half[:, 1, 1] = 3.0
        raw[ALARM] = 0.03
        raw[ALARM, :2, -3:] = 0.9
        raw[USABLE, -2:, :4] = 0.6
        raw[VALIDITY] = np.where(bad, 0.1, 0.97)
        names = [ngff.RAW]
    store = folder / f"psf_map/{mosaic}/{network}.zarr"
    about = {"mosaic": mosaic, "network": network, "psf": model.spec, "window_px": 128}
    _create_map(store, channels(model), values.shape[1:], about)
    _write_cells(store, names, raw)
    if bad is not None:
        how = {"threshold": 0.5, "alarm_threshold": 0.5, "neighbours": 4}
        _write_cells(store, ["0"], fill_invalid(raw, model, **how))


def lose_map(store: Path) -> None:
    """No window of it could be read."""
    for name in ("0", ngff.RAW):
        cells = ngff.open_array(store, name)[:]
        cells[:4], cells[VALIDITY], cells[FILLED] = np.nan, 0, 1
        _write_cells(store, [name], cells)


def _write_facts(folder: Path, mosaic: str, picture: Path, offset: float, *notes: str) -> None:
    row = {"mosaic": mosaic, "path": str(picture), "pixel_size_um": PIXEL_UM}
    with open_row(row) as opened:
        facts = row | measure(opened, offset=offset) | {"notes": notes}
    facts |= {"gain": 2.0, "offset": offset, "read_noise_e": 2.0, "ground": False}
    (folder / "mosaics").mkdir(exist_ok=True)
    (folder / f"mosaics/{mosaic}.json").write_text(json.dumps(facts))


def _write_metrics(folder: Path, mosaics: dict[str, dict]) -> None:
    """metrics.csv and cells.csv, of mosaic -> method -> picture (counts above the offset)."""
    rows, cells = [], []
    for mosaic, pictures in mosaics.items():
        readers = {name: _reader(picture) for name, picture in pictures.items()}
        shape = pictures["none"].shape
        grid = tuple(slice(0, tiles.cell_grid(side, STRIDE_PX)) for side in shape)
        scale = Facts.read(folder / f"mosaics/{mosaic}.json").brightness["scale"]
        how = {"scale": scale, "cell_px": STRIDE_PX}
        sums = evaluate_unit(readers, readers.get("truth"), shape, grid, **how)
        found, gains = metrics_and_gains(by_picture(sums, list(pictures)))
        about = {"study": "demo", "mosaic": mosaic}
        settings = {"network": "net-small", "iterations": 20, "tv_weight": 0.1}
        tidy = [
            {"method": method, "metric": metric, "value": value}
            for method, values in found.items()
            for metric, value in values.items()
        ]
        tidy += compare({m: v for m, v in found.items() if m != "truth"}, gains)
        rows += [about | row | settings for row in tidy]
        for method in set(pictures) - {"none", "truth"}:
            if gains[method] is not None:
                where = [
                    {"cell_y": y, "cell_x": x, "snr_gain_db": gain}
                    for (y, x), gain in np.ndenumerate(gains[method])
                ]
                cells += [{"mosaic": mosaic, "method": method} | cell for cell in where]
    write_table(folder, "metrics.csv", rows)
    write_table(folder, "cells.csv", cells)


def _reader(picture: np.ndarray):
    return lambda y0, y1, x0, x1: picture[y0:y1, x0:x1]


def _judge(config: dict, test: dict, level: float, rng, lost: float) -> dict[str, list[dict]]:
    """What the judge of networks says of 200 patches of 50 scenes, on which one is as sure as it is right."""
    network = entry(config, "networks", test["network"])
    psf = entry(config, "psfs", network["psf"])
    known = make_psf_model(psf).parameters
    low, high = np.transpose([(p.low, p.high) for p in known])
    true = rng.uniform(low, high, (200, len(known)))
    deviation = rng.uniform(0.5, 1.4, true.shape) * true.std(0) * lost**0.5
    found = true + deviation * rng.standard_normal(true.shape)
    half, photons, scene = 1.645 * deviation, 10 ** rng.uniform(2, 5, 200), np.arange(200) // 4
    about = {"network": test["network"], "test_set": test["test_set"]}
    more = {"psf_model": psf["model"], "train_set": network["objects"], "level": level}
    more |= {"degradation": test["degradation"]}
    named = {
        "regression": [more | row for row in summarise(true, found, None, known, scene)],
        "calibration": calibration(true, found, half, photons, known),
        "abstention": abstention(true, found, half, known),
        "predictions": [
            {"parameter": parameter.name, "true": true[n, k], "estimated": found[n, k]}
            | {"half_width": half[n, k], "photons": photons[n], "valid": 1}
            for k, parameter in enumerate(known)
            for n in range(len(true))
        ],
    }
    kept = list(named) if test["degradation"] == "none" else ["regression"]
    return {name: [about | row for row in named[name]] for name in kept}


def _write_network(folder: Path, rng, config: dict) -> None:
    epochs = np.arange(1, 13)
    train = 0.05 + 0.6 * np.exp(-epochs / 3)
    loss = train * (1.05 + 0.05 * rng.random(12))
    best = loss == np.minimum.accumulate(loss)
    counted = [epochs, epochs * 100, epochs * 6400, epochs * 21.0, 1e-3 * np.cos(epochs / 8) ** 2]
    columns = [*counted, train, loss, 1 - loss, best]
    write_card(folder, "net-small", parameters=412_000, psf=config["psfs"][0])
    header = history_header(PsfRegression)
    history = pd.DataFrame(dict(zip(header, columns, strict=True)))
    history.to_csv(folder / "networks/net-small/history.csv", index=False)


def _write_choices(folder: Path, config: dict) -> None:
    """Of one mosaic: a method judged by held-out photons and one that could not be."""
    how = {"start": 1.0, "scale": 1.0, "seed": 1, "stream": "held-out/tissue"}
    left = choose([], config["restoration"], exposure=Exposure(gain=None), **how)
    iterations = np.arange(1, 41)
    curves = [
        {
            "tv_weight": weight,
            "iterations": iterations.tolist(),
            "error": (1 + (np.log(iterations / best) / 20) ** 2 + height).tolist(),
        }
        for weight, best, height in ((0.001, 6, 0.004), (0.003, 12, 0), (0.01, 20, 0.009))
    ]
    widths = [
        {"psf_scale": scale, "width_px": 5.0 * scale, "worse": worse}
        for scale, worse in ((1, 3.2), (0.85, 0.0), (0.7, 1.4), (0.55, 8.1))
    ]
    told = {"iterations": 12, "tv_weight": 0.003, "reason": "judged", "photons": 1200.0}
    told |= {"psf_scale": 0.82, "resolution_px": 0.9, "curves": curves, "widths": widths}
    told["ends"] = {
        "iterations": "12 iterations are the most that are tried",
        "psf_scale": "PSFs 0.82 times as wide are the narrowest that were tried",
    }
    assert set(told) <= set(left)
    for method, choice in (("estimated", left | told), ("constant", left)):
        path = folder / f"choices/tissue/{method}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(choice))
