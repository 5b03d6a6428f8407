"""What all tests share: their order, one thread, and small settings with every default filled in."""

import os

# Before torch and BLAS are loaded: threads that wait by spinning slow their neighbours down.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import pytest
import torch
from isoplan.config.validation import validate
from isoplan.training.samples import Recipe

torch.set_num_threads(1)


def pytest_collection_modifyitems(items) -> None:
    """The cluster mostly waits: each of its two long files runs beside studies, the first from the start, the other last.
    Unit tests end it all, so that no long file is left for one worker while the other has none."""
    order = {"test_chaos.py": 0, "test_slurm.py": 2}

    def place(item) -> int:
        return 3 if item.path.parent.name == "unit" else order.get(item.path.name, 1)

    items.sort(key=place)


@pytest.fixture(scope="session")
def settings():
    """settings(section, **keys): an entry of a config's list, with every default filled in.

    Of a block, such as `restoration`, the block; most tests restore without choosing, by the PSFs as they
    are, with iterations and a TV weight that often do well.
    """
    fixed = {"iterations": 10, "tv_weight": 0.001, "psf_scale": 1, "resolution_px": 0}

    def fill(section: str, **keys):
        if section == "restoration":
            keys = fixed | keys
        if section in ("map", "restoration"):
            return validate({section: keys})[section]
        # Names that an entry refers to: the default study has them.
        if section == "simulations":
            keys = {"mosaic": "made", "psf": "gaussian-2", "camera": "field", **keys}
        if section == "networks":
            keys = {"camera": "training", "weights": None, **keys}
        default = validate({})[section]
        extra = {"name": "extra", **keys} if section != "simulations" else keys
        return validate({section: [*default, extra]})[section][-1]

    return fill


@pytest.fixture(scope="session")
def gaussian(settings) -> dict:
    """A PSF of two widths on 15 px."""
    return settings("psfs", model="gaussian-2", size_px=15, width_px=[1.5, 5])


@pytest.fixture(scope="session")
def recipe(settings, gaussian) -> Recipe:
    """Samples that are quickly made."""
    return Recipe(
        psf=gaussian,
        objects=settings("objects", kinds=["poi", "fractals"]),
        camera=settings("cameras", photons=[1e4, 1e4]),
        window_px=96,
        black_share=0.1,
    )
