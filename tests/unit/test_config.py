"""The study file: defaults from one source, and a clear word for every mistake."""

from pathlib import Path

import pytest
import yaml
from isoplan.base.errors import UserError
from isoplan.config import documentation, entries
from isoplan.config.entries import left_open, parameters
from isoplan.config.schema import choices, schema
from isoplan.config.validation import load, validate

ROOT = Path(__file__).resolve().parents[2]
TRAINED = "networks: [{name: small}]\ntest_sets: [{name: scenes}]\n"
STUDIES = sorted((ROOT / "config" / "studies").glob("*.yaml"))


def merged(study: dict) -> dict:
    """The default study with `study` merged over it, as Snakemake does: maps deep, lists whole."""

    def merge(base, over):
        for key, value in over.items():
            base[key] = (
                merge(base[key], value)
                if isinstance(value, dict) and isinstance(base.get(key), dict)
                else value
            )
        return base

    return merge(yaml.safe_load((ROOT / "config" / "config.yaml").read_text()), study)


def error_of(tmp_path: Path, text: str) -> str:
    """What the validator says of a study file with this text."""
    file = tmp_path / "study.yaml"
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        load(file)
    return str(caught.value).replace(str(tmp_path), "")


def test_written_files_agree_with_the_schema():
    assert (ROOT / "config" / "config.yaml").read_text() == documentation.config_text(), (
        "make config"
    )
    assert (ROOT / "config" / "README.md").read_text() == documentation.readme_text(), "make config"


def test_default_study_is_the_schema_s_defaults():
    assert load(ROOT / "config" / "config.yaml") == validate({})


def test_every_key_is_described():
    def walk(rule, path):
        for key, inner in rule.get("properties", {}).items():
            assert inner.get("description"), f"{path}.{key}"
            walk(inner, f"{path}.{key}")
            walk(inner.get("items", {}), f"{path}.{key}[]")

    walk(schema(), "")


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_ready_studies_are_valid_alone_and_merged(path):
    alone = load(path)
    default = ROOT / "config" / "config.yaml"
    assert validate(merged(yaml.safe_load(path.read_text())), [default, path]) == alone
    assert alone["study"] == path.stem


def test_defaults_fill_lists_and_blocks():
    resolved = validate({"networks": [{"name": "big", "samples": "1e6"}], "tests": [], "map": None})
    assert resolved["networks"][0]["samples"] == 1_000_000
    assert resolved["networks"][0]["architecture"] == "isoplan"
    assert resolved["map"]["window_px"] == 128


def test_numbers_spelt_as_yaml_reads_text():
    resolved = validate({"networks": [{"name": "small", "learning_rate": "1e-3"}], "tests": []})
    assert resolved["networks"][0]["learning_rate"] == 1e-3


def test_validating_twice_changes_nothing():
    once = validate({})
    assert validate(once) == once


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("map: {stride_px: 0}", ["study.yaml:1: map.stride_px: 0", "32 to 1024", "in px"]),
        ("map: {stride_px: 96}", ["map.stride_px", "96 px does not divide"]),
        ("netwroks: []", ["study.yaml:1: netwroks", "did you mean networks?"]),
        (
            "networks:\n  - name: a\n    learnign_rate: 1",
            [":3: networks[0].learnign_rate", "learning_rate?"],
        ),
        ("networks:\n  - name: a\n    learning_rate: fast", [":3:", "'fast' is not a number"]),
        ("networks:\n  - {name: a}\n  - {name: a}", [":3: networks[1]", "item 0 already"]),
        ("networks: [{name: small, psf: gausian-2}]", ["did you mean gaussian-2?", "psfs"]),
        ("networks: [{samples: 5}]", [":1: networks[0].name", "is missing"]),
        ("networks: [{name: 'true'}]\ntests: []", ["networks[0].name", "true map's name"]),
        ("networks: [{name: small, weights: net.pt}]", [".safetensors"]),
        ("networks: [{name: ../up}]", ["networks[0].name", "file names"]),
        ("networks: []\ntests: []", ["networks: has 0 items; wants at least 1"]),
        ("psfs: [{name: gaussian-2, cutoff: 0}]", ["psfs[0].cutoff: 0", "above 0, up to 1"]),
        ("psfs: [{name: gaussian-2, cutoff: 1.5}]", ["psfs[0].cutoff: 1.5", "cycles/px"]),
        ("psfs: [{name: gaussian-2, size_px: 30}]", ["psfs[0].size_px", "odd"]),
        ("psfs: [{name: gaussian-2, width_px: [9, 2]}]", ["lowest is above the highest"]),
        ("psfs: [{name: gaussian-2, width_px: 4}]", ["psfs[0].width_px", "not a list"]),
        ("psfs: [{name: gaussian-2, model: measured}]", ["psfs[0].file"]),
        ("restoration: {methods: [measured]}", ["restoration.methods", "restoration.measured"]),
        ("cameras: [{name: field, read_noise_e: [-1, 2]}]", ["read_noise_e[0]: -1", "electrons"]),
        ("cameras: [{name: field, photons: [.nan, 2]}]", ["photons[0]: nan is not a number"]),
        (
            "restoration: {psf_shape: square 4}",
            ["psf_shape: 'square 4' is not a PSF", "motion 6.5 34"],
        ),
        (
            "restoration: {psf_shape: disk 4, psf_scale: 0.5}",
            ["study.yaml:1: restoration.psf_scale: 0.5 is of the map's PSFs", "disk 4"],
        ),
        ("restoration: {psf_shape: disk}", ["psf_shape: 'disk' is not a PSF"]),
        ("restoration: {psf_shape: disk 0.0}", ["psf_shape: 'disk 0.0' is not a PSF"]),
        ("sequences: [{name: a, path: a, emccd: 1}]", ["emccd: 1 is not true or false"]),
        ("sequences: [{name: a, path: a, channel: -1}]", ["channel: -1", "0 or more"]),
        ("sequences: [{name: a, path: a, channel: true}]", ["channel: true is not a whole number"]),
        (
            "sequences: [{name: a.ome.zarr, path: a}]",
            ["name: 'a.ome.zarr' cannot", "not .ome.zarr"],
        ),
        ("seed: true", ["seed: true is not a whole number"]),
        ("seed: 1.5", ["seed: 1.5 is not a whole number"]),
        ("study: 7", ["study: 7", "quotes"]),
        ("device: gpu", ["device: 'gpu'", "auto, cpu, cuda"]),
        ("map: 3", ["map: 3 is not a block of keys"]),
        (
            "networks: [{name: small, pretrained: resnet34.pth}]\ntests: []",
            ["networks[0].pretrained: goes with the architecture resnet34 or resnext50"],
        ),
        (
            "networks: [{name: small, architecture: resnet34, pretrained: resnet34.onnx}]\ntests: []",
            ["is neither a .pth nor a .safetensors file"],
        ),
        (
            "restoration_tests: [{name: t, methods: [true, estimated]}]",
            ["restoration_tests[0].methods[0]", "true is not a word", "quotes"],
        ),
        (
            "restoration_tests: [{name: t, methods: [guessed]}]",
            ["methods[0]: 'guessed'", "allowed"],
        ),
        ("restoration_tests: [{name: t, methods: [blind, blind]}]", ["methods: names a method"]),
        (
            "restoration_tests: [{name: t, network: big}]",
            ["network: 'big' is no entry of networks"],
        ),
        ("restoration_tests: [{name: t, cell_px: 96}]", ["96 px does not divide size_px (256 px)"]),
        (
            "restoration_tests: [{name: t, size_px: 96, cell_px: 96}]",
            ["size_px: 96 px is less than the network's window (128 px)"],
        ),
        (
            "restoration_tests: [{name: t, stride_px: 96}]",
            ["does not divide the window of released"],
        ),
        (
            "restoration_tests: [{name: t, masks: hard, stride_px: 64}]",
            [
                "masks: hard wants cell_px (128), stride_px (64) and the network's window (128) to be one"
            ],
        ),
        (
            "objects: [{name: scenes, kinds: [black]}]\nrestoration_tests: [{name: t}]",
            ["restoration_tests[0].objects: scenes has black pictures"],
        ),
        ("restoration_tests: [{name: t}, {name: t}]", ["restoration_tests[1]: name t stands in"]),
        ("seed: 1\nseed: 2", [":2: seed is given twice"]),
        ("seed: [1", ["study.yaml:", "not YAML"]),
        ("restoration: {core_px: 1000}", ["not a multiple of 256"]),
        (
            "restoration: {iterations: automatic, tv_weight: true}",
            [
                "iterations: 'automatic' is not a whole number (1 to 1000, or auto)",
                "tv_weight: true is not a number (0 to 10, or auto, or learnt)",
            ],
        ),
        ("restoration: {core_px: auto}", ["'auto' is not a whole number"]),
        (
            TRAINED + "tests: [{network: small, test_set: scenes, strengths: [0.5]}]",
            ["tests[0].strengths: go with a degradation; name one"],
        ),
        (
            TRAINED + "tests: [{network: small, test_set: scenes, degradation: poisson}]",
            ["tests[0].strengths: of the degradation poisson are missing"],
        ),
        (
            TRAINED
            + "tests: [{network: small, test_set: scenes, degradation: mixed, strengths: [1, 1]}]",
            ["tests[0].strengths: name a strength twice"],
        ),
        (
            TRAINED
            + "tests: [{network: small, test_set: scenes}, {network: small, test_set: scenes}]",
            ["network small and test_set scenes and degradation none stands in item 0 already"],
        ),
        (
            "simulations: [{mosaic: m, field: [{parameter: focus, low: 1}]}]",
            ["field[0].parameter: focus is no parameter", "width_y, width_x"],
        ),
        (
            "simulations: [{mosaic: m, field: [{parameter: width_x, low: 2}]}]",
            ["how width_y varies"],
        ),
        (
            "simulations: [{mosaic: m, field: [{parameter: width_x, low: 99}, {parameter: width_y, low: 3}]}]",
            ["field[0].low: 99 is outside the range of gaussian-2, 0.5 to 10"],
        ),
    ],
)
def test_mistakes_are_named(tmp_path, text, words):
    message = error_of(tmp_path, text)
    for word in words:
        assert word in message, message


def test_a_missing_field_points_at_the_study_and_not_at_the_default(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text("seed: 1\nnetworks:\n  - samples: 5\n")
    with pytest.raises(UserError, match=r"study\.yaml:3: networks\[0\]\.name: is missing"):
        validate(merged(yaml.safe_load(file.read_text())), [ROOT / "config" / "config.yaml", file])


def test_all_mistakes_are_said_at_once(tmp_path):
    message = error_of(tmp_path, "seed: -1\nmap: {stride_px: 0, wndow_px: 3}\n")
    assert len(message.splitlines()) == 3


def test_a_missing_file_is_named():
    with pytest.raises(UserError, match=r"nowhere\.yaml: no such config file"):
        load("nowhere.yaml")


def test_field_parameters_are_those_of_the_models():
    psf = pytest.importorskip("isoplan.optics.psf")
    for model in choices("psfs"):
        if told := parameters(model):
            spec = validate(
                {
                    "psfs": [{"name": "gaussian-2", "model": model}],
                    "networks": [{"name": "small", "fit": "none"}],
                    "tests": [],
                    "simulations": [],
                }
            )
            entry = spec["psfs"][0]
            made = {p.name: (p.low, p.high) for p in psf.make_psf_model(entry).parameters}
            assert list(made) == list(told)
            for name, of in told.items():
                assert made[name] == pytest.approx(entry[of] if isinstance(of, str) else of)


def test_windows_follow_their_network():
    networks = [{"name": "small"}, {"name": "near", "window_px": 96}]
    tests = [{"network": name, "test_set": name} for name in ("small", "near")]
    sets = [{"name": name} for name in ("small", "near")]
    study = {"networks": networks, "test_sets": sets, "tests": tests}
    made = validate(
        study | {"restoration_tests": [{"name": "t", "network": "near", "size_px": 192}]}
    )
    assert [item["window_px"] for item in made["networks"]] == [128, 96]
    assert [item["window_px"] for item in made["test_sets"]] == [128, 96]
    assert (made["map"]["window_px"], made["map"]["stride_px"]) == (128, 64)
    near = validate(study | {"map": {"network": "near"}})["map"]
    assert (near["window_px"], near["stride_px"]) == (96, 32)
    test = made["restoration_tests"][0]
    assert (test["cell_px"], test["stride_px"]) == (96, 96)
    assert entries.recipe_of(made, made["test_sets"][1])["window_px"] == 96
    # The map's number is that of the networks that give none.
    made = validate(study | {"map": {"window_px": 160, "stride_px": 32}})
    assert [item["window_px"] for item in made["networks"]] == [160, 96]
    with pytest.raises(UserError, match=r"small has samples of 96 px.*small has 128 px"):
        validate(study | {"test_sets": [sets[0] | {"window_px": 96}, sets[1]]})
    with pytest.raises(UserError, match=r"window_px: 160 px is not the window of near.*96 px"):
        validate(study | {"map": {"network": "near", "window_px": 160, "stride_px": 32}})
    # Weights bring theirs, and a study that asks for another is refused before it begins.
    taken = {"networks": [{"name": "small", "weights": "released"}]}
    assert validate(taken)["map"]["window_px"] == 128
    with pytest.raises(UserError, match="is not the window of small"):
        validate(taken | {"map": {"window_px": 96, "stride_px": 32}})


def test_only_what_counts_is_told():
    made = validate(
        {
            "psfs": [
                {"name": "gaussian-2"},
                {"name": "focus", "model": "zernike-1"},
                {"name": "all", "model": "zernike-3"},
            ],
            "networks": [
                {"name": "small"},
                {"name": "theirs", "architecture": "resnet34"},
                {"name": "fit", "architecture": "spectrum-fit"},
                {"name": "taken", "weights": "released"},
            ],
        }
    )
    base = {"name", "model", "form", "size_px"}
    optics = {"cutoff", "cutoff_range", "excitation_cutoff"}
    told = [set(entries.told(made, "psfs", name)) for name in ("gaussian-2", "focus", "all")]
    assert told[0] == base | {"width_px"} and told[1] == base | optics | {"focus_waves"}
    assert told[2] == told[1] | {"cylinder_waves"}
    small, theirs, fit, taken = (
        set(entries.told(made, "networks", item["name"])) for item in made["networks"]
    )
    assert small - theirs == {"fit", "width"} and theirs - small == {"pretrained"}
    assert {"samples", "learning_rate"} <= small and not {"samples", "learning_rate"} & fit
    assert fit == taken == {"name", "architecture", "weights", "psf", "objects", "window_px"}
    camera = entries.told(made, "cameras", "field")
    assert "photons" in camera and "vignetting" not in camera
    vignetted = entries.what_counts("cameras", camera | {"vignetting": [0, 0.2]})
    assert vignetted["vignetting"] == [0, 0.2]
    # What a study leaves as its config says no less: read again, it is the same.
    assert validate(entries.all_that_counts(made)) == made


def test_what_is_left_open():
    open_ = validate({"restoration": {"iterations": "auto", "tv_weight": "1e-3"}})
    assert open_["restoration"]["tv_weight"] == 1e-3
    psfs = ["psf_scale", "psf_shape", "resolution_px"]
    assert left_open(open_["restoration"]) == ["iterations", *psfs]
    assert left_open(validate({})["restoration"]) == [
        "iterations",
        "tv_weight",
        *psfs,
    ]
    given = validate({"restoration": {"psf_scale": 1}})["restoration"]
    assert left_open(given) == ["iterations", "tv_weight", "resolution_px"]
    for scale in (1, "auto"):  # beside a PSF of one's own
        assert validate({"restoration": {"psf_scale": scale, "psf_shape": "disk 4"}})
    plain = validate({"restoration": {"tv_step": "none"}})["restoration"]
    assert plain["tv_weight"] == 0 and left_open(plain) == ["iterations", *psfs]


def test_the_default_window_is_said_in_one_place(monkeypatch):
    """With another one every shipped study holds its own, and the default study fits together."""
    shipped = STUDIES
    assert len(shipped) > 10
    before = {path: windows(load(path)) for path in shipped}
    known = schema()["properties"]["networks"]["items"]["properties"]["window_px"]
    monkeypatch.setitem(known, "otherwise", 96)
    assert {path: windows(load(path)) for path in shipped} == before
    trained = yaml.safe_load(TRAINED)
    assert windows(validate(trained)) == ({96}, {96}, 96, 32, set())
    test = validate(trained | {"restoration_tests": [{"name": "a"}]})["restoration_tests"][0]
    assert (test["size_px"], test["cell_px"]) == (192, 96)


def windows(study: dict) -> tuple:
    """All that follows the window of a study's networks."""
    return (
        {network["window_px"] for network in study["networks"]},
        {item["window_px"] for item in study["test_sets"]},
        study["map"]["window_px"],
        study["map"]["stride_px"],
        {test["size_px"] for test in study["restoration_tests"]},
    )
