"""How many jobs Snakemake plans, beside how many the preflight says."""

from checkout import ROOT, Checkout, planned
from isoplan.report.cost import jobs_of


def test_a_mosaic_has_as_many_jobs_as_foretold(tmp_path):
    study = (ROOT / "config/studies/tiny.yaml").read_text()
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
    assert sum(of_mosaics.values()) == jobs_of(methods=3, jobs_per_mosaic=2)
