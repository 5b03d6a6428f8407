"""Hashes that tell what a result was made by."""

import os

import pytest
from isoplan.base import fingerprint as module
from isoplan.base.fingerprint import file_stamp, fingerprint, library_hashes

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
    assert "isoplan.restoration.richardson_lucy" in library_hashes(scripts / "restore_mosaic.py")
    assert "isoplan.restoration.richardson_lucy" not in library_hashes(scripts / "train_network.py")
    assert "isoplan.training.loop" not in library_hashes(scripts / "restore_mosaic.py")


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
