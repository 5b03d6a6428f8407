"""A study of identification alone: a fit that learns, tests, the report, and a lost unit; then a mosaic that is mapped by single modes."""

import numpy as np
import pandas as pd
import pytest
import zarr
from checkout import Checkout, planned
from isoplan.cli.arguments import main

pytestmark = pytest.mark.slow

STUDY = """
study: mini-identification
map: {window_px: 128}
psfs:
  - {name: kernels, model: zernike-8, form: published, size_px: 33, cutoff: 0.2, modes_waves: [-0.1, 0.1]}
objects:
  - {name: scenes, kinds: [syn, filaments, dead-leaves]}
networks:
  - {name: fit, psf: kernels, architecture: whittle-fit, samples: 16, epoch_samples: 16, batch: 16, passes: 2, scenes: 32, fresh_scenes: 0, validation_samples: 16}
test_sets: []
tests: []
simulations: []
mosaics: null
kernel_networks:
  - {name: coder, psf: kernels, width: 2, levels: 4, patch_px: 64, samples: 16, epoch_samples: 16, batch: 8}
identification_tests:
  - {name: t, network: fit, psf: kernels, samples: 10, size_px: 128, known: [given], kernel_networks: [coder]}
jobs_per_mosaic: 2
resources: {threads: 1}
"""
MOSAIC = """
simulations:
  - mosaic: drawn
    psf: kernels
    size_px: [256, 320]
    field:
      - {parameter: focus, low: 0.05}
      - {parameter: astigmatism_45, low: 0}
      - {parameter: astigmatism_0, low: 0.03}
      - {parameter: coma_y, shape: tilt-x, low: 0.09, high: 0.05}
      - {parameter: coma_x, low: -0.05}
      - {parameter: trefoil_y, low: 0}
      - {parameter: trefoil_x, low: 0.02}
      - {parameter: spherical, low: 0.04}
restoration: {methods: [estimated, none], iterations: 5, tv_weight: 0.001, psf_scale: 1, psf_shape: map, core_px: 512}
"""


def test_a_whole_study(tmp_path):
    checkout = Checkout.make(tmp_path / "isoplan", "mini-identification.yaml", STUDY)
    results = checkout.results
    made = planned(checkout.run())
    assert made["train_network"] == 1 and made["score_identification"] == 2
    rows = pd.read_csv(results / "identification.csv")
    assert made["train_kernels"] == 1 and set(rows["method"]) > {"fit", "coder", "mean"}
    assert len(rows) == 10 * 6 and rows["psnr"].notna().all()
    page = (results / "report.html").read_text()
    assert "Kernels identified from single pictures" in page and "With a peak of 1" in page
    assert (results / "figures/kernels_t.png").is_file()

    # As `make resume` does where a unit was damaged: it is made again, and what is left is not. A mosaic is new: the fit maps it,
    # and its map restores it; signs are in line, and the report compares with the truth.
    kept, torn = (results / f"identification_tests/t/scores/{unit}.npy" for unit in (1, 0))
    before = kept.stat().st_mtime_ns
    torn.write_bytes(b"torn")
    for file in ("stages/identification_tests/t/score.0.done", "identification.csv"):
        (results / file).unlink()
    text = STUDY.replace("simulations: []\n", "").replace("mosaics: null\n", "") + MOSAIC
    (checkout.folder / "mini-identification.yaml").write_text(text)
    made = planned(checkout.run())
    assert made["score_identification"] == made["tabulate_identification"] == 1
    assert kept.stat().st_mtime_ns == before and "train_network" not in made
    again = pd.read_csv(results / "identification.csv").drop(columns="seconds")
    pd.testing.assert_frame_equal(again, rows.drop(columns="seconds"))
    cells = zarr.open_group(results / "psf_map/drawn/fit.zarr", mode="r")
    names = [channel["name"] for channel in cells.attrs["isoplan"]["channels"]]
    found = dict(zip(names, cells["0"][:], strict=True))
    assert {"coma_y", "spherical_uncertainty", "mirror"} < set(found)
    assert np.isfinite(found["coma_y"]).all() and (found["mirror"] >= 0.5).all()
    errors = pd.read_csv(results / "map_errors.csv")
    assert set(errors[errors["parameter"] == "mirror"]["metric"]) == {"accuracy"}
    page = (results / "report.html").read_text()
    assert "Coma along y" in page and "Spherical aberration" in page
    assert (results / "figures/map_drawn_coma_y_difference.png").is_file()

    # And a picture.
    file = results / "networks/fit/network.safetensors"
    out = checkout.folder / "map"
    asked = ["map", "scikit-image:coins.png", "--network", str(file), "--na", "0.5"]
    asked += ["--wavelength-um", "0.5", "--pixel-size-um", "0.2", "-o", str(out)]
    assert main(asked) == 0
    channels = zarr.open_group(f"{out}.ome.zarr", mode="r").attrs["isoplan"]["channels"]
    assert "trefoil_x" in [channel["name"] for channel in channels]
