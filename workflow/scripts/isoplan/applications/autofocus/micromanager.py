"""A microscope that Micro-Manager drives."""

from pathlib import Path
from typing import Protocol

import numpy as np

from isoplan.applications.autofocus.stage import StageError

INSTALL = "install the extra, .venv/bin/uv pip install -r envs/requirements-microscope.txt"
ENDING = ".cfg"  # of Micro-Manager's configurations


class Core(Protocol):
    """What is asked of Micro-Manager's core: `pymmcore.CMMCore`, or `pymmcore_plus.CMMCorePlus`."""

    def getFocusDevice(self) -> str: ...
    def getCameraDevice(self) -> str: ...
    def isContinuousFocusEnabled(self) -> bool: ...
    def isSequenceRunning(self) -> bool: ...
    def getPosition(self) -> float: ...
    def setPosition(self, position: float) -> None: ...
    def waitForDevice(self, label: str) -> None: ...
    def snapImage(self) -> None: ...
    def getImage(self) -> np.ndarray: ...
    def unloadAllDevices(self) -> None: ...


class MicroManager:
    """The focus stage and the camera of a Micro-Manager core, as they are set.

    Parameters
    ----------
    core
        With its devices loaded.

    Raises
    ------
    StageError
        If it has no focus stage or no camera, if a hardware autofocus moves the stage, or if the camera runs.
    """

    def __init__(self, core: Core):
        self.core, self.stage = core, core.getFocusDevice()
        if not self.stage:
            raise StageError("Micro-Manager knows no focus stage; name it as Focus in its startup")
        if not core.getCameraDevice():
            raise StageError("Micro-Manager knows no camera; name it as Camera in its startup")
        if core.isContinuousFocusEnabled():
            raise StageError("a hardware autofocus moves the stage, too; switch it off")
        if core.isSequenceRunning():
            raise StageError("the camera runs; stop the live view")

    @classmethod
    def opened(cls, config: str | Path) -> "MicroManager":
        """With the devices of a configuration, a file that ends in .cfg."""
        try:
            from pymmcore_plus import CMMCorePlus
        except ImportError as error:
            raise StageError(
                f"{config}: Micro-Manager needs pymmcore-plus ({error}): {INSTALL}"
            ) from None
        if not Path(config).is_file():
            raise StageError(f"{config}: there is no such file")
        core = CMMCorePlus()
        try:
            core.loadSystemConfiguration(str(Path(config).resolve()))
            return cls(core)
        except Exception as error:  # of whatever kind devices raise
            core.unloadAllDevices()
            raise StageError(f"{config}: {error}") from error

    def where(self) -> float:
        return self.core.getPosition()

    def move(self, z_um: float) -> None:
        self.core.setPosition(z_um)
        self.core.waitForDevice(self.stage)

    def snap(self) -> np.ndarray:
        self.core.snapImage()
        return self.core.getImage()

    def close(self) -> None:
        """Let the devices go; the stage stays where it is."""
        self.core.unloadAllDevices()
