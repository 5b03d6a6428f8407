"""The examples in docstrings do what they say."""

import doctest
from importlib import import_module

import pytest

MODULES = (
    "api",
    "applications.enhancement.critic",
    "applications.enhancement.detectors",
    "applications.enhancement.fields",
    "applications.enhancement.filters",
    "applications.enhancement.lessons",
    "applications.enhancement.networks",
    "applications.enhancement.pairs",
    "applications.enhancement.planted",
    "applications.enhancement.report",
    "applications.enhancement.scores",
    "applications.enhancement.unet",
    "applications.enhancement.unpaired",
    "applications.enhancement.variational",
    "applications.enhancement.whole",
    "applications.fluctuation.banded",
    "applications.fluctuation.baselines",
    "applications.fluctuation.blinking",
    "applications.fluctuation.blocks",
    "applications.fluctuation.camera",
    "applications.fluctuation.certainty",
    "applications.fluctuation.colorme",
    "applications.fluctuation.critic",
    "applications.fluctuation.cumulants",
    "applications.fluctuation.denoising",
    "applications.fluctuation.fluogan",
    "applications.fluctuation.formation",
    "applications.fluctuation.function",
    "applications.fluctuation.information",
    "applications.fluctuation.likelihood",
    "applications.fluctuation.measured",
    "applications.fluctuation.moments",
    "applications.fluctuation.units",
    "applications.fluctuation.preparation",
    "applications.fluctuation.report",
    "applications.fluctuation.scores",
    "applications.fluctuation.sequence",
    "applications.fluctuation.simulator",
    "applications.fluctuation.summary",
    "applications.fluctuation.superresolution",
    "applications.fluctuation.tiles",
    "applications.fluctuation.trials",
    "cli.outputs",
    "metrics.image",
    "metrics.regression",
    "mosaic.facts",
    "mosaic.headers",
    "mosaic.ngff",
    "mosaic.table",
    "mosaic.tiles",
    "objects.pictures",
    "optics.blur",
    "optics.camera",
    "optics.exposure",
    "optics.gaussian",
    "optics.noise",
    "optics.plain",
    "optics.psf",
    "optics.pupil",
    "optics.zernike",
    "restoration.richardson_lucy",
    "restoration.tv_richardson_lucy",
    "restoration_test.rivals",
    "training.loop",
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    found = doctest.testmod(import_module(f"isoplan.{name}"))
    assert found.attempted and not found.failed
