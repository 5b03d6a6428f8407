"""The study that several tests share, run once."""

import pytest
from checkout import Checkout
from mini import STUDY


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Checkout:
    """The study, run once without a disturbance. Tests that change something clone it."""
    checkout = Checkout.make(tmp_path_factory.mktemp("study") / "isoplan", "mini.yaml", STUDY)
    checkout.output = checkout.run()
    return checkout
