"""A PSF model and an algorithm are two files each: nothing else knows them, and nothing is told wrongly of them."""

import sys
from functools import partial
from types import ModuleType, SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from isoplan.base.errors import UserError
from isoplan.config import entries, schema
from isoplan.config.validation import validate
from isoplan.one_picture import PictureMap, describe_map
from isoplan.optics.blur import SpaceVariantBlur
from isoplan.optics.exposure import Exposure
from isoplan.optics.model import Parameter, PsfModel, read_range
from isoplan.optics.other_blurs import DRAWN, draw_others, moffat
from isoplan.psf_map.layout import MapLayout, channels
from isoplan.report import choices
from isoplan.report.lineup import parameter_unit
from isoplan.report.results import Study
from isoplan.restoration import choice_words
from isoplan.restoration.candidates import candidates
from isoplan.restoration.choosing import choose
from isoplan.restoration.pieces import Piece
from isoplan.restoration.psfs import LocalPsfs
from isoplan.training import psf_card

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

    def narrowed(self, params, factor):
        return torch.stack([params[:, 0] * factor, params[:, 1]], dim=1)

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
    # Of what a table of metrics tells.
    shown = {k: v for k, v in settings.items() if k not in ("iterations", "tv_weight")}
    assert entries.left_open(shown) == entries.left_open(settings)
    for key, value in (("iterations", 20), ("tv_weight", 0.01)):
        with pytest.raises(UserError, match=f"restoration.{key}: is not read by wiener; leave it"):
            validate({"restoration": {"algorithm": "wiener", key: value}})
    # What metrics.csv tells has none of them.
    shown = {key: value for key, value in settings.items() if key not in entries.fixed(settings)}
    assert entries.left_open(shown) == ["psf_scale", "psf_shape", "resolution_px"]
    usual = validate({})["restoration"]
    assert usual["iterations"] == usual["tv_weight"] == "auto"


def test_what_cannot_be_judged_is_left_as_it_is_by_an_algorithm_without_iterations(house):
    settings = validate({"restoration": {"algorithm": "wiener"}})["restoration"]
    how = {"exposure": Exposure(0.0), "start": 1.0, "scale": 9.0, "seed": 0, "stream": "s"}
    choice = choose([], settings, **how)
    assert (choice["iterations"], choice["fixed"]) == (0, ["iterations", "tv_weight"])
    assert "give the gain if the picture is a raw one, or a psf_scale to" in choice["reason"]
    given = choose([], settings | {"psf_scale": 1.0}, **how)
    assert choice_words.describe_choice(given).startswith("one step, PSFs as estimated: ")
    usual = validate({})["restoration"]
    assert "or iterations and a TV weight to" in choose([], usual, **how)["reason"]


def test_the_report_of_an_algorithm_without_iterations_tells_of_none(house):
    study = Mock(config={"restoration": {"algorithm": "wiener"}}, mosaics=[Mock()])
    study.mosaics[0].name = "m"
    study.fixed = Study.fixed.fget(study)
    choice = {"iterations": 1, "tv_weight": 0.0, "fixed": study.fixed, "psf_scale": 0.8}
    choice |= {"psf_shape": "map", "resolution_px": 0.0, "reason": "so"}
    choice |= {"curves": [{"tv_weight": 0.0, "iterations": [1], "error": [2.0]}]}
    choice["widths"] = [{"psf_scale": f, "width_px": 3.0, "worse": 1 - f} for f in (1.0, 0.8)]
    study.choices = {"m": {"estimated": choice}}
    intro, part = choices.parts(study)
    assert intro.words[0].startswith("The PSFs were chosen") and "ring" not in intro.words[0]
    assert [figure.name for figure in part.figures] == ["narrowed_m_estimated"]
    assert not [words for words in part.items if "iteration" in words or "TV" in words]


def test_photons_held_out_judge_psfs_alone_where_there_are_no_iterations(house, monkeypatch):
    """The algorithm calls back once, and no weight but 0 is tried."""
    module, asked = ModuleType("new_wiener"), []

    class Wiener:
        most_iterations = 1

        def __init__(self, settings):
            assert settings["noise_share"] == 0.01

        def halo_px(self, psf_px, iterations, tv):
            return psf_px

        def strength(self, iterations):
            return iterations

        def restore(self, y, blur, *, tv_weight, callback=None, **how):
            asked.append(tv_weight)
            margin = blur.margin
            x = torch.nn.functional.pad(y, (margin,) * 4)
            if callback:
                callback(1, x)
            return x

    module.Wiener = Wiener
    monkeypatch.setitem(sys.modules, "new_wiener", module)
    settings = validate({"restoration": {"algorithm": "wiener"}})["restoration"]
    counts = np.random.default_rng(0).poisson(200, (96, 96)).astype(np.float32)
    pixel = torch.zeros(1, 1, 3, 3)
    pixel[..., 1, 1] = 1
    blur = SpaceVariantBlur(pixel, torch.zeros(1), torch.zeros(1), counts.shape)
    whole = tuple(slice(0, length) for length in counts.shape)
    piece = Piece(counts, lambda _: blur, whole, lambda by: 5.0 * by, doubt=0.1)
    how = {"exposure": Exposure(gain=1.0), "start": 200.0, "scale": 240.0, "seed": 0, "stream": "s"}
    choice = choose([piece], settings, **how)
    assert (choice["iterations"], choice["tv_weight"]) == (1, 0.0) and choice["ends"] == {}
    assert asked and set(asked) == {0.0}
    assert len(choice["widths"]) > 1 and "one step" in choice_words.describe_choice(choice)


def test_the_command_line_refuses_what_an_algorithm_does_not_read(house):
    from isoplan.cli.picture import _restoration_settings

    how = {"algorithm": "wiener", "order": "mask-blur", "force": True}
    how["weight_network"] = "released"
    args = SimpleNamespace(**how, **dict.fromkeys(entries.CHOSEN, "auto"))
    assert _restoration_settings(args)["iterations"] == 1
    args.iterations = 20
    with pytest.raises(UserError, match=r"restoration.iterations: is not read by wiener"):
        _restoration_settings(args)


def test_the_documentation_says_what_an_algorithm_does_not_read(house):
    known = schema.schema()["properties"]["restoration"]["properties"]
    for key in ("iterations", "tv_weight"):
        assert known[key]["description"].endswith(" wiener does not read it.")


def test_a_model_with_a_parameter_without_unit(house):
    psf = validate(
        {"psfs": [{"name": "m", "model": "moffat"}], "networks": [{"name": "n", "psf": "m"}]}
    )
    model = Moffat(psf["psfs"][0])
    assert [p.span for p in model.parameters] == ["1 to 6 px", "3 to 8"]
    field = [{"parameter": "width", "low": 2}, {"parameter": "exponent", "low": 4}]
    validate(
        {
            "psfs": [{"name": "m", "model": "moffat"}],
            "simulations": [{"mosaic": "a", "psf": "m", "field": field}],
            "networks": [{"name": "n", "psf": "m"}],
        }
    )
    assert float(model.psf(torch.tensor([[2.0, 4.0]]))[0].sum()) == pytest.approx(1)
    layout = MapLayout((256, 256), 128, 64, "valid")
    cells = np.ones((len(channels(model)), *layout.cells), np.float32)
    table = PictureMap(layout, model, cells, "n", 0.5).table()
    assert {"width_px", "exponent", "width_uncertainty_px", "exponent_uncertainty"} <= {*table}
    assert not [name for name in table if name.endswith("_")]
    told = [*describe_map(PictureMap(layout, model, cells * 0, "n", 0.5))]
    assert told[-1] == "exponent: 0 in the median cell, uncertain by 0 (90 % interval)"
    assert model.narrowed(torch.tensor([[2.0, 4.0]]), 0.5).tolist() == [[1.0, 4.0]]
    assert psf_card._error(0.25, "") == "0.25" and psf_card._error(0.25, "px") == "0.25 px"
    card = {"psf": psf["psfs"][0]}
    assert psf_card._parameters(card) == "width (px, 1 to 6) and exponent (3 to 8)"
    network = Mock(card=card)
    network.name = "n"
    study = Mock(maps={}, networks=[network])
    assert [parameter_unit(study, "n", name) for name in ("width", "exponent")] == ["px", ""]


def test_no_blur_of_the_models_own_kind_is_drawn_as_another():
    draw = partial(draw_others, torch.full((4,), 0.25), 15)
    only = draw(torch.Generator().manual_seed(0), own=tuple({*DRAWN} - {"disk"}))
    assert torch.allclose(only, only.flip(-1)) and torch.allclose(only, only.mT)
    kept = draw(torch.Generator().manual_seed(0), own=("gaussian", "moffat"))
    assert torch.equal(kept, draw(torch.Generator().manual_seed(0)))


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
