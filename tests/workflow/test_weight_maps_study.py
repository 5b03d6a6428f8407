"""A study of maps of weights alone: networks that learn and one that is given, a test, the report, and a lost unit; then mosaics
that are restored with the network that was trained."""

import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr
from checkout import Checkout, planned
from isoplan.cli.arguments import main
from scipy.ndimage import gaussian_filter

pytestmark = pytest.mark.slow

NONE = """
study: mini-weights
psfs:
  - {name: gaussian-2, size_px: 31, width_px: [0.5, 4]}
networks:
  - {name: released, weights: released}
test_sets: []
tests: []
mosaics: null
jobs_per_mosaic: 2
resources: {threads: 1}
"""
STUDY = (
    NONE
    + """
simulations: []
weight_networks:
  - {name: small, samples: 160, epoch_samples: 80, patch_px: 48, iterations: 8, gradients: 4, width: 8, levels: 2}
weight_tests:
  - {name: t, samples: 3, size_px: 48, iterations: 8, photons: [200, 2000], methods: [one, best, chosen], networks: [small]}
"""
)
MOSAICS = (
    NONE.replace("mini-weights", "mini-weights-mosaics").replace(
        "mosaics: null", "mosaics: seen.tsv"
    )
    + """
simulations:
  - {mosaic: drawn, size_px: [600, 300], field: [{parameter: width_y, shape: tilt-x, low: 2, high: 3}, {parameter: width_x, low: 2}]}
weight_networks:
  - {name: own, start: released, pictures: mosaics, learns: held-out, samples: 32, epoch_samples: 16, patch_px: 48, iterations: 8, gradients: 4,
     learning_rate: 0.0001}
  - {name: pair, pictures: mosaics, references: alike, samples: 16, epoch_samples: 8, patch_px: 48, iterations: 8, gradients: 4, width: 4, levels: 2}
restoration: {methods: [oracle, none], tv_weight: learnt, weight_network: own, core_px: 512}
"""
)


def test_a_whole_study(tmp_path):
    checkout = Checkout.make(tmp_path / "isoplan", "mini-weights.yaml", STUDY)
    results = checkout.results
    made = planned(checkout.run())
    assert made["train_weights"] == 1 and made["score_weights"] == 2
    rows = pd.read_csv(results / "weight_maps.csv")
    psnr = rows.groupby("method")["psnr"].mean()
    assert psnr["best"] >= psnr["one"] > psnr["raw"]
    assert {"small", "small (its mean)", "small (stopped)", "chosen"} < set(psnr.index)
    page = (results / "report.html").read_text()
    assert "Weights of total variation that vary over the picture" in page
    assert "What the maps follow" in page and "Gain over one weight for all" in page
    assert (results / "figures/weights_t.png").is_file()

    # As `make resume` does where a unit was damaged: it is made again, and what is left is not.
    kept, torn = (results / f"weight_tests/t/scores/{unit}.npy" for unit in (1, 0))
    before = kept.stat().st_mtime_ns
    torn.write_bytes(b"torn")
    for file in ("stages/weight_tests/t/score.0.done", "weight_maps.csv"):
        (results / file).unlink()
    made = planned(checkout.run())
    assert made["score_weights"] == made["tabulate_weights"] == 1
    assert kept.stat().st_mtime_ns == before
    again = pd.read_csv(results / "weight_maps.csv").drop(columns="seconds")
    pd.testing.assert_frame_equal(again, rows.drop(columns="seconds"))

    # The released network learns on from the photons of a mosaic, and restores it. Its store tells the weights.
    # Another learns from a picture and a longer exposure of it.
    (checkout.folder / "mini-weights-mosaics.yaml").write_text(MOSAICS)
    rng = np.random.default_rng(0)
    scene = gaussian_filter(rng.random((25, 22)).repeat(12, 0).repeat(12, 1), 2)
    for name, light in (("short", 200), ("long", 20000)):
        tifffile.imwrite(
            checkout.folder / f"{name}.tif", (rng.poisson(light * scene) + 100).astype(np.uint16)
        )
    (checkout.folder / "seen.tsv").write_text(
        "mosaic\tpath\treference\tpixel_size_um\tgain\toffset\nseen\tshort.tif\tlong.tif\t0.1\t1\t100\n"
    )
    whole = Checkout(checkout.folder, "mini-weights-mosaics.yaml")
    whole.run()
    told = pd.read_csv(whole.results / "weight_networks/pair/history.csv")
    assert np.isfinite(told[["validation_loss", "validation_gain_db"]]).all(axis=None)
    history = pd.read_csv(whole.results / "weight_networks/own/history.csv")
    assert history["validation_loss"].notna().all() and history["validation_psnr"].isna().all()
    store = whole.results / "restored/drawn/oracle.ome.zarr"
    weights = zarr.open_array(store / "tv_weight/0", mode="r")[:]
    assert weights.shape == (1, 75, 38) and np.isfinite(weights).all() and (weights > 0).all()
    settings = zarr.open_group(store, mode="r").attrs["isoplan"]["restoration"]
    assert settings["tv_weight"] == "learnt" and settings["weights_sha256"]
    metrics = pd.read_csv(whole.results / "metrics.csv")
    drawn = metrics[metrics["mosaic"] == "drawn"]
    snr = drawn[drawn["metric"] == "SNR"].set_index("method")["value"]
    assert snr["oracle"] > snr["none"]
    page = (whole.results / "report.html").read_text()
    assert "learnt TV weights" in page and "How much was smoothed where" in page
    assert (whole.results / "figures/tv_weight_drawn.png").is_file()

    # And a picture.
    file = whole.results / "weight_networks/own/network.safetensors"
    out = checkout.folder / "restored.ome.zarr"
    asked = ["restore", "scikit-image:coins.png", "--tv-weight", "learnt", "--gain", "1"]
    assert main([*asked, "--force", "--weight-network", str(file), "-o", str(out)]) == 0
    assert zarr.open_array(out / "tv_weight/0", mode="r").shape == (1, 38, 48)
