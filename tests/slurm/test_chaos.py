"""The short form of `make chaos`: a few accidents, each put right by `make resume`."""

import pytest
from chaos import Chaos, Row, differences
from cluster import Cluster

pytestmark = pytest.mark.slow
SHORT = ("worker-killed", "controller-killed", "shard-cut")


@pytest.fixture(scope="module")
def rows(slurm, tmp_path_factory) -> dict[str, Row]:
    with Cluster(cpus=2) as cluster:
        chaos = Chaos(tmp_path_factory.mktemp("chaos"), cluster, seed=1)
        rows = chaos.trials([(name, 0) for name in SHORT], together=3, tell=lambda rows: None)
    return {row.fault: row for row in rows}


@pytest.mark.parametrize("name", SHORT)
def test_put_right_with_nothing_made_twice_and_the_same_bits(rows, name):
    row = rows[name]
    assert row.passed == "yes", row
    assert row.equal == "yes" and row.again == 0
    assert row.made >= (1 if name == "shard-cut" else 0)


def test_the_comparison_sees_what_differs(tmp_path):
    folders = tmp_path / "expected", tmp_path / "found"
    for folder in folders:
        (folder / "store" / "c").mkdir(parents=True)
        (folder / "logs").mkdir()
        (folder / "store" / "c" / "0").write_bytes(b"abc")
        (folder / "logs" / "job.log").write_text(folder.name)
    assert differences(*folders) == []
    (folders[1] / "store" / "c" / "0").write_bytes(b"abd")
    (folders[0] / "store" / "c" / "1").write_bytes(b"lost")
    (folders[1] / "store" / "c" / ".2.part").write_bytes(b"left")
    assert differences(*folders) == ["store/c/.2.part", "store/c/0", "store/c/1"]
