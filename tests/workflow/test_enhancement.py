"""A study of enhanced pairs alone: simulated ones and a folder's, their tables, the report, and a lost unit."""

import json

import numpy as np
import pandas as pd
import pytest
import tifffile
from checkout import Checkout, planned
from isoplan.applications.enhancement.detectors import Detector
from isoplan.applications.enhancement.unet import UNet
from isoplan.cli.arguments import main
from isoplan.mosaic import ngff
from isoplan.networks import store

pytestmark = pytest.mark.slow

NONE = """
study: mini-enhancement
networks:
  - {name: released, weights: released}
test_sets: []
tests: []
simulations: []
mosaics: null
jobs_per_mosaic: 2
resources: {threads: 1}
"""
STUDY = NONE + (
    """
enhancements:
  - {name: made, kinds: [filaments], train_mosaics: 1, test_mosaics: 2, mosaic_px: 128, field_px: 64, methods: [gaussian, wavelet-stabilised], networks: [small]}
  - {name: taken, folder: pairs, field_px: 48, test_files: [b.tif], methods: [median], gain: 2, read_noise_e: 0, networks: [given]}
enhancers:
  - {name: small, trained_on: made, width: 8, levels: 2, patch_px: 32, turns: 1, samples: 1200, epoch_samples: 400}
  - {name: given, weights: given.safetensors, width: 4, levels: 2}
enhanced_pictures:
  - {name: old, path: old.tif, second: again.tif, networks: [given, small], gain: 2, read_noise_e: 0, pixel_size_um: 0.2}
  - {name: dark, path: flat.tif, networks: [small]}
"""
)


def write(folder):
    """Two files of two slices, the target seen two px further right."""
    rng = np.random.default_rng(0)
    for name in ("a.tif", "b.tif"):
        light = rng.random((2, 110, 110))
        light = 400 * np.array(
            [np.kron(one[:14, :14], np.ones((8, 8)))[:110, :110] for one in light]
        )
        for part, shift, efficiency in (("low", 0, 0.2), ("high", 2, 0.4)):
            (folder / part).mkdir(parents=True, exist_ok=True)
            seen = [
                Detector(efficiency, gain=2.0, bits=16).expose(np.roll(one, shift, 1), rng)
                for one in light
            ]
            tifffile.imwrite(
                folder / part / name,
                np.array(seen, np.uint16)[:, :, 4:],
                imagej=True,
                metadata={"axes": "ZYX"},
            )


def test_a_whole_study(tmp_path):
    checkout = Checkout.make(tmp_path / "isoplan", "mini-enhancement.yaml", STUDY)
    write(checkout.folder / "pairs")
    given = {"architecture": "unet", "width": 4, "levels": 2, "turns": 1, "name": "elsewhere"}
    store.save(
        checkout.folder / "given.safetensors",
        UNet(width=4, levels=2),
        {"task": "enhancement", "network": given},
    )
    results = checkout.results
    rng = np.random.default_rng(1)
    light = 40 + 100 * np.kron(rng.random((40, 36)), np.ones((16, 16)))
    old = (2 * rng.poisson(light)).astype(np.uint16)
    tifffile.imwrite(checkout.folder / "old.tif", old)
    again = (2 * rng.poisson(light)).astype(np.uint16)
    tifffile.imwrite(checkout.folder / "again.tif", again)
    # Where the camera cannot be found, nothing is said of doubts.
    tifffile.imwrite(
        checkout.folder / "flat.tif", np.kron([[0, 1], [2, 3]], np.ones((32, 32), np.uint8))
    )
    made = planned(checkout.run())
    assert made["score_enhancement"] == 4 and made["train_enhancer"] == 2
    assert made["enhance_picture"] == 4 and made["tabulate_pictures"] == 1
    rows = pd.read_csv(results / "enhancement.csv")
    means = rows.groupby(["enhancement", "method", "metric"])["value"].mean()
    assert means["made", "gaussian", "PSNR"] > means["made", "raw", "PSNR"]
    assert means["made", "gaussian", "PSNR-truth"] > means["made", "raw", "PSNR-truth"] + 1
    assert means["made", "small", "PSNR"] > means["made", "raw", "PSNR"] + 1
    assert 0 <= means["made", "small", "planted-false"] < 0.2
    assert np.isfinite(means["taken", "given", "PSNR"])
    assert means["made", "truth", "PSNR"] > means["made", "wavelet-stabilised", "PSNR"]
    own = rows[rows["enhancement"] == "taken"]
    assert set(own["mosaic"]) == {"b.tif"} and not own["metric"].str.endswith("-truth").any()
    assert own["field"].nunique() == 8
    choice = json.loads((results / "enhancements/taken/choice.json").read_text())
    assert all(abs(x - 2) < 0.2 and abs(y) < 0.2 for y, x in choice["layout"]["shifts"].values())
    settings = pd.read_csv(results / "enhancement_settings.csv")
    assert settings.groupby(["enhancement", "method"])["chosen"].sum().eq(1).all()
    page = (results / "report.html").read_text()
    assert "Enhancement: a poor detector made good" in page
    assert page.count("which training fields prefer among the filters") == 2
    assert "Planted found (%)" in page
    for name in ("made", "taken"):
        assert (results / f"figures/enhancement_{name}.png").is_file()

    # Pictures of the study's own are as the command makes them.
    out = checkout.folder / "command.ome.zarr"
    asked = [
        "enhance",
        str(checkout.folder / "old.tif"),
        *(
            f"--network={results}/enhancers/{name}/network.safetensors"
            for name in ("given", "small")
        ),
        *("--second", str(checkout.folder / "again.tif")),
    ]
    assert main([*asked, "-o", str(out), "--gain", "2", "--read-noise", "0"]) == 0
    for name in ("{}.ome.zarr", "{}-doubts.ome.zarr", "{}-apart.ome.zarr"):
        own = ngff.open_array(results / "enhanced_pictures" / name.format("old"))[:]
        assert own.shape == old.shape
        np.testing.assert_array_equal(
            own, ngff.open_array(checkout.folder / name.format("command"))[:]
        )
    facts = pd.read_csv(results / "enhanced_pictures.csv").set_index(["picture", "fact"])["value"]
    assert facts["old", "gain"] == 2 and 0 <= facts["old", "doubted"] <= 1
    assert facts["old", "apart"] > 0
    assert ("dark", "doubted") not in facts.index
    assert not (results / "enhanced_pictures/dark-doubts.ome.zarr").exists()
    assert "Enhanced pictures" in page and (results / "figures/enhanced_old.png").is_file()

    # As `make resume` does where a unit was damaged: it is made again, and what is left is not.
    kept = results / "enhancements/made/scores/1.npy"
    before = kept.stat().st_mtime_ns
    torn = results / "enhancements/made/scores/0.npy"
    torn.write_bytes(b"torn")
    for file in ("stages/enhancements/made/score.0.done", "enhancement.csv"):
        (results / file).unlink()
    made = planned(checkout.run())
    assert made["score_enhancement"] == made["tabulate_enhancement"] == 1
    assert kept.stat().st_mtime_ns == before
    pd.testing.assert_frame_equal(pd.read_csv(results / "enhancement.csv"), rows)

    # A study that asks for something else has none of it.
    (checkout.folder / checkout.study).write_text(NONE + "harm_tests: [{name: other}]\n")
    made = planned(checkout.run("--dry-run"))
    assert not {rule for rule in made if "enhancement" in rule}
