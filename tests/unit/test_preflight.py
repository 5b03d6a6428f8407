"""What `make preflight` finds, at made-up sites: Slurm's commands are small shell scripts here."""

import itertools
import json
import re
import shutil
import sys
from dataclasses import replace
from math import prod
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import tifffile
import zarr

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow"))

import preflight
import profile_checks
import site_slurm
from isoplan.applications.depth.calibration import FOUND, Calibration
from isoplan.applications.depth.heights import HeightFit
from isoplan.applications.enhancement.pictures import known_of
from isoplan.applications.enhancement.stores import EnhancedStore, layers_of
from isoplan.applications.fluctuation import results, superresolution, units
from isoplan.applications.fluctuation import study as fluctuation
from isoplan.base.errors import UserError
from isoplan.cluster.schedulers import slurm
from isoplan.config.validation import validate
from isoplan.networks.defocus_fit import reach_um
from isoplan.optics.defocus import Defocus
from isoplan.report import cost
from preflight import Picture, pixels_read
from profile_checks import FAIL, OK, WARN, Profile
from site_slurm import Site

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """\
SlurmctldHost           = login
AccountingStorageType   = {storage}
AccountingStorageEnforce = {enforce}
MinJobAge               = {age} sec
MaxJobCount             = 10000
SLURM_VERSION           = 24.05.2
"""
PARTITIONS = """\
PartitionName=short Default=YES MaxTime=01:00:00 State=UP MaxMemPerNode=UNLIMITED Nodes=n[1-2]
PartitionName=long Default=NO MaxTime=7-00:00:00 State=UP MaxMemPerNode=UNLIMITED Nodes=n3
PartitionName=gpu Default=NO MaxTime=UNLIMITED State=UP MaxMemPerNode=8000 Nodes=g1
"""
NODES = """\
NodeName=n1 CPUTot=8 RealMemory=16000 State=IDLE Partitions=short Gres=(null) OS=Linux 6.1 #1
NodeName=n2 CPUTot=4 RealMemory=8000 State=IDLE Partitions=short Gres=(null) OS=Linux 6.1 #1
NodeName=n3 CPUTot=16 RealMemory=64000 State=IDLE Partitions=long Gres=(null) OS=Linux 6.1 #1
NodeName=g1 CPUTot=32 RealMemory=256000 State=IDLE Partitions=gpu Gres=gpu:h200:4 OS=Linux 6.1 #1
"""
SCONTROL = '#!/bin/sh\ncat "$(dirname "$0")/../$2"\n'
# Runs on this machine what it should run on a node.
SRUN = '#!/bin/sh\nwhile [ "${1#--}" != "$1" ]; do shift; done\nexec "$@"\n'


@pytest.fixture
def site(tmp_path, monkeypatch):
    """site(...): a Site with the repository's own profile, which tests may change, in its folder."""
    shutil.copytree(ROOT / "slurm", tmp_path / "slurm")
    (tmp_path / "bin").mkdir()
    (tmp_path / "results").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")

    def make(config=None, *, storage="accounting_storage/none", enforce="none", age=300, **scripts):
        for name in site_slurm.COMMANDS:
            command(name, "#!/bin/sh\n")
        command("scontrol", SCONTROL)
        command("srun", SRUN)
        for name, text in scripts.items():
            command(name, text)
        Path("config").write_text(CONFIG.format(storage=storage, enforce=enforce, age=age))
        for name, text in (("partition", PARTITIONS), ("node", NODES)):
            if not Path(name).exists():
                Path(name).write_text(text)
        found = Site(Profile.find("slurm"), validate(config or {}))
        found.config = dict(re.findall(r"^(\w+)\s*=\s*(.*?)\s*$", Path("config").read_text(), re.M))
        found.partitions = slurm.read_partitions(
            Path("partition").read_text(), Path("node").read_text()
        )
        return found

    def command(name, text):
        path = tmp_path / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    return make


def follow(advice: str) -> None:
    """Does with the profile what the advice says."""
    order, text = advice.split("\n", 1)
    text = text.split("\n(")[0]
    file, number = re.fullmatch(r"change (.+), line (\d+), to:", order).groups()
    lines = Path(file).read_text().splitlines()
    lines[int(number) - 1] = text
    Path(file).write_text("\n".join(lines) + "\n")


def mended(site, check, **arguments):
    """The finding after its advice was followed."""
    before = check(site(**arguments))
    assert before.level == FAIL
    follow(before.advice)
    return check(site(**arguments))


def only(findings):
    (finding,) = findings
    return finding


def test_sacct_without_a_database_is_named_with_its_line(site):
    text = Path("slurm/profile.v9+.yaml").read_text()
    Path("slurm/profile.v9+.yaml").write_text(
        text.replace("slurm-status-command: squeue", "slurm-status-command: sacct")
    )
    found = site().status_command()
    number = text.splitlines().index("slurm-status-command: squeue") + 1
    assert f"line {number}, to:\nslurm-status-command: squeue" in found.advice
    assert mended(site, Site.status_command).level == OK


def test_a_queue_that_forgets_jobs_wants_the_database(site):
    known = {"storage": "accounting_storage/slurmdbd", "age": 30, "sacct": "#!/bin/sh\n"}
    assert mended(site, Site.status_command, **known).level == OK
    assert Profile.find("slurm").settings["slurm-status-command"] == "sacct"


def test_a_queue_that_forgets_jobs_where_there_is_no_database(site):
    found = site(age=40).status_command()
    assert found.level == WARN
    assert "slurm-init-seconds-before-status-checks: 10" in found.advice


def accounts(default: str) -> dict:
    text = f'#!/bin/sh\ncase "$*" in *defaultaccount*) echo "{default}";; *) printf "lab\\nimaging\\n";; esac\n'
    return {"storage": "accounting_storage/slurmdbd", "sacctmgr": text}


def test_an_account_that_the_site_wants(site):
    guessed = site(enforce="associations", **accounts("lab")).account()
    assert guessed.level == WARN
    assert "will guess one of your accounts (imaging, lab)" in guessed.text
    arguments = {"enforce": "associations", **accounts("")}
    assert mended(site, Site.account, **arguments).text == "account imaging"


def test_an_account_that_is_not_ours(site):
    follow(Profile.find("slurm").change("slurm_account", '  slurm_account: "labb"'))
    found = site(**accounts("lab")).account()
    assert found.level == FAIL
    assert "labb is not one of yours (imaging, lab)" in found.text
    follow(found.advice)
    assert site(**accounts("lab")).account().text == "account lab"


def test_no_accounts_kept(site):
    found = site().account()
    assert found.level == OK
    follow(found.advice)
    assert Profile.find("slurm").settings["slurm-no-account"] is True
    assert not site().account().advice


def test_more_jobs_than_the_site_lets_wait(site):
    limit = {"storage": "accounting_storage/slurmdbd", "sacctmgr": "#!/bin/sh\necho 50\n"}
    found = mended(site, Site.queue, **limit)
    assert found.level == OK
    assert Profile.find("slurm").settings["jobs"] == 45


def check_map(site):
    return only(site.fits("map", "map_psf"))


def test_time_that_another_partition_gives(site):
    arguments = {"config": {"resources": {"map_minutes": 120}}}
    found = check_map(site(**arguments))
    assert "requests 120 minutes, partition short allows 60" in found.text
    assert 'slurm_partition: "long"' in found.advice
    assert mended(site, check_map, **arguments).level == OK


def test_time_that_no_partition_gives(site):
    Path("partition").write_text(PARTITIONS.splitlines()[0] + "\n")
    found = check_map(site({"resources": {"map_minutes": 120}}))
    assert found.level == FAIL
    assert "resources: {map_minutes: 60}" in found.advice


def test_a_retry_beyond_the_limit(site):
    found = check_map(site({"resources": {"map_minutes": 30, "map_mem_mb": 2000}}))
    assert found.level == WARN  # 30, 60, 120 minutes
    follow(found.advice)
    assert Profile.find("slurm").settings["retries"] == 1
    assert check_map(site({"resources": {"map_minutes": 30}})).level == OK


def test_memory_beyond_every_node_of_the_partition(site):
    found = check_map(site({"resources": {"map_mem_mb": 20_000, "map_minutes": 5}}))
    assert found.level == FAIL
    assert "20000 MB, partition short allows 16000" in found.text
    assert '"long"' in found.advice


def test_partitions_that_are_not_there(site):
    follow(Profile.find("slurm").change("slurm_partition", '  slurm_partition: "lnog"'))
    found = check_map(site())
    assert found.level == FAIL
    assert "lnog of map_psf does not exist (known: short, long, gpu)" in found.text


def test_no_default_partition(site):
    Path("partition").write_text(PARTITIONS.replace("Default=YES", "Default=NO"))
    config = {"resources": {"map_minutes": 5}}
    assert "no default partition" in check_map(site(config)).text
    assert mended(site, check_map, config=config).level == OK


def test_a_gpu_that_the_profile_does_not_ask_for(site):
    trained = {"device": "cuda", "networks": [{"name": "n"}], "test_sets": [{"name": "s"}]}
    trained |= {"tests": [{"network": "n", "test_set": "s"}]}
    found = only(site(trained).gpus())
    asked = ["train_network", "evaluate_network", "map_psf", "choose_restoration"]
    asked += ["restore_mosaic", "check_seams"]
    assert found.level == FAIL and found.text.endswith(f"no GPU to {', '.join(asked)}")
    much = {"iterations": 10, "tv_weight": 0.001, "psf_scale": 1, "resolution_px": 0}
    given = trained | {"restoration": much}
    assert "choose_restoration" not in only(site(given).gpus()).text
    follow(found.advice)
    profile = Profile.find("slurm")
    assert profile.settings["set-resources"] == {rule: {"gpu": 1} for rule in asked}
    second = [f.text for f in site(trained).gpus()]
    assert len(second) == len(asked)
    assert all("no node of partition short has one" in text for text in second)


def test_a_node_that_sees_the_folder(site, monkeypatch):
    monkeypatch.setattr(site_slurm, "PROBE", site_slurm.PROBE.replace("numpy, torch,", "torch,"))
    found = site().node()
    assert found.level == OK, found
    assert not list(Path("results").iterdir())


def test_nodes_that_do_not(site):
    blind = json.dumps({"node": "n7", "seen": False, "waited_s": 30})
    found = site(srun=f"#!/bin/sh\necho '{blind}'\n").node()
    assert found.level == FAIL
    assert "n7 does not see" in found.text
    none = site(srun="#!/bin/sh\necho 'execve(): python: No such file' >&2\nexit 2\n").node()
    assert none.level == FAIL
    assert "execve" in none.text
    busy = site(srun="#!/bin/sh\necho 'srun: error: Unable to allocate resources' >&2\nexit 1\n")
    assert busy.node().level == WARN


def test_everything_at_a_good_site(site):
    short = dict.fromkeys([f"{kind}_minutes" for kind in site_slurm.RULES], 15)
    blind = "#!/bin/sh\nexit 1\n"
    levels = [f.level for f in site({"resources": short}, srun=blind).findings()]
    assert levels.count(FAIL) == 1  # the node alone
    assert len(levels) == 9


def test_where_slurm_is_not(site, monkeypatch):
    found = site()
    monkeypatch.setenv("PATH", "/nowhere")
    assert "not here: sbatch" in only(found.findings()).text


def test_a_profile_of_another_executor(site):
    follow(Profile.find("slurm").change("executor", "executor: local"))
    found = only(profile_checks.site(Profile.find("slurm"), {}))
    assert found.level == FAIL and "is local, not slurm" in found.text
    follow(found.advice)
    assert Profile.find("slurm").settings["executor"] == "slurm"


def test_a_cluster_of_which_only_the_queue_is_known(site, monkeypatch):
    module = ModuleType("isoplan.cluster.schedulers.pbs")
    monkeypatch.setattr(profile_checks, "schedulers", lambda: [slurm, module])
    follow(Profile.find("slurm").change("executor", "executor: pbs"))
    found = only(profile_checks.site(Profile.find("slurm"), {}))
    assert found.level == WARN and "site_pbs.py" in found.advice


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("60", 60), ("01:30:00", 90), ("2-00:00:00", 2880), ("1-12", 2160), ("05:30", 5.5)],
)
def test_times_of_slurm(text, minutes):
    assert slurm.minutes(text) == minutes
    assert slurm.minutes("UNLIMITED") is None


def test_profiles_that_are_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="there is none in"):
        Profile.find("nowhere")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/config.yaml").write_text("a: [1\n")
    with pytest.raises(UserError, match=r"bad/config\.yaml:1: not YAML"):
        Profile.find("bad")


# The mosaics ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [(1, 1), (7, 100), (64, 64), (100, 3)])
def test_pixels_read_counts_every_chunk_that_a_core_touches(chunk):
    shape, core, halo = (100, 90), 32, 5
    read = 0
    grid = np.indices(shape) // np.array(chunk)[:, None, None]
    numbers = grid[0] * 1000 + grid[1]
    for y, x in itertools.product(range(0, 100, core), range(0, 90, core)):
        window = numbers[
            max(y - halo, 0) : y + core + halo if y + core < 100 else 100,
            max(x - halo, 0) : x + core + halo if x + core < 90 else 90,
        ]
        read += np.isin(numbers, window).sum()
    assert pixels_read(shape, core, halo, chunk) == pytest.approx(read / np.prod(shape))


def test_strips_of_whole_rows_do_not_fit_cores():
    study = validate({})
    wide = Picture("wide", (20_000, 20_000), (16, 20_000))
    found = only(preflight.alignment(study, [wide]))
    assert found.level == WARN
    assert "core_px" in found.advice or "tiled" in found.advice
    tiled = Picture("tiled", (20_000, 20_000), (256, 256))
    assert only(preflight.alignment(study, [tiled])).level == OK


def test_a_disk_that_is_too_small(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = validate({"restoration": {"methods": ["estimated", "constant", "none"]}})
    picture = Picture("m", (10_000, 10_000), (256, 256))
    wanted = 2 * 4 * 1e8 * 4 / 3  # two methods in float32 with pyramids
    for free, level in ((0.9 * wanted, FAIL), (1.2 * wanted, WARN), (2 * wanted, OK)):
        monkeypatch.setattr(
            preflight.shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free)
        )
        assert preflight.disk(study, [picture]).level == level


FRAMES = {"psf_fwhm_nm": 250, "pixel_size_um": 0.1, "gain": 1, "offset": 100, "read_noise_e": 0}
OWN = {"networks": [{"name": "n", "weights": "released"}], "simulations": []}
OWN |= {"test_sets": [], "tests": [], "mosaics": None}


def own(**lists) -> dict:
    return validate(OWN | lists)


def test_results_of_own_pictures_are_counted_as_they_are_stored(tmp_path):
    """Of unlike sizes: pictures of 300 x 700 px, and frames of 24 x 20 px."""
    rng = np.random.default_rng(0)
    tifffile.imwrite(tmp_path / "old.tif", rng.poisson(40, (300, 700)).astype(np.uint16))
    entry = {"name": "old", "path": str(tmp_path / "old.tif"), "networks": ["e"]}
    study = own(
        enhancers=[{"name": "e", "weights": "e.safetensors"}],
        enhanced_pictures=[entry | {"gain": 1, "offset": 0, "read_noise_e": 0}],
    )
    picture, known = tmp_path / "old.ome.zarr", known_of(study["enhanced_pictures"][0])
    doubts = EnhancedStore.create(picture, layers_of(known, 1), known, {}).places[1]
    stored = sum(levels(store) for store in (picture, doubts))
    needed, findings = preflight.own_results(study)
    assert stored <= needed < 1.1 * stored and not findings  # small pictures have lower pyramids

    tifffile.imwrite(tmp_path / "t.tif", rng.poisson(60, (60, 24, 20)).astype(np.uint16) + 100)
    for halves in (False, True):
        entry = {"name": "s", "path": str(tmp_path / "t.tif"), "factor": 3, "halves": halves}
        study = own(sequences=[entry | FRAMES])
        stored = superresolved(study["sequences"][0], tmp_path / f"halves-{halves}")
        needed, findings = preflight.own_results(study)
        assert 0.97 * stored < needed < 1.1 * stored and not findings


def levels(store: Path) -> int:
    """Bytes of a picture and its pyramid."""
    group = zarr.open_group(store, mode="r", use_consolidated=False)
    return sum(array.nbytes for _, array in group.arrays())


def superresolved(sequence: dict, folder: Path) -> int:
    """Bytes of all arrays that a sequence leaves."""
    folder.mkdir()
    found = fluctuation.measured(sequence, folder / "scratch")
    (core,) = superresolution.cores(found.shape)
    with fluctuation.opened(sequence, folder / "scratch") as frames:
        seen = superresolution.evidence(frames, core, found.settings)
        made = superresolution.superresolve(frames, found.settings)
    if sequence["halves"]:  # these frames do not fluctuate, so that none are made
        made = replace(made, halves=np.zeros((2, 2, *made.picture.shape), np.float32))
    pictures = made.picture, made.deconvolved, made.mean, made.background
    block = units.of_block(superresolution.Block(*pictures, {}, made.halves))
    results.write_picture(folder / "s.ome.zarr", made, found)
    results.write_beside(folder, made, found)
    beside = sum(tifffile.imread(file).nbytes for file in folder.glob("*.tif"))
    return seen.map.nbytes + block.nbytes + levels(folder / "s.ome.zarr") + beside


def test_height_maps_are_counted_and_a_calibration_that_is_none_is_named(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((640, 640), np.uint16))
    optics = Defocus(0.3, 0.48, 0.32, cylinder_waves=0.3)
    told = Calibration(optics, dict.fromkeys(FOUND, 0.01), 0.0, (), (640, 640)).told()
    (tmp_path / "cal.json").write_text(json.dumps(told))
    (tmp_path / "bad.json").write_text("{}")
    entries = [
        {"name": name, "path": str(tmp_path / "a.tif"), "calibration": str(tmp_path / file)}
        for name, file in (("good", "cal.json"), ("bad", "bad.json"))
    ]
    needed, findings = preflight.own_results(own(height_maps=entries))
    fit = HeightFit(Calibration.read(tmp_path / "cal.json"), reach_um(optics))
    cells = prod(fit.layout((640, 640)).cells)
    # Likelihoods, table, TIFF and OME-Zarr.
    assert needed == pytest.approx(cells * (2 * len(fit.z_um) + 60), rel=0.02)
    assert only(findings).text.startswith("height_maps: bad: ")


def test_the_disk_of_own_pictures_counts_and_a_broken_one_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("good.tif", np.zeros((100, 50), np.uint16))
    Path("bad.tif").write_text("no picture")
    entries = [{"name": name, "path": f"{name}.tif", "networks": ["e"]} for name in ("good", "bad")]
    study = own(enhancers=[{"name": "e", "weights": "e.safetensors"}], enhanced_pictures=entries)
    needed, findings = preflight.own_results(study)
    found = only(findings)
    assert found.level == FAIL and found.text.startswith("enhanced_pictures: bad: ")
    free = SimpleNamespace(free=1.2 * needed)
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _: free)
    assert preflight.disk(study, []).level == OK
    assert preflight.disk(study, [], needed).level == WARN
    found = preflight.disk(study, [], 2 * needed)
    assert found.level == FAIL and "methods" not in found.advice


def test_memory_asked_and_measured(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = validate({"resources": {"map_mem_mb": 900, "restore_mem_mb": 5000}})
    assert [f.level for f in preflight.memory(study)] == [FAIL, OK]  # as reckoned
    Path("results/demo").mkdir(parents=True)
    Path("results/demo/cost.csv").write_text("rule,peak_mb\nmap_psf,700\nrestore_mosaic,6000\n")
    levels = [f.level for f in preflight.memory(study)]
    assert levels == [OK, FAIL]
    assert "restore_mem_mb: 9000" in list(preflight.memory(study))[1].advice


def test_a_network_file_system_wants_patience(site, monkeypatch):
    profile = Profile.find("slurm")
    monkeypatch.setattr(preflight, "filesystem", lambda path: "nfs4")
    assert preflight.results_filesystem({}, profile).level == OK
    follow(profile.change("latency-wait", "latency-wait: 3"))
    found = preflight.results_filesystem({}, Profile.find("slurm"))
    assert found.level == FAIL
    follow(found.advice)
    assert preflight.results_filesystem({}, Profile.find("slurm")).level == OK


def test_the_file_system_of_a_folder():
    assert preflight.filesystem(Path("/proc")) == "proc"


@pytest.mark.parametrize(("side", "jobs"), [(100_000, 400), (20_000, 400), (2000, 400)])
def test_advice_on_jobs_is_the_report_s(monkeypatch, side, jobs):
    """Many jobs are too many where they are short, and what is advised instead is taken."""
    said = "Job stats:\njob count\n----- -----\nall 1\ntotal 1\n\n"
    done = SimpleNamespace(returncode=0, stdout=said, stderr="")
    monkeypatch.setattr(preflight.subprocess, "run", lambda *_, **__: done)
    picture = Picture("m", (side, side), (256, 256))

    def found(jobs):
        study = validate({"mosaics": None, "jobs_per_mosaic": jobs})
        return only(preflight.plan(study, Path("config.yaml"), [picture]))

    first = found(jobs)
    assert first.level == (WARN if 2 * side**2 / 1e6 / jobs < 600 else OK)
    fewer = re.search(r"jobs_per_mosaic: (\d+)$", first.advice)
    if first.level == WARN:
        assert int(fewer[1]) < jobs and found(int(fewer[1])).level == OK
    # What the report suggests for work of up to twice as long is no reason for a warning either.
    for seconds in (side**2 / 1e6, 4 * side**2 / 1e6):
        assert found(cost.jobs_for(seconds, 3, chosen=True)).level == OK


def test_jobs_by_rule():
    said = "x\nJob stats:\njob      count\n-----  -------\nall          1\nmap_psf   400\ntotal   401\n\nmore 3\n"
    assert preflight.job_counts(said) == {"all": 1, "map_psf": 400}
    assert preflight.job_counts("Nothing to be done") == {}
