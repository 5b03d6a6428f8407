"""Restoration tests: paired pictures, the very field that degraded, gains, intervals, units that resume."""

import numpy as np
import pandas as pd
import pytest
import torch
from isoplan.base.errors import UserError
from isoplan.base.ledger import Ledger
from isoplan.cluster import unit_files
from isoplan.config.entries import entry
from isoplan.config.validation import validate
from isoplan.networks.spectrum_fit import SpectrumFit
from isoplan.optics.blur import SpaceVariantBlur
from isoplan.optics.psf import make_psf_model
from isoplan.restoration_test import fields, known, tables, units
from scipy.signal import fftconvolve
from skimage.metrics import structural_similarity

WINDOW = 96
NETWORKS = {}
METHODS = ["true-noise-free", "true", "true-grid", "best-of-model", "estimated", "estimated-all"]
METHODS += ["constant", "blind", "wiener", "unsharp"]
PSFS = [
    {"name": "gaussian-2", "size_px": 15, "width_px": [1.5, 5]},
    {"name": "narrow", "model": "gaussian-1", "size_px": 15, "width_px": [1.5, 5]},
    {"name": "focus", "model": "zernike-1", "size_px": 31, "focus_waves": [0, 0.2]},
]


def made(psf: str = "gaussian-2", detected: str = "gaussian-2", **keys) -> known.RestorationTest:
    """A test of quadrants of 96 px, every other setting the default one."""
    test = {"name": "t", "psf": psf, "samples": 5, "size_px": 192, "cell_px": 96, "stride_px": 96}
    test |= {"methods": METHODS, "network": "small"} | keys
    study = validate(
        {
            "psfs": PSFS,
            "objects": [{"name": "scenes", "kinds": ["dead-leaves", "fractals"]}],
            "cameras": [*validate({})["cameras"], {"name": "dark", "photons": [300, 300]}],
            "simulations": [],
            "networks": [{"name": "small"}],
            "map": {"window_px": WINDOW, "stride_px": 32},
            "restoration_tests": [test],
        }
    )
    named = {
        key: entry(study, section, study["restoration_tests"][0][key])
        for key, section in (("objects", "objects"), ("psf", "psfs"), ("camera", "cameras"))
    }
    keys = ("window_px", "neighbours", "validity_threshold", "alarm_threshold")
    spec = {
        "test": study["restoration_tests"][0],
        **named,
        "detected": entry(study, "psfs", detected),
        "order": "mask-blur",
        **{key: study["map"][key] for key in keys},
    }
    return known.RestorationTest(spec, seed=3)


def network(test: known.RestorationTest):
    """The network-free fit, which needs no training, and its PSF model."""
    psf = test.spec["detected"]
    if psf["name"] not in NETWORKS:  # its table takes seconds
        model = make_psf_model(psf)
        NETWORKS[psf["name"]] = (
            SpectrumFit(WINDOW, model).eval(),
            fields.detection_model(model, psf),
        )
    return NETWORKS[psf["name"]]


@pytest.fixture(scope="module")
def run() -> tuple[known.RestorationTest, np.ndarray]:
    """A whole test in hard cells, known as such: kept numbers of five pictures."""
    test = made(masks="hard")
    return test, np.concatenate(
        [test.unit(unit, *network(test)) for unit in range(units.unit_count(test.test))]
    )


# The degraded pictures ------------------------------------------------------------------------


def test_tests_that_differ_in_the_network_see_the_same_pictures():
    one, other = made().case(2), made(detected="focus", methods=["true"], samples=9).case(2)
    for name in ("sharp", "clean", "observed"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    torch.testing.assert_close(one.params, other.params)
    assert not np.array_equal(one.observed, made().case(3).observed)


def test_tests_that_differ_in_layout_share_scene_and_psfs():
    hard, smooth = made().case(1), made(layout="bilinear").case(1)
    np.testing.assert_array_equal(hard.sharp, smooth.sharp)
    torch.testing.assert_close(hard.psfs, smooth.psfs)
    assert not np.array_equal(hard.clean, smooth.clean)


def test_hard_cells_blur_each_source_by_its_own_psf():
    """Against the sum of the cells, masked and convolved one by one."""
    rng = torch.Generator().manual_seed(0)
    psfs = torch.rand(2, 2, 5, 5, generator=rng, dtype=torch.float64)
    psfs /= psfs.sum((-2, -1), keepdim=True)
    blur = SpaceVariantBlur(*fields.in_cells(psfs, 12), (24, 24))
    scene = torch.rand(28, 28, generator=rng, dtype=torch.float64)
    expected = np.zeros((24, 24))
    for j, rows in enumerate((slice(0, 14), slice(14, 28))):
        for i, columns in enumerate((slice(0, 14), slice(14, 28))):
            masked = np.zeros((28, 28))
            masked[rows, columns] = scene[rows, columns]
            expected += fftconvolve(masked, psfs[j, i].numpy(), "valid")
    np.testing.assert_allclose(blur.forward(scene).numpy(), expected, atol=1e-9)


def test_counts_are_what_the_camera_gives_above_its_offset():
    case = made().case(0)  # 10^4 photons, gain 2
    assert case.unit == pytest.approx(2e4)
    assert 0.5 < case.sharp.max() / case.unit < 1.6
    noise = (case.observed - case.clean) / np.sqrt(2 * case.clean + 4 * 4 + 1 / 12)
    assert noise.std() == pytest.approx(1, abs=0.03) and abs(noise.mean()) < 0.03


# PSFs on the map's grid -----------------------------------------------------------------------


def test_parameters_at_the_maps_nodes():
    test = made()
    test.test["stride_px"] = 48  # nodes at 48, 96 and 144 px; cells' centres at 48 and 144 px
    params = torch.tensor([[[2.0, 2.0], [4.0, 2.0]], [[2.0, 3.0], [4.0, 3.0]]])
    at = test.at_nodes(params, test.model)
    assert at.shape == (3, 3, 2)
    torch.testing.assert_close(at[::2, ::2], params)
    torch.testing.assert_close(at[1, 1], torch.tensor([3.0, 2.5]))


def test_the_nearest_psf_of_its_own_model_is_the_psf_itself():
    for name in ("gaussian-2", "focus"):
        model = made(psf=name).model
        params = model.sample(3, torch.Generator().manual_seed(1))
        found = fields.nearest_parameters(model, model.psf(params)[0])
        torch.testing.assert_close(found, params, atol=2e-3, rtol=0)


def test_psf_distance_pads_to_the_larger():
    delta, wide = torch.zeros(3, 3), torch.zeros(7, 7)
    delta[1, 1] = wide[3, 3] = 1
    assert fields.psf_distance(delta, wide) == 0
    assert float(fields.psf_distance(2 * delta, wide)) == pytest.approx(1)


def test_a_cut_off_that_the_network_does_not_serve_is_refused():
    model = make_psf_model(made(psf="focus").spec["psf"] | {"cutoff": 0.3, "cutoff_range": None})
    asked = made(psf="focus").spec["psf"] | {"cutoff": 0.15}
    with pytest.raises(UserError, match="binned pixels"):
        fields.detection_model(model, asked)


# What is gained -------------------------------------------------------------------------------


def test_gains_are_those_of_the_cropped_pictures(run):
    test, kept = run
    case = test.case(0)
    base, found = (
        case.observed / case.unit,
        test.restored(case, 0, *network(test))["true"].picture,
    )
    inner = (slice(16, -16),) * 2
    sharp, found = case.sharp[inner] / case.unit, found / case.unit

    def snr(picture):
        return 10 * np.log10((sharp**2).sum() / ((picture[inner] - sharp) ** 2).sum())

    def ssim(picture):
        _, similar = structural_similarity(
            case.sharp.astype(float) / case.unit, picture.astype(float), data_range=1, full=True,
            gaussian_weights=True, use_sample_covariance=False,
        )  # fmt: skip
        return similar[inner].mean()

    rows = tables.rows_of(test, kept[:1])
    of_true = rows[(rows["method"] == "true") & (rows["cell"] == "all")].set_index("metric")[
        "value"
    ]
    assert of_true["SNR_gain"] == pytest.approx(snr(found) - snr(base), abs=1e-4)
    assert of_true["SSIM_gain"] == pytest.approx(ssim(found) - ssim(base), abs=1e-5)
    # Cells of 96 px: a quarter, up to whole blocks of 16 px, on either side of where two meet is a seam.
    size, away = test.size_px, np.zeros((test.size_px,) * 2, bool)
    away[16 : size // 2 - 32, 16 : size // 2 - 32] = True
    away |= away[::-1]
    away = (away | away[:, ::-1])[inner]
    errors = [((picture[inner] - sharp)[away] ** 2).sum() for picture in (base, found)]
    inside = 10 * np.log10(errors[0] / errors[1])
    assert of_true["SNR_gain_inside"] == pytest.approx(inside, abs=1e-4)
    assert abs(inside - of_true["SNR_gain"]) > 1e-3


def test_known_psfs_help_and_the_rest_follows(run):
    test, kept = run
    summary = tables.summarise(tables.rows_of(test, kept))
    gains = summary[summary["metric"] == "SNR_gain"].set_index("method")
    assert gains.loc["true", "low"] > 0.2
    # Cells known as they are, of the right model: nothing is lost to the grid or the model.
    for same in ("true-grid", "best-of-model"):
        assert gains.loc[same, "mean"] == pytest.approx(gains.loc["true", "mean"], abs=2e-3)
    assert gains.loc["true", "psf_error"] == 0 < gains.loc["estimated", "psf_error"]
    assert gains.loc["true", "mean"] > gains.loc["estimated", "mean"]
    assert gains.loc["estimated", "mean"] > gains.loc["blind", "mean"]
    assert gains.loc["true", "worse_cells_share"] == 0
    assert gains.loc["estimated-all", "filled_share"] == 0
    assert gains.loc["true", "known_share"] == 1 > gains.loc["estimated", "known_share"]


def test_bilinear_masks_cost_something_in_hard_cells():
    test = made(methods=["true", "true-grid"])
    kept = test.unit(0, None, test.model)
    error = kept[:, :, known.SUMS.index("error")].sum((-2, -1))
    assert (error[:, 1] < error[:, 2]).all()


def test_another_model_has_a_nearest_psf_and_an_estimate():
    test = made(psf="focus", detected="narrow", methods=["true", "best-of-model", "estimated"])
    kept = test.unit(0, *network(test))
    error = kept[:, :, known.KEPT.index("psf_error")].mean((0, 2, 3))
    assert np.isnan(error[0]) and error[1] == 0 and 0 < error[2] <= error[3]


def test_a_picture_without_any_valid_cell_takes_its_doubtful_psfs():
    test = made(methods=["estimated", "estimated-all", "constant"])
    test.spec["validity_threshold"] = 2.0
    found = test.restored(test.case(0), 0, *network(test))
    estimated, doubtful = found["estimated"], found["estimated-all"]
    np.testing.assert_array_equal(estimated.picture, doubtful.picture)
    assert estimated.filled.all() and not doubtful.filled.any()


def test_a_picture_with_the_alarm_everywhere_stays_as_it_is():
    test = made(methods=["estimated", "constant", "wiener"])
    test.spec["alarm_threshold"] = -1.0
    case = test.case(0)
    found = test.restored(case, 0, *network(test))
    for method in test.test["methods"]:
        np.testing.assert_array_equal(found[method].picture, case.observed)
    assert found["estimated"].filled.all()


# Tables ---------------------------------------------------------------------------------------


def table(values: dict[str, list[float]], sources=None) -> pd.DataFrame:
    """Rows of SNR gains, as `rows_of` makes them."""
    what = dict.fromkeys(tables.WHAT, "x") | {"degradation": "zernike-1", "detection": "gaussian-1"}
    return pd.DataFrame(
        [
            what
            | {"method": method, "picture": k, "source": (sources or range(999))[k], "cell": "all"}
            | {"metric": "SNR_gain", "value": value}
            for method, own in values.items()
            for k, value in enumerate(own)
        ]
    )


def test_summary_means_differences_and_intervals():
    rng = np.random.default_rng(0)
    true = rng.normal(2, 0.5, 200)
    estimated = true - rng.normal(0.1, 0.05, 200)
    found = tables.summarise(table({"true": true, "estimated": estimated})).set_index("method")
    row = found.loc["estimated"]
    assert (row["n"], row["mean"]) == (200, pytest.approx(estimated.mean()))
    assert row["sd"] == pytest.approx(estimated.std(ddof=1))
    half = 1.96 * estimated.std(ddof=1) / np.sqrt(200)
    assert row["high"] - row["low"] == pytest.approx(2 * half, rel=0.1)
    # Pictures vary by 0.5 dB, the paired difference by 0.05 dB.
    paired = 1.96 * (true - estimated).std(ddof=1) / np.sqrt(200)
    assert row["minus_true"] == pytest.approx((estimated - true).mean())
    assert row["minus_true_high"] - row["minus_true_low"] == pytest.approx(2 * paired, rel=0.1)
    assert row["known_share"] == pytest.approx(estimated.mean() / true.mean())
    assert row["known_share_low"] < row["known_share"] < row["known_share_high"]
    assert found.loc["true", "minus_estimated"] == pytest.approx((true - estimated).mean())
    assert np.isnan(found.loc["estimated", "minus_estimated"])


def test_pictures_cut_from_one_real_picture_count_together():
    values = {"true": [1.0] * 50 + [3.0] * 50}
    apart = tables.summarise(table(values)).iloc[0]
    binning = tables.summarise(table(values, [0] * 50 + [1] * 50)).iloc[0]
    assert apart["high"] - apart["low"] < 0.6 and binning["high"] - binning["low"] == 2


def test_budget_follows_the_chain_that_was_run():
    values = {"true": [2.0, 2.2], "true-grid": [1.9, 2.1], "best-of-model": [1.5, 1.5]}
    values |= {"estimated": [1.4, 1.3], "constant": [0.2, 0.0]}
    rows = tables.budget(table(values))
    assert list(rows["step"]) == ["the map's grid", "wrong PSF model", "PSF estimate", "one PSF"]
    assert list(rows["loss_db"]) == pytest.approx([0.1, 0.5, 0.15, 1.25])
    same = tables.steps([*values, "estimated-all"], "gaussian-1", "gaussian-1")
    assert [end for *_, end in same] == ["true-grid", "estimated-all", "estimated", "constant"]


def test_the_median_picture():
    assert tables.median_picture(table({"true": [9, 9, 9], "estimated": [5.0, 1.0, 3.0]})) == 2


# Units ----------------------------------------------------------------------------------------


def test_units_resume_and_a_lost_one_is_told(tmp_path):
    test = made(methods=["true"])
    made_units = []

    def make(unit: int) -> np.ndarray:
        made_units.append(unit)
        return test.unit(unit, None, test.model)

    def again() -> int:
        ledger = Ledger(tmp_path / "ledger", "mark")
        return units.run_share(test.test, make, tmp_path, ledger, job=0, jobs=1, title="units")

    assert again() == units.unit_count(test.test) == 2
    whole = unit_files.load_units(tmp_path, 2)
    assert whole.shape == (5, 2, len(known.KEPT), 2, 2)
    unit_files.unit_file(tmp_path, 1).write_bytes(b"torn")
    with pytest.raises(UserError, match=r"1\.npy: cannot be read"):
        unit_files.load_units(tmp_path, 2)
    assert again() == 1 and made_units == [0, 1, 1]
    np.testing.assert_array_equal(unit_files.load_units(tmp_path, 2), whole)
