"""Sweeps of iterations and TV weights: the grid is what a test restores, rules lose against the best."""

import numpy as np
import pytest
from isoplan.base.errors import UserError
from isoplan.restoration.candidates import candidates
from isoplan.restoration.richardson_lucy import richardson_lucy
from isoplan.restoration_test import sweep, tables, ways
from test_restoration_test import made, network

WEIGHTS = [0.0, 0.01]


@pytest.fixture(scope="module")
def run():
    """A sweep of two pictures at little light, and its points."""
    test = made(
        methods=["true", "estimated"], samples=2, camera="dark", sweep_tv_weights=WEIGHTS, tv_weight=0.003
    )  # fmt: skip
    one = sweep.Sweep(test)
    return one, one.unit(0, *network(test))


def test_points_are_the_grid_and_the_rules(run):
    one, kept = run
    assert one.weights == [0.0, 0.003, 0.01] and one.psfs == ["true", "estimated"]
    assert set(one.iterations) == {*candidates(one.settings), one.default[1]}
    assert kept.shape == (2, 2, 3 * len(one.iterations) + len(sweep.RULES), 3)
    grid = kept[0, 0, : -len(sweep.RULES), :2]
    wanted = [(weight, n) for weight in one.weights for n in one.iterations]
    np.testing.assert_array_equal(grid, wanted)


def test_the_default_gains_what_the_test_itself_gains(run):
    """The sweep restores by itself, the test as the pipeline does."""
    one, kept = run
    rows = tables.rows_of(one.test, one.test.unit(0, *network(one.test)))
    whole = rows[(rows["cell"] == "all") & (rows["metric"] == "SNR_gain")]
    for k, method in enumerate(one.psfs):
        gains = whole[whole["method"] == method].sort_values("picture")["value"]
        np.testing.assert_allclose(kept[:, k, -3, 2], gains, atol=1e-4)
        assert (kept[:, k, -3, :2] == one.default).all()


def test_discrepancy_stops_at_the_noise(run):
    one, kept = run
    for index in range(2):
        case = one.test.case(index)
        found = ways.Ways(one.test, case, index, None, one.test.model)
        weight, stop, _ = kept[index, 0, -1]
        assert weight == one.default[0] and stop < one.iterations[-1]
        picture = sweep._Picture(one, case, found.true_field)
        fits = {}
        before = one.iterations[one.iterations.index(stop) - 1]

        def watch(iteration, x, picture=picture, fits=fits):
            fits[iteration] = picture._chi_square(x)

        richardson_lucy(
            picture.y, picture.blur, iterations=int(stop), tv_weight=weight,
            shift=case.exposure.shift, valid=picture.usable, callback=watch, **picture.brightness,
        )  # fmt: skip
        assert fits[stop] <= 1 < fits[before]


def test_tables_hold_what_was_swept(run):
    one, kept = run
    swept = sweep.sweep_rows(one, kept)
    assert len(swept) == 2 * 3 * len(one.iterations)
    at = swept[
        (swept["psfs"] == "true") & (swept["tv_weight"] == 0.01) & (swept["iterations"] == 5)
    ]
    place = len(one.iterations) * 2 + one.iterations.index(5)
    assert at["mean"].item() == pytest.approx(kept[:, 0, place, 2].mean()) and at["n"].item() == 2
    assert set(swept["default_tv_weight"]) == {0.003}
    choice = sweep.choice_rows(one, kept).set_index(["psfs", "rule"])
    for psfs in one.psfs:
        best = choice.loc[psfs, "best"]
        assert best["loss_db"] == 0 and best["near_share"] == 1
        for rule in ("best-fixed", *sweep.RULES):
            row = choice.loc[psfs, rule]
            assert (
                row["loss_db"] == pytest.approx(best["mean"] - row["mean"]) and row["loss_db"] >= 0
            )
            assert row["worst_loss_db"] >= row["median_loss_db"]
    fixed = swept[swept["psfs"] == "true"].sort_values("mean").iloc[-1]
    assert choice.loc["true", "best-fixed"]["mean"] == pytest.approx(fixed["mean"])


def test_a_picture_with_the_alarm_everywhere_is_left_out(run):
    one, kept = run
    before = one.test.spec["alarm_threshold"]
    one.test.spec["alarm_threshold"] = -1.0
    lost = one.unit(0, *network(one.test))
    one.test.spec["alarm_threshold"] = before
    assert np.isnan(lost[:, 1]).all()
    np.testing.assert_array_equal(lost[:, 0], kept[:, 0])
    assert set(sweep.choice_rows(one, lost)["psfs"]) == {"true"}


def test_wrong_sweeps_are_refused():
    with pytest.raises(UserError, match="where tv_step is none"):
        made(sweep_tv_weights=[0.1], tv_step="none")
    with pytest.raises(UserError, match="want true or estimated"):
        made(sweep_tv_weights=[0.1], methods=["blind"])
