"""How `make study`, `preflight` and `resume` find a study, and what they say of one that does not serve."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow"))

import study
from isoplan.base.errors import UserError

WORKFLOW = Path(study.__file__).parent
CONFIGS = {
    "config/config.yaml": b"study: demo\nnetworks: [{name: small}]\nmosaics: null\nseed: 5\nmap: {neighbours: 3}\n",
    "config/studies/demo.yaml": b"study: demo\nseed: 6\n",
    "config/studies/first.yaml": b"study: mine\nmap: {stride_px: 64}\n",
    "config/studies/twin.yaml": b"study: twin\n",
    "config/studies/twin.old.yaml": b"study: twin\n",
    "config/studies/list.yaml": b"- study: listed\n",
    "config/studies/latin.yaml": "study: für\n".encode("latin-1"),
    "config/studies/open.yaml": b"study: open\nmap: [1\n",
    "config/mine.tsv": b'mosaic\tpath\na\t"x.tif\n',
    "config/studies/foreign.yaml": b"services: {web: {image: x}}\n",
    "config/studies/number.yml": b"study: 7\n",
    "results/mine/config.yaml": b"study: mine\n",
    "results/elsewhere/config.yaml": b"study: elsewhere\n",
    "results/open/config.yaml": b"study: open\n",
}


PICTURES = b"study: two\nmosaics: config/two.tsv\n"  # a whole study of a user's


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, content in CONFIGS.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content)
    Path("config/studies/folder.yaml").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("mine", "config/studies/first.yaml"),  # before what a run wrote
        ("demo", "config/studies/demo.yaml"),  # which `make demo` runs
        ("7", "config/studies/number.yml"),
        ("elsewhere", "results/elsewhere/config.yaml"),
        ("config/studies/twin.old.yaml", "config/studies/twin.old.yaml"),
        ("other/mine.yml", "other/mine.yml"),
    ],
)
def test_the_config_of_a_study(folder, name, config):
    assert study.find_config(name) == Path(config)


def test_the_default_study_without_a_file_of_its_own(folder):
    Path("config/studies/demo.yaml").unlink()
    assert study.find_config("demo") == study.DEFAULT


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("twin", "twin: is the study of config/studies/twin.old.yaml and config/studies/twin.yaml; give"),
        ("list", "config/studies/list.yaml:1: is a list, not a block of keys"),
        ("latin", "config/studies/latin.yaml, line 1: not UTF-8 text"),
        ("open", "config/studies/open.yaml:2: not YAML"),
        ("mien", "known are 7, demo, mine, twin (not read: config/studies/latin.yaml, config/studies/list"),
        ("first", "first: no file in config/studies/ has `study: first`"),
        ("gone.yaml", "gone.yaml: no such config file"),
        ("config/mine.tsv", "config/mine.tsv: is not a .yaml file; a study is a YAML file in config/studies/, with"),
        ("config/studies/number.yml", "config/studies/number.yml:1: study: 7 is not a word or text"),
        ("config/studies/foreign.yaml", "config/studies/foreign.yaml:1: services: unknown key"),
    ],
)  # fmt: skip
def test_what_is_no_study_is_one_line(folder, name, said):
    with pytest.raises(UserError) as error:
        study.read_study(study.find_config(name))
    (line,) = str(error.value).splitlines()
    assert said in line, line


def test_a_study_stands_over_the_default_one(folder):
    """As Snakemake merges them: blocks key by key."""
    settings = study.read_study(Path("config/studies/first.yaml"))
    assert (settings["study"], settings["seed"]) == ("mine", 5)
    assert (settings["map"]["stride_px"], settings["map"]["neighbours"]) == (64, 3)
    assert study.read_study(study.DEFAULT)["seed"] == 5


def test_a_broken_default_is_named_whatever_the_study(folder):
    study.DEFAULT.write_text("a: [\n")
    with pytest.raises(UserError, match=r"config/config\.yaml:1: not YAML"):
        study.read_study(study.find_config("mine"))


def test_a_path_stands_for_its_name(folder):
    args = study.arguments("", ["config/studies/first.yaml", "--profile", "slurm"])
    assert (args.study, args.profile) == ("mine", "slurm")
    with pytest.raises(UserError, match=r"first\.yaml: is the study mine, not demo"):
        study.arguments("", ["demo", "--configfile", "config/studies/first.yaml"])


def test_snakemake_gets_the_config_and_all_else(folder, monkeypatch):
    started = []
    monkeypatch.setattr(study.os, "execv", lambda program, command: started.append(command[3:]))
    study.main(["mine", "--cores", "2", "-n", "--config", "seed=2"])
    own = ["--configfile", "config/studies/first.yaml"]
    assert started == [[*own, "--cores", "2", "-n", "--config", "seed=2"]]


def test_a_slip_in_the_table_is_one_line(folder, monkeypatch):
    """Also where the command line names the table."""
    monkeypatch.setattr(study.os, "execv", lambda *_: pytest.fail("Snakemake was started"))
    Path("config/studies/first.yaml").write_text("study: mine\nmosaics: config/mine.tsv\n")
    tests = [["mine", "-n"], ["demo", "--config", "mosaics=config/mine.tsv"]]
    for given in tests:
        with pytest.raises(
            UserError, match=r"^config/mine\.tsv, line 2: a cell begins with a quote"
        ):
            study.main(given)
    with pytest.raises(UserError, match=r"^config/mine\.tsv, line 2"):
        study.arguments("", ["mine"])


def test_all_of_config_counts(folder):
    """Snakemake would take the last one alone."""
    given = [
        "--config",
        "seed=2",
        "map={neighbours: 3}",
        "-n",
        "-C",
        "device=cpu",
        "--config=study=a",
        "-p",
    ]
    own = Path("config/studies/first.yaml")
    joined = ["--config", "seed=2", "map={neighbours: 3}", "device=cpu", "study=a"]
    assert study.join_config_options(given, own) == ["-n", "-p", *joined]
    assert study.join_config_options(["-n"], own) == ["-n"]
    over = ["--configfile", "over.yaml"]
    assert study.join_config_options(over, study.DEFAULT) == over


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--configfile", "over.yaml"], "--configfile would replace config/studies/first.yaml"),
        (["-n", "--configfile=over.yaml"], "write what differs into the study"),
        (["--config", "map.neighbours=5"], "given as map={neighbours: 5}"),
        (["--config", "seed=2", "all"], "--config all: is not KEY=VALUE"),
    ],
)  # fmt: skip
def test_options_that_would_drop_the_study_are_one_line(folder, given, said):
    with pytest.raises(UserError) as error:
        study.main(["mine", *given])
    assert said in str(error.value) and len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("script", ["study", "preflight", "resume"])
def test_a_mistake_ends_each_at_once(folder, script):
    """Before torch is loaded, and before Snakemake, which would say nothing or break down."""
    begin = time.monotonic()
    command = [sys.executable, str(WORKFLOW / f"{script}.py"), "latin", "--cores", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert time.monotonic() - begin < 5
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.startswith("ERROR config/studies/latin.yaml, line 1: not UTF-8")
    assert len(done.stderr.splitlines()) == 1


def test_a_study_of_two_lines_takes_the_released_network(folder):
    Path("config/config.yaml").write_bytes(b"study: demo\n")
    Path("config/studies/two.yaml").write_bytes(PICTURES)
    settings = study.read_study(Path("config/studies/two.yaml"))
    assert [network["weights"] for network in settings["networks"]] == ["released"]
    assert not settings["simulations"] and not settings["tests"]


def test_a_study_that_asks_for_nothing(folder):
    Path("config/config.yaml").write_bytes(b"study: demo\n")
    for config in (study.DEFAULT, Path("config/studies/twin.yaml")):
        with pytest.raises(UserError, match="asks for nothing: name your table of mosaics"):
            study.read_study(config)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (b"", True),
        (b"networks: [{name: small}]\n", False),
        (b"networks: [{name: released, weights: released}]\n", False),
    ],
)
def test_a_study_that_trained_by_default_is_not_switched_in_silence(folder, more, told):
    Path("config/config.yaml").write_bytes(b"study: demo\n")
    config = Path("config/studies/two.yaml")
    config.write_bytes(PICTURES + more)
    Path("results/two/networks/small").mkdir(parents=True)
    if told:
        with pytest.raises(UserError, match="once trained its own; it now takes the released one"):
            study.read_study(config)
        Path("results/two/networks/released").mkdir()  # of one that was switched
    assert study.read_study(config)["study"] == "two"
