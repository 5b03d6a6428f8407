"""How many jobs Snakemake plans, beside how many the preflight says."""

import pytest
from checkout import ROOT, Checkout, planned
from isoplan.report.cost import jobs_of


@pytest.mark.parametrize("chosen", [False, True])
def test_a_mosaic_has_as_many_jobs_as_foretold(tmp_path, chosen):
    """Only what is to be chosen has a job that chooses it."""
    study = (ROOT / "config/studies/tiny.yaml").read_text()
    if chosen:
        study = study.replace("tv_weight: 0.001", "tv_weight: auto")
    checkout = Checkout.make(tmp_path / "isoplan", "own.yaml", study)
    counts = planned(checkout.run("--dry-run"))
    of_mosaics = {
        rule: count
        for rule, count in counts.items()
        if any(word in rule for word in ("mosaic", "psf", "restoration", "evaluation", "seams"))
    }
    for rule in ("simulate_mosaic", "correlate_mosaic"):  # where a truth is known
        assert of_mosaics.pop(rule) == 1
    # The simulated mosaic is restored by estimated, oracle and constant, in two jobs a stage.
    assert sum(of_mosaics.values()) == jobs_of(methods=3, jobs_per_mosaic=2, chosen=chosen)


def test_pairs_wait_for_a_table_of_their_own(tmp_path):
    """Without one the study says which file is missing; with one it is planned."""
    study = (ROOT / "config/studies/pairs.yaml").read_text()
    checkout = Checkout.make(tmp_path / "isoplan", "own.yaml", study)
    code, output = checkout.try_("--dry-run")
    assert code != 0 and "pairs.tsv" in output and "Traceback" not in output
    (checkout.folder / "mine.tsv").write_text("mosaic\tpath\tpixel_size_um\na\ta.tif\t1\n")
    output = checkout.run("--dry-run", "--config", "study=mine", "mosaics=mine.tsv")
    assert "check_mosaics" in planned(output)
