"""A U-Net with EfficientNet-Lite0, an extra, which has an environment of its own here: its start, its reach, its weights."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from extras import LIBRARY, environment
from isoplan.applications.enhancement.efficientnet import EfficientUNet
from isoplan.applications.enhancement.networks import TASK, Enhancer
from isoplan.base.errors import UserError
from isoplan.config import named_files
from isoplan.config.validation import validate
from isoplan.networks import store

ROOT = Path(__file__).resolve().parents[2]
ENTRY = {"name": "e", "trained_on": "a", "architecture": "efficientnet"}
PAIRS = {"name": "a", "networks": ["e"]}
STUDY = {"enhancements": [PAIRS], "enhancers": [ENTRY]}

NETWORK = """
import json
import timm
import torch
from isoplan.applications.enhancement.efficientnet import EfficientUNet
from isoplan.base.errors import UserError
from safetensors.torch import save_file

torch.manual_seed(0)
NAME = "tf_efficientnet_lite0"


def lively(network):
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(part.running_var, 0.5, 2)
            torch.nn.init.normal_(part.running_mean)
            torch.nn.init.normal_(part.bias)
    return network.eval()


def refused(work):
    try:
        work()
    except UserError as error:
        return str(error)


found = {"start": [], "seams": [], "beside": [], "reach": []}
for depth in (2, 3, 4, 5):
    network = lively(EfficientUNet(depth))
    assert not list(network.buffers())[0].requires_grad and "blurs" not in network.state_dict()
    for size in ((70, 53), (64, 96), (9, 7)):
        picture = 5 * torch.randn(2, 1, *size)
        with torch.inference_mode():
            start = network(picture)
        gaussian = network.seen(picture)[:, 2:3, : size[0], : size[1]]
        found["start"].append(start.shape == picture.shape and torch.equal(start, gaussian))
    # A strip, as its reach is alike across and along.
    torch.nn.init.normal_(network.body.segmentation_head[0].weight)
    halo, step = network.halo_px, network.step_px
    assert halo % step == 0
    side = 2 * halo + 4 * step
    strip = torch.randn(1, 1, 32, side + 6 * step)
    with torch.inference_mode():
        whole = network(strip)
        window = network(strip[..., 3 * step : 3 * step + side])
        shifted = network(strip[..., 3 * step + 1 : 3 * step + side + 1])
    inner, at = slice(halo, side - halo), slice(3 * step + halo, 3 * step + side - halo)
    scale = whole.std()
    found["seams"].append(float((window[..., inner] - whole[..., at]).abs().max() / scale))
    at = slice(at.start + 1, at.stop + 1)
    found["beside"].append(float((shifted[..., inner] - whole[..., at]).abs().max() / scale))
    strip.requires_grad_()
    column = 3 * step + side // 2
    network(strip)[0, 0, 16, column].backward()
    seen = strip.grad[0, 0].abs().sum(0).nonzero()
    found["reach"].append([int((seen - column).abs().max()), halo])

# Weights by name, by order, and of others.
theirs = lively(timm.create_model(NAME, pretrained=False)).state_dict()
renamed = {f"_part{k}.{name.rpartition('.')[2]}": one for k, (name, one) in enumerate(theirs.items())}
torch.save(renamed, "order.pth")
save_file({k: v for k, v in theirs.items() if "tracked" not in k}, "names.safetensors")
network = EfficientUNet(4)
before = {name: one.clone() for name, one in network.encoder.state_dict().items()}
taken = []
for file in ("order.pth", "names.safetensors"):
    network.encoder.load_state_dict(before)
    network.take_encoder(file)
    taken.append({k: v.clone() for k, v in network.encoder.state_dict().items()})
found["alike"] = all(torch.equal(taken[0][name], taken[1][name]) for name in before)
found["equal"] = all(
    torch.equal(taken[0][k], theirs[k]) for k in before if k != "conv_stem.weight" and "tracked" not in k
)
grey = [one["conv_stem.weight"].sum(1) for one in (taken[0], theirs)]
found["grey"] = float((grey[0] - grey[1]).abs().max())
save_file({k: v for k, v in renamed.items()}, "sorted.safetensors")
deeper = timm.create_model("tf_efficientnet_lite1", pretrained=False).state_dict()
torch.save(deeper, "deeper.pth")
torch.save({f"_{k}": v for k, v in deeper.items()}, "deeper-order.pth")
torch.save(theirs | {"blocks.1.0.conv_pw.weight": torch.zeros(9, 16, 1, 1)}, "shape.pth")
torch.save({"some": 3}, "number.pth")
torch.save([1], "list.pth")
open("text.pth", "w").write("text")
names = ("none.pth", "text.pth", "list.pth", "number.pth", "sorted.safetensors", "deeper.pth", "deeper-order.pth", "shape.pth")
found["refused"] = {name: refused(lambda: network.take_encoder(name)) for name in names}
found["untouched"] = torch.equal(network.encoder.state_dict()["bn1.weight"], theirs["bn1.weight"])
print(json.dumps(found))
"""

TRAINING = """
import json
from dataclasses import asdict
from pathlib import Path
import numpy as np
import pandas as pd
import timm
import torch
from isoplan.applications.enhancement import fields
from isoplan.applications.enhancement.networks import Enhancer, statistics
from isoplan.applications.enhancement.task import Enhancement
from isoplan.config.validation import validate
from isoplan.networks import store
from isoplan.training.loop import train

pairs = {"name": "a", "kinds": ["filaments"], "train_mosaics": 2, "test_mosaics": 1, "mosaic_px": 128}
pairs |= {"field_px": 64, "methods": ["gaussian"], "networks": ["e"]}
entry = {"name": "e", "trained_on": "a", "architecture": "efficientnet", "encoder_weights": "start.pth"}
entry |= {"encoder_depth": 3, "patch_px": 32, "turns": 1, "samples": 120, "epoch_samples": 40, "batch": 4}
study = validate({"enhancements": [pairs], "enhancers": [entry]})
pairs, entry = study["enhancements"][0], study["enhancers"][0] | {"stamp": {"encoder_weights": "now"}}
Path("choice.json").write_text(json.dumps({"layout": asdict(fields.lay_out(pairs, 0))}))


def task(**keys):
    cpu = torch.device("cpu")
    return Enhancement.of_config({"enhancement": pairs}, entry | keys, seed=0, device=cpu, validation="choice.json")


theirs = timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
torch.save({f"_part{k}.{name.rpartition('.')[2]}": one for k, (name, one) in enumerate(theirs.items())}, "start.pth")
began = task()
found = {"starts": torch.equal(began.network.encoder.blocks[2][0].conv_pw.weight, theirs["blocks.2.0.conv_pw.weight"])}
batch = next(began.batches(0, 1))
found["losses"] = [began.step(batch, 1e-3)["train_loss"] for _ in range(6)]
for way in ("inputs", "unpaired"):
    other = task(learns_from=way)
    found[way] = other.step(next(other.batches(0, 1)), 1e-3)["train_loss"]
assert train(task(), "through")
while not train(task(), "broken", stop_after_s=0):
    pass
one, other = (store.read(f"{name}/network.safetensors")[1] for name in ("through", "broken"))
found["resumes"] = all(torch.equal(one[key], other[key]) for key in one)
history = pd.read_csv("through/history.csv")
found["validation"] = list(history["validation_loss"])
Path("start.pth").unlink()
made = Enhancer.load("through/network.safetensors")
found["stamp"] = "stamp" in made.card["network"]
field = np.random.default_rng(0).poisson(20, (70, 53)).astype(float)
found["shape"] = made.apply(field, *statistics(field)).shape
print(json.dumps(found))
"""


def test_without_the_extra_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(UserError, match=r"needs segmentation_models_pytorch.*uv pip install -r envs/requirements-smp.txt"):  # fmt: skip
        EfficientUNet.of(validate(STUDY)["enhancers"][0])


def test_a_network_s_file_is_not_blamed_for_a_missing_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    card = {"task": TASK, "network": validate(STUDY)["enhancers"][0]}
    store.save(tmp_path / "e.safetensors", torch.nn.Linear(1, 1), card)
    with pytest.raises(UserError) as caught:
        Enhancer.load(tmp_path / "e.safetensors")
    said = str(caught.value)
    assert said.startswith(f"{tmp_path}/e.safetensors: efficientnet needs") and "\n" not in said
    assert "uv pip install -r envs/requirements-smp.txt" in said and "does not fit" not in said


def test_a_study_that_names_it_is_told_before_jobs_start(monkeypatch):
    validate(STUDY)  # elsewhere, on a machine without the extra, it is right
    monkeypatch.setattr(named_files, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"architecture: efficientnet needs segmentation_models_pytorch, which is not"):  # fmt: skip
        validate(STUDY, here=True)
    validate({"enhancements": [PAIRS], "enhancers": [ENTRY | {"architecture": "unet"}]}, here=True)
    monkeypatch.setattr(named_files, "find_spec", lambda name: name)
    validate(STUDY, here=True)


def test_a_file_of_weights_has_to_be_there_and_goes_with_it_alone(tmp_path):
    for keys, words in (
        ({"encoder_weights": "lite0.onnx"}, "is neither a .pth nor a .safetensors file"),
        ({"encoder_weights": "lite0.pth"}, "there is no file 'lite0.pth'"),
        ({"encoder_weights": "lite0.pth", "architecture": "unet"}, "goes with the architecture"),
    ):
        with pytest.raises(UserError, match=words):
            validate({"enhancements": [PAIRS], "enhancers": [ENTRY | keys]}, here=True)


@pytest.fixture(scope="module")
def within(tmp_path_factory):
    """Runs a script in a folder of its own, beside the package, and gives what it prints."""
    folder = tmp_path_factory.mktemp("smp")
    python = environment(folder, "requirements-smp.txt")
    # Nothing may be downloaded: the first try would fail.
    own = LIBRARY | {"HF_HUB_OFFLINE": "1"}
    own |= dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")

    def run(script: str) -> dict:
        done = subprocess.run(
            [python, "-c", script], cwd=folder, env=os.environ | own, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


def test_it_starts_as_a_gaussian_and_windows_agree_and_weights_are_taken(within):
    found = within(NETWORK)
    assert all(found["start"])
    assert max(found["seams"]) < 1e-4 and min(found["beside"]) > 1e-3
    # The bound holds, and is not far above what is reached.
    assert all(0.5 * halo < reach <= halo for reach, halo in found["reach"]), found["reach"]
    assert found["alike"] and found["equal"] and found["grey"] < 1e-5
    words = {"none.pth": "no such file", "text.pth": "cannot be read", "list.pth": "cannot be read"}
    for file, told in found["refused"].items():
        assert told and words.get(file, "weights of another architecture") in told, (file, told)
    assert "blocks.1.0.conv_pw.weight is (9, 16, 1, 1), not" in found["refused"]["shape.pth"]
    assert found["untouched"]


def test_it_learns_and_needs_the_weights_no_more(within):
    found = within(TRAINING)
    assert found["starts"] and found["losses"][-1] < found["losses"][0]
    assert found["inputs"] > 0 and found["unpaired"] > 0
    assert found["resumes"] and found["validation"][-1] < 1.5
    assert found["shape"] == [70, 53] and not found["stamp"]
