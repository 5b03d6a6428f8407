"""A network as a model of bioimage.io, as that format's own library reads and runs it."""

import numpy as np
import pytest
from bioimageio.core import test_description as check_description  # no test of ours
from bioimageio.spec import load_model_description
from isoplan.base.device import pick_device
from isoplan.cli.arguments import main
from isoplan.config.entries import released
from isoplan.networks import store
from isoplan.psf_map.estimate import estimate_cells
from isoplan.psf_map.layout import at_cutoff


@pytest.mark.parametrize("name", ["gaussian-2", "zernike-1"])
def test_the_library_of_bioimage_io_runs_it(name, tmp_path, capsys):
    folder = tmp_path / "model"
    assert main(["export", name, "--out", str(folder)]) == 0
    assert f"bioimageio test {folder}/bioimageio.yaml" in capsys.readouterr().out
    summary = check_description(folder / "bioimageio.yaml")
    assert summary.status == "passed", summary.display()
    # What it gives is what the map has.
    made = load_model_description(folder / "bioimageio.yaml")
    network, model, _ = store.load(released(name))
    cutoff = folder / "cutoff.npy"
    model, _ = at_cutoff(model, np.load(cutoff).item() if cutoff.exists() else None)
    window, estimate = (np.load(folder / f"{tensor}.npy") for tensor in ("window", "estimate"))
    cells = estimate_cells(network, model, window[0, 0], window.shape[-1], pick_device("cpu"))
    names = made.outputs[0].axes[1].channel_names
    assert [*names[-3:]] == ["validity", "alarm", "other_blur"]
    np.testing.assert_allclose(estimate[0], cells[: len(names), 0, 0], rtol=1e-4, atol=1e-5)
    assert main(["export", name, "--out", str(folder)]) == 1
    assert "already exists" in capsys.readouterr().err


def test_a_file_of_another_kind_is_refused(tmp_path, capsys):
    (tmp_path / "a.safetensors").write_bytes(b"no network")
    assert main(["export", str(tmp_path / "a.safetensors"), "--out", str(tmp_path / "m")]) == 1
    assert "not a readable safetensors file" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()
