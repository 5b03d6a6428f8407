"""A study of a user's own sequences: as the function makes them, with a lost unit, and one that cannot be used."""

import json
import subprocess
import sys

import isoplan
import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr
from checkout import CHECKED, Checkout, planned
from isoplan.applications.fluctuation.simulator import Settings, simulate

pytestmark = pytest.mark.slow

STUDY = """
study: mini-sequences
networks:
  - {name: released, weights: released}
test_sets: []
tests: []
simulations: []
mosaics: null
jobs_per_mosaic: 2
resources: {threads: 1}
sequences:
  - {name: seen, path: seen.ome.tif, channel: 1, psf_fwhm_nm: 259, pixel_size_um: 0.1, offset: 100, factor: 2, halves: true}
  - {name: still, path: still.tif, na: 1.4, wavelength_um: 0.7107, pixel_size_um: 0.1, offset: 100, gain: 2.17, read_noise_e: 1.6}
"""
# Two squares, one for each job.
SEEN = Settings(shape=(16, 96), frames=120, flicker=0.05)
STILL = Settings(shape=(24, 24), frames=100, off_frames=0.0, bleaching_frames=1e9)


def write(path, counts):
    tifffile.imwrite(path, counts, imagej=True, metadata={"axes": "TYX"})


def test_a_whole_study(tmp_path):
    checkout = Checkout.make(tmp_path / "isoplan", "mini-sequences.yaml", STUDY)
    folder, results = checkout.folder, checkout.results
    seen, still = (simulate(settings, 0).counts for settings in (SEEN, STILL))
    both = np.stack([seen // 2, seen], axis=1)
    tifffile.imwrite(folder / "seen.ome.tif", both, metadata={"axes": "TCYX"}, compression="zlib")
    write(folder / "still.tif", still)
    made = planned(checkout.run())
    assert made["look_sequence"] == made["superresolve_sequence"] == 4

    # Bit for bit as by the function.
    known = {"pixel_size_um": 0.1, "offset": 100, "quiet": True}
    optics = {"na": 1.4, "wavelength_um": 0.7107, "gain": 2.17, "read_noise_e": 1.6}
    wanted = {
        "seen": isoplan.superresolve(seen, psf_fwhm_nm=259, factor=2, halves=True, **known),
        "still": isoplan.superresolve(still, **optics, **known),
    }
    table = pd.read_csv(results / "sequences.csv").set_index(["sequence", "fact"])["value"]
    for name, one in wanted.items():
        store = zarr.open_group(results / f"sequences/{name}.ome.zarr", mode="r")
        np.testing.assert_array_equal(store["0"][:], one.picture)
        assert store.attrs["isoplan"]["superresolved"] is one.information.enough is (name == "seen")
        beside = results / "sequences" / name
        for picture in ("mean", "background", "deconvolved"):
            stored = tifffile.imread(beside / f"{picture}.tif")
            np.testing.assert_array_equal(stored, getattr(one, picture))
        stored = tifffile.imread(beside / "information.tif")
        np.testing.assert_array_equal(stored, one.information.map)
        told = json.loads((beside / "facts.json").read_text())
        assert [*told["notes"], *told["words"]][-len(one.notes) :] == list(one.notes)
        assert float(table[name, "kappa_e"]) == pytest.approx(one.information.kappa)
        assert not list(beside.glob(".*"))  # frames that were copied are gone
    assert any("flickers" in note for note in wanted["seen"].notes)
    for name, (half, _) in zip(("first", "second"), wanted["seen"].halves, strict=True):
        stored = tifffile.imread(results / f"sequences/seen/{name}_half.tif")
        np.testing.assert_array_equal(stored, half)
    page = (results / "report.html").read_text()
    assert "1 of 2 sequences super-resolved" in page
    assert "Sequence still: NOT super-resolved" in page and "Sequence seen: NOT" not in page
    assert (results / "figures/sequence_seen.png").is_file()

    # Damaged units are found and made again alone; where they come out as they were, what was made of them stays.
    lost = {"still/evidence/0.npy": "unit 0 of 1", "seen/blocks/1.npy": "unit 1 of 2"}
    files = sorted((results / "sequences").glob("*/*/*.npy"))
    before = {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in files}
    torn = [results / "sequences" / name for name in lost]
    for file in torn:
        file.write_bytes(b"torn")
    done = subprocess.run(
        [sys.executable, "workflow/resume.py", checkout.study, "--cores", "2"],
        cwd=folder,
        env=CHECKED,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = done.stdout
    assert done.returncode == 0, said[-6000:]
    for name, units in lost.items():
        assert f"sequences/{name.rpartition('/')[0]}, {units}" in said
    for words, times in (("Looks what", 1), ("Makes s", 1), ("Makes seen", 1), ("Puts s", 1)):
        assert said.count(words) == times, words
    for file, (time, content) in before.items():
        assert file.read_bytes() == content
        assert (file.stat().st_mtime_ns == time) == (file not in torn)

    # Other frames are noticed; what cannot be used says so by its name, and leaves the other as it is.
    tifffile.imwrite(folder / "still.tif", still[0])
    code, said = checkout.try_("--keep-going")
    assert code != 0 and "ERROR sequence still: still.tif: is one picture" in said
    assert "Traceback" not in said and planned(said)["measure_sequence"] == 1
    assert "look_sequence" not in said.split("rule measure_sequence")[1].split("ERROR")[0]
