"""A PSF model and an algorithm are two files each: nothing else knows them, and nothing is told wrongly of them."""

import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from isoplan.base.errors import UserError
from isoplan.config import entries, schema
from isoplan.config.validation import validate
from isoplan.one_picture import PictureMap
from isoplan.optics.model import Parameter, PsfModel, read_range
from isoplan.optics.other_blurs import moffat
from isoplan.psf_map.layout import MapLayout, channels
from isoplan.restoration import choice_words
from isoplan.restoration.candidates import candidates
from isoplan.restoration.psfs import LocalPsfs

MOFFAT = """
order: 90
code: new_moffat:Moffat
choices:
  moffat: {says: a peak with wings, parameters: {width: moffat_width_px, exponent: moffat_exponent}}
properties:
  moffat_width_px: {type: array, range: true, items: {type: number}, unit: px, default: [1, 6], description: Widths.}
  moffat_exponent: {type: array, range: true, items: {type: number}, default: [3, 8], description: Exponents.}
"""
WIENER = """
order: 90
code: new_wiener:Wiener
choices:
  wiener: {says: a linear filter, fixed: {iterations: 1, tv_weight: 0.0}}
properties:
  noise_share: {type: number, minimum: 0, default: 0.01, description: Noise over signal.}
"""


class Moffat(PsfModel):
    plain_kinds = ("gaussian", "moffat")

    def __init__(self, spec):
        super().__init__(spec)
        self.parameters = (
            Parameter("width", "px", *read_range(spec, "moffat_width_px")),
            Parameter("exponent", "", *read_range(spec, "moffat_exponent"), size=False),
        )

    def _crop(self, params, cutoff):
        return moffat(params[:, 0], params[:, 1], self.size_px), torch.zeros(len(params))


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A house with the two families, from a file of schema and a module each."""
    for key, name, text in (("psfs", "moffat", MOFFAT), ("restoration", "wiener", WIENER)):
        folder = tmp_path / key
        folder.mkdir()
        for file in (schema.SCHEMAS / key).glob("*.yaml"):
            (folder / file.name).write_text(file.read_text())
        (folder / f"{name}.yaml").write_text(text)
    for path in schema.SCHEMAS.iterdir():
        if not (tmp_path / path.name).exists():
            (tmp_path / path.name).symlink_to(path)
    module = ModuleType("new_moffat")
    module.Moffat = Moffat
    monkeypatch.setitem(sys.modules, "new_moffat", module)
    monkeypatch.setattr(schema, "SCHEMAS", tmp_path)
    cached = (schema.schema, schema.families, schema.choices)
    for function in cached:
        function.cache_clear()
    yield
    for function in cached:
        function.cache_clear()


def test_an_algorithm_without_iterations_and_weight(house):
    settings = validate({"restoration": {"algorithm": "wiener"}})["restoration"]
    assert (settings["iterations"], settings["tv_weight"]) == (1, 0.0)
    assert not {"iterations", "tv_weight"} & {*entries.left_open(settings)}
    assert candidates(settings) == [1]
    told = entries.what_counts("restoration", settings)
    assert "noise_share" in told and not {"tv_step", "acceleration"} & {*told}
    choice = {"iterations": 1, "tv_weight": 0.0, "fixed": ["iterations", "tv_weight"]}
    choice |= {"psf_scale": 1.0, "psf_shape": "map", "resolution_px": 0.0, "reason": "so"}
    assert choice_words.describe_choice(choice) == "one step, PSFs as estimated: so"
    for key, value in (("iterations", 20), ("tv_weight", 0.01)):
        with pytest.raises(UserError, match=f"restoration.{key}: is not read by wiener; leave it"):
            validate({"restoration": {"algorithm": "wiener", key: value}})
    usual = validate({})["restoration"]
    assert usual["iterations"] == usual["tv_weight"] == "auto"


def test_a_model_with_a_parameter_without_unit(house):
    psf = validate(
        {"psfs": [{"name": "m", "model": "moffat"}], "networks": [{"name": "n", "psf": "m"}]}
    )
    model = Moffat(psf["psfs"][0])
    assert [p.span for p in model.parameters] == ["1 to 6 px", "3 to 8"]
    assert float(model.psf(torch.tensor([[2.0, 4.0]]))[0].sum()) == pytest.approx(1)
    layout = MapLayout((256, 256), 128, 64, "valid")
    cells = np.ones((len(channels(model)), *layout.cells), np.float32)
    table = PictureMap(layout, model, cells, "n", 0.5).table()
    assert {"width_px", "exponent", "width_uncertainty_px", "exponent_uncertainty"} <= {*table}
    assert not [name for name in table if name.endswith("_")]


def test_which_plain_psfs_are_of_the_maps_own_kind(house):
    psf = validate(
        {"psfs": [{"name": "m", "model": "moffat"}], "networks": [{"name": "n", "psf": "m"}]}
    )
    model = Moffat(psf["psfs"][0])
    layout = MapLayout((256, 256), 128, 64, "valid")
    cells = np.ones((len(channels(model)), *layout.cells), np.float32)
    cells[-1] = 0  # measured, each of another blur
    local = LocalPsfs(model, layout=layout, cells=cells)
    assert local.other_blur == 1
    for shape, told in (("moffat 2 3", True), ("gaussian 2", True), ("disk 3", False)):
        assert local.contradicted({"psf_shape": shape, "psf_scale": 1.0}) == told
    known = LocalPsfs(known=(torch.ones(1, 1, 3, 3), torch.zeros(1), torch.zeros(1)))
    assert not known.contradicted({"psf_shape": "map", "psf_scale": 1.0})
