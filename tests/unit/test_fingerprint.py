"""Hashes that tell what a result was made by."""

import os
import subprocess
import sys
import textwrap

import pytest
from isoplan.base import fingerprint as module
from isoplan.base.fingerprint import file_stamp, fingerprint, library_hashes, unhashed
from isoplan.config.schema import families

CODE = {
    "low/__init__.py": "",
    "low/ground.py": '"""Ground."""\n\n\ndef one():\n    """One."""\n    return 1\n',
    "low/other.py": "X = 2\n",
    "middle.py": "from isoplan.low import ground\n\n\ndef two():\n    return ground.one() + 1\n",
    "high.py": "def late():\n    from isoplan.middle import two\n\n    return two()\n",
}
SCRIPT = "import os\n\nfrom isoplan.high import late\n"


@pytest.fixture
def house(tmp_path, monkeypatch):
    """house(changes): hashes of a script in a small library with some files replaced."""
    count = 0

    def hashes(changes=None, script=SCRIPT):
        nonlocal count
        count += 1  # another folder each time: parsed files are remembered
        root = tmp_path / str(count) / "isoplan"
        for name, text in {"__init__.py": "", **CODE, **(changes or {})}.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        (root.parent / "script.py").write_text(script)
        monkeypatch.setattr(module, "LIBRARY", root)
        return library_hashes(root.parent / "script.py")

    return hashes


def test_closure_follows_indirect_and_late_imports(house):
    assert set(house()) == {"isoplan.high", "isoplan.middle", "isoplan.low.ground"}


def test_moving_the_library_changes_nothing(house):
    assert house() == house()


@pytest.mark.parametrize(
    "text",
    [
        '"""Another word."""\n\n\ndef one():\n    """And here."""\n    return 1\n',
        "# A comment\ndef one():\n    return (\n        1  # one\n    )\n",
        "def one(): return 1\n",
    ],
    ids=["docstrings", "comments and layout", "one line"],
)
def test_what_the_machine_does_not_read_counts_nothing(house, text):
    assert house({"low/ground.py": text}) == house()


def test_code_counts_and_names_its_module(house):
    before, after = house(), house({"low/ground.py": "def one():\n    return 1.0\n"})
    assert {name for name in before if before[name] != after[name]} == {"isoplan.low.ground"}


def test_a_string_that_is_no_docstring_counts(house):
    body = "def one():\n    x = {}\n    return x\n"
    assert house({"low/ground.py": body.format("'a'")}) != house(
        {"low/ground.py": body.format("'b'")}
    )


def test_modules_that_nobody_imports_do_not_count(house):
    assert house({"low/other.py": "X = 3\n"}) == house()
    both = SCRIPT + "from isoplan.low.other import X\n"
    assert "isoplan.low.other" in house(script=both)


def test_every_script_of_the_workflow_has_its_closure():
    scripts = module.LIBRARY.parent
    for script in scripts.glob("[a-z]*.py"):
        library_hashes(script)  # raises where an imported module is not there
    assert "isoplan.training.loop" not in library_hashes(scripts / "restore_mosaic.py")
    assert "isoplan.restoration.cores" not in library_hashes(scripts / "train_network.py")


def test_what_is_chosen_by_name_counts_where_it_is_chosen(house):
    names = set(house())
    root = module.LIBRARY.parent
    chosen = library_hashes(root / "script.py", "isoplan.low.other:X")
    assert set(chosen) == names | {"isoplan.low.other"}


@pytest.mark.parametrize("key", ["psfs", "networks", "restoration"])
def test_no_script_imports_what_is_chosen(key):
    """Else every study would depend on every choice, and a new one would make everything again."""
    code = {family["code"].partition(":")[0] for family in families(key).values()}
    assert code
    for script in module.LIBRARY.parent.glob("[a-z]*.py"):
        imported = set(library_hashes(script))
        # The Gaussian's lines and the fit of spectra are of use to others too.
        assert not (code & imported) - SHARED_CODE, script.name


def test_no_script_imports_a_reader_through_a_library():
    """Nor the list of them: they count where files of their format are opened."""
    for script in module.LIBRARY.parent.glob("[a-z]*.py"):
        assert not [name for name in library_hashes(script) if ".formats." in name], script.name


SHARED_CODE = {"isoplan.optics.gaussian", "isoplan.networks.spectrum_fit"}


def test_importing_a_script_loads_nothing_that_is_not_hashed():
    """Each in a fork of one process, in which the heavy libraries are loaded and all hashes known already."""
    code = """
        import os, sys
        from pathlib import Path
        import imageio.v3, jinja2, matplotlib.figure, numpy.testing, pandas, torch, zarr
        import scipy.ndimage, scipy.optimize, scipy.signal, scipy.stats
        from isoplan.base.fingerprint import library_hashes, unhashed
        before = {name for name in sys.modules if name.startswith("isoplan.")}
        scripts = sorted(Path(sys.argv[1]).glob("[a-z]*.py"))
        library = {script: library_hashes(script) for script in scripts}
        for script in scripts:
            child = os.fork()
            if not child:
                __import__(script.stem)
                missed = unhashed(set(sys.modules) - before, library[script])
                print(script.stem, *missed) if missed else None
                sys.stdout.flush()
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0, script
    """
    scripts = module.LIBRARY.parent
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), scripts],
        env=os.environ | {"PYTHONPATH": str(scripts)},
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stdout


def test_unhashed_code_is_named():
    library = ["isoplan.optics.blur"]
    loaded = ["isoplan.optics.blur", "isoplan.optics", "isoplan.optics.zernike", "torch"]
    assert unhashed(loaded, library) == ["isoplan.optics.zernike"]
    assert not unhashed(["isoplan.config.schema", "isoplan.base.errors"], library)


def test_fingerprint_of_settings():
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
    assert fingerprint("a", "b") != fingerprint("ab")
    assert len(fingerprint()) == 16


def test_file_stamp_follows_a_file(tmp_path):
    file = tmp_path / "a"
    file.write_text("1")
    before = file_stamp(file)
    assert file_stamp(file) == before
    os.utime(file, ns=(1, 1))
    assert file_stamp(file) != before


def test_file_stamp_follows_all_files_of_a_store(tmp_path, monkeypatch):
    """A chunk that an older one of its size replaced, a name, a number; not where the store lies."""
    store = tmp_path / "a.zarr"
    chunk = store / "0" / "c" / "0"
    chunk.parent.mkdir(parents=True)
    (store / "zarr.json").write_text("{}")
    chunk.write_text("1")
    before = file_stamp(store)
    (store / ".DS_Store").write_text("")
    moved = store.rename(tmp_path / "b.zarr")
    assert file_stamp(moved) == before
    chunk = moved / "0" / "c" / "0"
    time_ns = chunk.stat().st_mtime_ns
    os.utime(chunk, ns=(1, 1))
    assert file_stamp(moved) != before
    os.utime(chunk, ns=(time_ns, time_ns))
    assert file_stamp(moved) == before
    renamed = chunk.rename(chunk.with_name("1"))
    assert file_stamp(moved) != before
    monkeypatch.setattr(module, "MOST_FILES", 1)
    before = file_stamp(moved)
    renamed.unlink()
    (renamed.parent / "2").write_text("1")
    os.utime(renamed.parent, ns=(1, 1))
    assert file_stamp(moved) != before
