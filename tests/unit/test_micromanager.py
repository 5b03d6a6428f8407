"""Micro-Manager: its core drives a stage to focus, in an environment of its own beside the pins; and what is refused."""

import json
import os
import subprocess
import sys
from dataclasses import asdict

import pytest
from extras import LIBRARY, environment
from isoplan.__main__ import main
from isoplan.applications.autofocus.calibration import Calibration
from isoplan.applications.autofocus.micromanager import MicroManager
from isoplan.applications.autofocus.stage import StageError
from isoplan.cli.outputs import sealed_json
from isoplan.optics.defocus import Defocus

OPTICS = Defocus(0.3, 0.48, 0.32, spherical_waves=0.05, softness_um=0.25)
# The stage is a demo device of Micro-Manager's own; the camera sees a simulated specimen, in focus at 7 um.
SCOPE = """
import numpy as np
import torch
from isoplan.applications.autofocus.micromanager import MicroManager
from isoplan.applications.autofocus.simulated import Simulated
from isoplan.objects.scenes import draw_scenes
from isoplan.optics.defocus import Defocus
from isoplan.optics.surface_pictures import MARGIN_PX
from pymmcore_plus.experimental.unicore import CameraDevice, UniMMCore

OPTICS = Defocus(**{optics})


class Camera(CameraDevice):
    def __init__(self, core):
        super().__init__()
        spec = {{"name": "s", "kinds": ["dead-leaves"], "zoom": [0.6, 1.6], "reduce": 1}}
        scene = draw_scenes(spec, 1, 384 + 2 * MARGIN_PX, seed=4, stream="scope")[0]
        self.at, self.specimen = core.getPosition, Simulated(scene, OPTICS, 7.0)

    def get_exposure(self):
        return 1.0

    def set_exposure(self, exposure):
        pass

    def shape(self):
        return 384, 384

    def dtype(self):
        return np.uint16

    def start_sequence(self, n, get_buffer):
        for _ in range(n or 1):
            self.specimen.move(self.at())
            get_buffer(self.shape(), self.dtype())[:] = self.specimen.snap()
            yield {{}}


def microscope():
    core = UniMMCore()
    core.loadDevice("Z", "DemoCamera", "DStage")
    core.loadPyDevice("Camera", Camera(core))
    core.initializeAllDevices()
    core.setFocusDevice("Z")
    core.setCameraDevice("Camera")
    return MicroManager(core)
"""


@pytest.fixture(scope="module")
def calibration(tmp_path_factory):
    file = tmp_path_factory.mktemp("calibration") / "cal.json"
    file.write_text(sealed_json(Calibration(OPTICS, (0.1,), (384, 384)).told()))
    return file


class Core:
    """What a core tells, by the names of its methods; it has no devices."""

    def __init__(self, **told):
        self.told = {"getFocusDevice": "Z", "getCameraDevice": "Camera"} | told

    def __getattr__(self, name):
        return lambda: self.told.get(name, False)


@pytest.mark.parametrize(
    ("told", "word"),
    [
        ({"getFocusDevice": ""}, "no focus stage"),
        ({"getCameraDevice": ""}, "no camera"),
        ({"isContinuousFocusEnabled": True}, "switch it off"),
        ({"isSequenceRunning": True}, "stop the live view"),
    ],
)
def test_a_microscope_that_is_not_ready_is_refused(told, word):
    MicroManager(Core())
    with pytest.raises(StageError, match=word):
        MicroManager(Core(**told))


def test_without_the_extra_the_error_says_how_to_install_it(calibration, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pymmcore_plus", None)
    assert main(["autofocus", "scope.cfg", "--calibration", str(calibration)]) == 1
    said = capsys.readouterr().err
    assert "uv pip install -r envs/requirements-microscope.txt" in said


def test_its_core_drives_a_stage_to_focus(tmp_path, calibration):
    python = environment(tmp_path, "requirements-microscope.txt")
    packages = next((tmp_path / "env/lib").glob("*/site-packages"))
    devices = packages / "mm_test_adapters/libs"
    own = LIBRARY | {"MICROMANAGER_PATH": str(devices)}

    def run(*arguments: str) -> subprocess.CompletedProcess:
        command = [python, "-m", "isoplan", "autofocus", "--calibration", calibration, *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=os.environ | own, capture_output=True, text=True
        )

    (tmp_path / "scope.py").write_text(SCOPE.format(optics=json.dumps(asdict(OPTICS))))
    done = run("scope.py:microscope", "--pictures", "3", "--range-um", "40")
    assert done.returncode == 0, done.stdout + done.stderr
    found = float(done.stdout.rpartition("in focus at ")[2].split()[0])
    assert abs(found - 7) < 0.5

    # The demo camera's picture is the same everywhere, so no focus is claimed.
    done = run(str(devices / "MMConfig_demo.cfg"), "--pictures", "4", "--range-um", "40")
    assert done.returncode == 1 and "the focus is not known" in done.stdout, done.stderr
    assert "back at 0.00 um" in done.stdout
    (tmp_path / "bad.cfg").write_text("Device,Camera,NoSuchLibrary,DCam\n")
    done = run("bad.cfg")
    assert done.returncode == 1 and "bad.cfg: " in done.stderr and "Traceback" not in done.stderr
