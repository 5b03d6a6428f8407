"""What `make resume` finds damaged, what it takes away for that, and whose jobs it cancels."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
import zarr

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow"))

import resume
from damage import check
from isoplan.base.errors import UserError
from isoplan.base.ledger import Ledger
from isoplan.base.records import recorded
from isoplan.cluster.schedulers import slurm
from isoplan.cluster.unit_files import save_unit, unit_file
from isoplan.evaluation import unit_cells
from isoplan.mosaic import ngff, tiles
from isoplan.mosaic.convert import convert
from isoplan.mosaic.reader import open_mosaic
from isoplan.psf_map.layout import MapLayout
from isoplan.restoration.cores import RestoredCore
from isoplan.restoration.trust import RestoredStore, create_trust

JOBS, STRIDE, CORE = 2, 8, 256
SHAPE = 512, 400  # 2 x 2 cores; 64 x 50 cells, 2 x 2 units


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A finished study `toy` with one mosaic `m`, its map by `n` and its restoration."""
    monkeypatch.chdir(tmp_path)
    folder = Path("results/toy")
    rng = np.random.default_rng(0)
    made = {"shape_px": SHAPE, "window_px": 2 * STRIDE, "edges": "reflect"}
    layout = MapLayout(SHAPE, 2 * STRIDE, STRIDE, "reflect")
    map_store = folder / "psf_map/m/n.zarr"
    names = [{"name": name, "unit": ""} for name in ("width", "validity", "filled")]
    size = {"stride_px": STRIDE, "pixel_size_um": 1.0}
    ngff.create_map(map_store, names, layout.cells, **size, attributes=made)
    raw, filled = (ngff.open_array(map_store, name, "r+") for name in ("raw", "0"))
    ledger = Ledger(folder / "ledgers/psf_map/m/n", "mark")
    for unit, place in enumerate(layout.units):
        window = (slice(None), *place)
        block = rng.random([3, *(part.stop - part.start for part in place)], np.float32)
        for array in (raw, filled):
            ngff.write_shards(array, window, block)
        ledger.record(unit, raw[window])

    picture_store = folder / "restored/m/estimated.ome.zarr"
    attributes = {"restoration": {"core_px": CORE, "trust_px": 64}}
    size = {"dtype": "float32", "pixel_size_um": 1.0, "shard_px": CORE}
    ngff.create_image(picture_store, SHAPE, **size, levels=2, attributes=attributes)
    facts = {"height_px": SHAPE[0], "width_px": SHAPE[1], "pixel_size_um": 1.0}
    create_trust(picture_store, attributes["restoration"], facts, {})
    store = RestoredStore(picture_store, "r+")
    ledger = Ledger(folder / "ledgers/restored/m/estimated", "mark")
    for unit, windows in enumerate(zip(store.cores, store.cells, strict=True)):
        arrays = zip(windows, (store.picture, store.trust), strict=True)
        parts = (rng.random(a[w].shape, np.float32) for w, a in arrays)
        store.write(unit, RestoredCore(*parts))
        ledger.record(unit, store.read(unit))
    ngff.build_pyramid(picture_store)

    sums_store, cell_px = folder / "evaluation/m.zarr", 512
    ngff.create_map(
        sums_store, names, (4, 4), stride_px=cell_px, pixel_size_um=1.0, names=["0"],
        shard_cells=unit_cells(cell_px), attributes={},
    )  # fmt: skip
    sums = ngff.open_array(sums_store, mode="r+")
    ledger = Ledger(folder / "ledgers/evaluation/m", "mark")
    for unit, place in enumerate(tiles.shards(sums.shape, unit_cells(cell_px))):
        ngff.write_shards(sums, (slice(None), *place), rng.random((3, 2, 2), np.float32))
        ledger.record(unit, sums[(slice(None), *place)])

    map_stage, picture_stage = "stages/psf_map/m/n", "stages/restored/m/estimated"
    for name in (
        *(f"{map_stage}/created.done", f"{map_stage}/map.0.done", f"{map_stage}/map.1.done"),
        *(f"{picture_stage}/created.done", f"{picture_stage}/restore.0.done"),
        *(f"{picture_stage}/restore.1.done", f"{picture_stage}/finished.done"),
        *(f"stages/evaluation/m/{name}.done" for name in ("created", "evaluate.0", "evaluate.1")),
        *("psf_map/m/n.json", "evaluation/m.metrics.csv", "evaluation/m.cells.csv"),
        "metrics.csv",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("done\n")
    return folder


def found(results) -> tuple[set, set]:
    """Files to take away that are there, and files to be made first, relative to the results."""
    findings = list(check(results, JOBS))
    remove = {path for f in findings for path in f.remove if path.exists()}
    again = {path for f in findings for path in f.again}
    return tuple({str(p.relative_to(results)) for p in paths} for paths in (remove, again))


EVALUATED = {
    *(f"stages/evaluation/m/evaluate.{job}.done" for job in range(JOBS)),
    *("evaluation/m.metrics.csv", "evaluation/m.cells.csv", "metrics.csv"),
}
SHARD = "restored/m/estimated.ome.zarr/0/c/1/0"  # of unit 2, which job 0 owns
TRUST_SHARD = "restored/m/estimated.ome.zarr/trust/0/c/0/1/0"  # likewise
STAGE = "stages/restored/m/estimated"


def test_a_whole_study_is_left_alone(results):
    assert found(results) == (set(), set())


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "harm", [flip, Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:100])]
)
@pytest.mark.parametrize("shard", [SHARD, TRUST_SHARD])
def test_a_damaged_shard_costs_its_unit_and_what_came_after(results, harm, shard):
    harm(results / shard)
    remove, again = found(results)
    unit = {"ledgers/restored/m/estimated/2.json"}
    assert remove == unit | {f"{STAGE}/restore.0.done", f"{STAGE}/finished.done"} | EVALUATED
    assert again == set()


@pytest.mark.parametrize("harm", [flip, Path.unlink])
def test_a_damaged_conversion_is_made_first(results, harm):
    done = results / "stages/converted/m.done"
    done.parent.mkdir()
    done.write_text("done\n")
    picture = np.ones((300, 200), np.uint16)
    picture_file = results / "strip.tif"
    tifffile.imwrite(picture_file, picture, compression="zlib", rowsperstrip=300)
    with open_mosaic(picture_file) as mosaic:
        convert(mosaic, results / "converted/m.ome.zarr", pixel_size_um=1, attributes={})
    assert found(results) == (set(), set())
    harm(results / "converted/m.ome.zarr/0/c/0/0")
    assert found(results) == (EVALUATED | {"stages/converted/m.done"}, {"stages/converted/m.done"})


def test_damaged_sums_cost_their_unit_and_the_tables(results):
    flip(results / "evaluation/m.zarr/0/c/0/1/1")
    lost = {"ledgers/evaluation/m/3.json", "stages/evaluation/m/evaluate.1.done"}
    assert found(results) == (lost | EVALUATED, set())
    shutil.rmtree(results / "evaluation/m.zarr")
    remove, _ = found(results)
    assert {f"ledgers/evaluation/m/{unit}.json" for unit in range(4)} <= remove
    assert "stages/evaluation/m/created.done" in remove and not any("restored" in r for r in remove)


def test_a_lost_unit_of_a_restoration_test_costs_its_job_and_the_tables(results):
    folder, ledger = results / "restoration_tests/t", results / "ledgers/restoration_tests/t"
    stage = results / "stages/restoration_tests/t"
    for unit in range(3):
        save_unit(folder, unit, np.full((2, 3), float(unit)))
        Ledger(ledger, "mark").record(unit, np.load(unit_file(folder, unit)))
    stage.mkdir(parents=True)
    for job in range(JOBS):
        (stage / f"test.{job}.done").touch()
    (results / "restoration.csv").touch()
    (results / "restoration_tests/t.npz").touch()
    assert list(check(results, JOBS)) == []
    unit_file(folder, 1).write_bytes(unit_file(folder, 2).read_bytes())
    (finding,) = check(results, JOBS)
    assert "unit 1 of 3" in finding.text
    assert set(finding.remove) == {
        *(ledger / "1.json", stage / "test.1.done", results / "restoration.csv"),
        results / "restoration_tests/t.npz",
    }


def test_a_lost_test_set_costs_what_was_judged_on_it(results):
    group = zarr.create_group(results / "sets/test-t.zarr")
    for name in ("patches", "params"):  # and no `invalid`
        group.create_array(name, shape=(8,), chunks=(4,), dtype="float32")[:] = np.ones(8)
    judged = [results / f"regression/n/{name}/none.regression.csv" for name in ("t", "other")]
    for path in (results / "stages/test/t.done", results / "regression.csv", *judged):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("done\n")
    lost = {"stages/test/t.done", "regression.csv", "regression/n/t/none.regression.csv"}
    assert found(results) == (lost, {"stages/test/t.done"})


def test_a_damaged_map_is_made_first_and_its_restoration_stays(results):
    flip(results / "psf_map/m/n.zarr/raw/c/0/0/1")
    remove, again = found(results)
    unit = {"ledgers/psf_map/m/n/1.json", "stages/psf_map/m/n/map.1.done"}
    assert remove == unit | {"psf_map/m/n.json"} | EVALUATED
    assert again == {"psf_map/m/n.json"}


def test_a_damaged_filled_map_is_filled_again(results):
    (results / "psf_map/m/n.zarr/0/c/0/1/1").unlink()
    assert found(results) == ({"psf_map/m/n.json"} | EVALUATED, {"psf_map/m/n.json"})


def test_a_damaged_pyramid_is_built_again(results):
    flip(results / "restored/m/estimated.ome.zarr/1/c/0/0")
    assert found(results) == ({f"{STAGE}/finished.done"} | EVALUATED, set())


@pytest.mark.parametrize("lost", ["", "zarr.json", "0/zarr.json", "trust/zarr.json"])
def test_a_store_that_is_gone_is_laid_out_again(results, lost):
    path = results / "restored/m/estimated.ome.zarr" / lost
    if lost:
        path.unlink()
    else:
        shutil.rmtree(path)
    remove, _ = found(results)
    assert {f"{STAGE}/{name}.done" for name in ("created", "restore.0", "restore.1")} <= remove
    assert {f"ledgers/restored/m/estimated/{unit}.json" for unit in range(4)} <= remove
    assert not any("psf_map" in name for name in remove)


def test_a_unit_that_a_finished_job_never_recorded_is_lost(results):
    (results / "ledgers/restored/m/estimated/3.json").unlink()
    remove, _ = found(results)
    assert f"{STAGE}/restore.1.done" in remove and f"{STAGE}/restore.0.done" not in remove


def test_a_restoration_lost_with_its_records_is_missed(results):
    (results / "evaluation/m.metrics.csv").write_text(
        "method,value\nestimated,1\nnone,0\ntruth,2\nreference,2\n"
    )
    assert found(results) == (set(), set())
    for folder in ("restored/m/estimated.ome.zarr", STAGE, "ledgers/restored/m/estimated"):
        shutil.rmtree(results / folder)
    assert found(results) == (EVALUATED, set())


@pytest.mark.parametrize(
    "harm", [lambda text: text[:1], lambda text: text.replace("done", "dune"), lambda text: ""]
)
def test_a_table_that_was_cut_off_or_edited_is_made_again(results, harm):
    """Its date may be the old one. Of tables without a record, as of older versions, nothing is known."""
    table, after = results / "evaluation/m.cells.csv", {"evaluation/m.metrics.csv", "metrics.csv"}
    log = str(results / "logs/tabulate_mosaic/m.log")
    with recorded(log, [str(table), str(results / "evaluation/m.metrics.csv")]):
        pass
    assert found(results) == (set(), set())
    table.write_text(harm(table.read_text()))
    assert found(results) == ({"evaluation/m.cells.csv"} | after, set())
    (finding,) = check(results, JOBS)
    assert finding.text == f"{table}, made by tabulate_mosaic"


def test_facts_that_were_edited_are_measured_first(results):
    facts = results / "mosaics/m.json"
    facts.parent.mkdir()
    facts.write_text("{}")
    with recorded(str(results / "logs/measure_mosaic/m.log"), [str(facts)]):
        pass
    facts.write_text('{"gain": 2}')
    assert found(results) == ({"mosaics/m.json"}, {"mosaics/m.json"})


def test_an_unfinished_job_is_no_damage(results):
    """Killed in the middle: units 1 and 3 of job 1 were not made, and nothing came after."""
    for name in (f"{STAGE}/restore.1.done", f"{STAGE}/finished.done", *EVALUATED):
        (results / name).unlink()
    for unit in (1, 3):
        (results / f"ledgers/restored/m/estimated/{unit}.json").unlink()
        (results / f"restored/m/estimated.ome.zarr/0/c/{unit // 2}/1").unlink()
    assert found(results) == (set(), set())


def test_a_ledger_file_cut_off_counts_as_lost(results):
    (results / "ledgers/restored/m/estimated/2.json").write_text('{"finger')
    remove, _ = found(results)
    assert f"{STAGE}/restore.0.done" in remove


def test_samples_networks_and_simulations(results):
    group = zarr.create_group(results / "sets/test-t.zarr")
    for name in ("patches", "params", "invalid"):
        group.create_array(name, shape=(8,), chunks=(4,), dtype="float32")[:] = np.ones(8)
    (results / "stages/test").mkdir(parents=True)
    (results / "stages/test/t.done").write_text("done\n")
    assert found(results) == (set(), set())
    (results / "sets/test-t.zarr/params/c/1").unlink()
    (results / "networks/n").mkdir(parents=True)
    (results / "networks/n/network.safetensors").write_bytes(b"cut off")
    (results / "stages/simulated").mkdir(parents=True)
    (results / "stages/simulated/m.done").write_text("done\n")
    expected = {
        "stages/test/t.done",
        "networks/n/network.safetensors",
        "stages/simulated/m.done",
    }
    assert found(results) == (expected | EVALUATED, expected)


# Jobs ----------------------------------------------------------------------------------------------


def test_only_this_studys_slurm_jobs_are_cancelled(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    logs = tmp_path / ".snakemake/log"
    logs.mkdir(parents=True)
    (logs / "1.log").write_text("SLURM run ID: aaa\nmissing: results/toy/report.html\n")
    (logs / "2.log").write_text("SLURM run ID: bbb\nmissing: results/toy.small/report.html\n")
    (logs / "3.log").write_text("missing: results/toy/report.html\n")  # a local run
    queue = [
        f"1\taaa\t{tmp_path}",
        f"2\tbbb\t{tmp_path}",
        "3\taaa\t/elsewhere",
        f"4\tshell\t{tmp_path}",
    ]
    calls = []

    def answer(command, **_):
        calls.append(command)
        if command[0] == "scancel":
            queue[:] = [line for line in queue if line.split("\t")[0] not in command]
        return SimpleNamespace(returncode=0, stdout="\n".join(queue) + "\n", stderr="")

    monkeypatch.setattr(resume.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(resume.subprocess, "run", answer)
    slurm.cancel_jobs("toy")
    assert [call for call in calls if call[0] == "scancel"] == [["scancel", "1"]]
    assert len(queue) == 3
    assert "2 other Slurm jobs" in capsys.readouterr().out


def started(*command: str) -> subprocess.Popen:
    """A process whose command can be read, which is so a moment after it has started."""
    process = subprocess.Popen(command)
    end = time.monotonic() + 30
    while not resume.psutil.Process(process.pid).cmdline():
        assert time.monotonic() < end
        time.sleep(0.01)
    return process


@pytest.fixture
def orphan(tmp_path, monkeypatch):
    """A process as Snakemake leaves it behind, of study `toy`."""
    monkeypatch.chdir(tmp_path)
    script = tmp_path / ".snakemake/scripts/tmp1.restore_mosaic.py"
    script.parent.mkdir(parents=True)
    script.write_text("# results/toy/stages/restored\nimport time\ntime.sleep(60)\n")
    process = started(sys.executable, str(script))
    yield process
    process.kill()
    process.wait()


def test_a_process_that_outlived_its_run_is_stopped(orphan, capsys):
    resume.stop_local_jobs("toy.small")
    assert orphan.poll() is None
    resume.stop_local_jobs("toy")
    assert not resume.psutil.pid_exists(orphan.pid)
    assert f"stopping process {orphan.pid} (.restore_mosaic)" in capsys.readouterr().out


@pytest.fixture
def sleeper(tmp_path, monkeypatch):
    """sleeper(*arguments): a process of this folder whose program is called snakemake."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "snakemake").write_text("import time\ntime.sleep(60)\n")
    processes = []

    def start(*arguments: str) -> subprocess.Popen:
        processes.append(started(sys.executable, str(tmp_path / "snakemake"), *arguments))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("command", "program"),
    [
        ("python -m snakemake --cores 1", "snakemake"),
        ("/a/bin/python3.11 -u -X utf8 -W ignore -m snakemake", "snakemake"),
        ("python -um snakemake", "snakemake"),
        ("/a/bin/python /a/bin/snakemake --profile slurm", "/a/bin/snakemake"),
        ("python make.py snakemake", "make.py"),
        ("python -m pytest snakemake", "pytest"),
        ("python -c snakemake", "."),
        ("python", "."),
        ("python -m", "."),
        ("tail -f snakemake", "."),
        ("", "."),
    ],
)
def test_what_a_python_runs(command, program):
    assert resume.program_of(command.split(" ")) == Path(program)


def test_who_looks_at_a_job_s_script_is_left_alone(orphan, tmp_path):
    tail = subprocess.Popen(["tail", "-f", orphan.args[1]], stdout=subprocess.DEVNULL)
    try:
        resume.stop_local_jobs("toy")
        assert not resume.psutil.pid_exists(orphan.pid) and tail.poll() is None
    finally:
        tail.kill()
        tail.wait()


def test_a_run_that_is_alive_is_not_disturbed(sleeper, tmp_path, monkeypatch):
    sleeper("--mode", "remote")  # a job, not a run
    resume.refuse_beside_a_run()
    run = sleeper("--profile", "slurm")
    with pytest.raises(UserError, match=f"process {run.pid} runs Snakemake in this folder"):
        resume.refuse_beside_a_run()
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    resume.refuse_beside_a_run()


def test_a_queue_that_cannot_be_read_is_no_empty_queue(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    failed = SimpleNamespace(returncode=1, stdout="", stderr="slurm_load_jobs: no contact\n")
    monkeypatch.setattr(resume.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(resume.subprocess, "run", lambda *_, **__: failed)
    slurm.cancel_jobs("toy")  # never ran through Slurm: nothing to ask
    Path(".snakemake/log").mkdir(parents=True)
    Path(".snakemake/log/1.log").write_text("SLURM run ID: aaa\nresults/toy/report.html\n")
    with pytest.raises(UserError, match=r"no contact.*may still be at work"):
        slurm.cancel_jobs("toy")


def test_what_killed_writers_left_is_removed(results):
    kept = set(results.rglob("*"))
    (results / "ledgers/restored/m/estimated/.3.json.77.part").write_text("{")
    (results / "restored/m/.oracle.ome.zarr.part/0").mkdir(parents=True)
    (results / f"{SHARD}.0123.partial").write_text("half")
    resume.remove_leftovers(results)
    assert set(results.rglob("*")) == kept


# The whole -----------------------------------------------------------------------------------------


def test_what_is_damaged_goes_and_snakemake_is_asked_for_it(results, monkeypatch, capsys):
    Path("config").mkdir()
    config = {"study": "toy", "jobs_per_mosaic": JOBS, "networks": [{"name": "n"}]}
    Path("config/config.yaml").write_text(json.dumps(config))
    flip(results / "psf_map/m/n.zarr/raw/c/0/0/1")
    flip(results / SHARD)
    runs = []
    monkeypatch.setattr(resume, "run", lambda command, **_: runs.append(command[3:]) or 0)
    monkeypatch.setattr(slurm, "cancel_jobs", lambda study: None)
    assert resume.main(["toy", "--profile", "slurm"]) == 0
    assert runs == [
        ["--cores", "1", "--unlock"],
        ["--profile", "slurm", "results/toy/psf_map/m/n.json"],
        ["--profile", "slurm"],
    ]
    assert not (results / STAGE / "restore.0.done").exists()
    assert (results / STAGE / "restore.1.done").exists()
    assert capsys.readouterr().out.count("damaged:") == 2


def test_an_unknown_study_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert resume.main(["nowhere"]) == 1
    assert capsys.readouterr().err.startswith("ERROR nowhere: no file in config/studies/")
