"""Bad studies and bad tables of mosaics, a line each: what the one line of the answer has to say."""

import time

import pytest
from isoplan.base.errors import UserError
from isoplan.cli import arguments
from isoplan.config import yamlmarks
from isoplan.config.validation import load, validate
from isoplan.mosaic.table import read_table

BOMB = "a0: &a0 [1, 1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))
ENTRIES = [f"k{i}: &k{i} {{<<: [*k{i - 1}, *k{i - 1}], j{i}: 1}}\n" for i in range(1, 40)]

# What stands in the file, in Latin-1 as a text and as it is as bytes, and the answer behind the file's name.
# fmt: off
STUDIES = {
    "nothing": ("", ":1: is empty"),
    "only comments": ("# mine\n\n", ":1: is empty"),
    "only a mark": ("---\n", ":1: is empty"),
    "a list": ("- study: a\n- map: {}\n", ":1: is a list, not a block of keys"),
    "a word": ("study\n", ":1: is one value, not a block of keys"),
    "equals signs": ("study = mine\nseed = 3\n", ":1: is one value, not a block of keys"),
    "an open bracket": ("study: a\nmap: [1\n", ":2: not YAML: did not find expected ',' or ']'"),
    "a tab": ("map:\n\tstride_px: 64\n", ":2: not YAML: found character that cannot start"),
    "an open quote": ("study: 'a\nseed: 1\n", ":2: not YAML: found unexpected end of stream"),
    "two studies": ("study: a\n---\nstudy: b\n", ":2: not YAML: but found another document"),
    "a bell": ("study: a\nseed: \a\n", ":2: not YAML: control characters are not allowed"),
    "a NUL": ("é\nstudy: a\0\n".encode(), ":2: not YAML: control characters are not allowed"),
    "Latin-1": ("# mine\nstudy: Mikroskop_für_mich\n", ", line 2: not UTF-8 text; save it as"),
    "UTF-16": ("study: a\n".encode("utf-16"), ", line 1: not UTF-8 text"),
    "an unknown alias": ("seed: *one\n", ":1: not YAML: found undefined alias"),
    "a foreign tag": ("seed: 1\nstudy: !!python/name:os.system\n", ":2: not YAML: could not determ"),
    "a list as a key": ("seed: 1\n? [a]\n: 2\n", ":2: not YAML: found unhashable key"),
    "an alias bomb": (BOMB, ":15: unfolds to over 100,000 values"),
    "a bomb of merged keys": ("k0: &k0 {a: 1}\n" + "".join(ENTRIES), ":14: unfolds to over"),
    "an alias in itself": ("seed: 1\nmap: &map\n  stride_px: [*map]\n", ":3: *map stands within itself"),
    "blocks in blocks": ("[" * 500_000, ":1: over 50 blocks within one another"),
    "a large file": ("# " + "x" * 2**20, ": 1.0 MiB of YAML; a study has some kB"),
    "month 13": ("study: a\nseed: 2024-13-01\n", ":2: month must be in 1..12; correct it, or put"),
    "5,000 digits": ("seed: " + "1" * 5000, ":1: Exceeds the limit"),
    "5,000 hexadecimal digits": ("seed: 0x" + "1" * 5000, ":1: Exceeds the limit"),
    "400 digits": ("seed: " + "1" * 400, ":1: seed: 1111"),
    "400 digits of a size": ("map:\n  stride_px: -" + "1" * 400, ":2: map.stride_px: -111"),
    "a list of 400 digits": ("psfs: [{name: a, width_px: [1, 1" + "0" * 400 + "]}]", "width_px[1]: 1000"),
    "a name with an end of line": ('study: "mine\\n"', r":1: study: 'mine\n' cannot be used in file names"),
    "a name of 300 letters": ("study: " + "a" * 300, ":1: study: 'aaa"),
    "a network's name": ('networks: [{name: "a\\n"}]', r"networks[0].name: 'a\n' cannot be used in file names"),
    "weights with an end of line": ('networks: [{name: a, weights: "a.safetensors\\n"}]', "is not a .safetensors"),
    "a key of two lines": ('"a\\nb": 1', r":1: 'a\nb': unknown key"),
    "a long key": ("x" * 999 + ": 1", ":1: 'xxx"),
    "a leading 0": ("study: a\nseed: 010\n", ":2: 010 is read in base 8 or 60 by YAML"),
    "a colon in a number": ("map: {stride_px: 1:04}\n", ":1: 1:04 is read in base 8 or 60 by YAML"),
    "yes as a key": ("yes: 1", ":1: [True]: unknown key"),
    "no name": ("seed: 1\n~: 2", ":1: None: unknown key"),
    "a date": ("study: 2024-12-01", ":1: study: datetime.date(2024, 12, 1) is not a word or text"),
    "bytes": ("study: !!binary aaaa", ":1: study: b'"),
    "a set": ("map: !!set {stride_px}", ":1: map: {'stride_px'} is not a block of keys"),
}
# fmt: on


@pytest.mark.parametrize("case", STUDIES)
def test_a_bad_study_is_one_line_with_its_place(tmp_path, case):
    content, answer = STUDIES[case]
    file = tmp_path / "mine.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode("latin-1"))
    begin = time.monotonic()
    with pytest.raises(UserError) as error:
        load(file)
    assert time.monotonic() - begin < 2
    (line,) = str(error.value).splitlines()
    assert line.startswith(str(file)) and answer in line and len(line) < 600, line


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()])
def test_what_is_no_file(tmp_path, make):
    make(tmp_path / "mine.yaml")
    with pytest.raises(UserError, match=r"mine\.yaml: no such config file; correct its path"):
        load(tmp_path / "mine.yaml")


def test_aliases_that_are_no_bomb(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_bytes(b"\xef\xbb\xbfstudy: mine\r\nmap: &map {stride_px: 64}\r\n")
    assert load(file)["map"]["stride_px"] == 64
    file.write_text(
        "psfs:\n- &psf {name: a, size_px: 21}\n- {<<: *psf, name: b}\nnetworks: [{name: n, psf: a}]\ntests: []\ntest_sets: []\nsimulations: []"
    )
    assert [psf["size_px"] for psf in load(file)["psfs"]] == [21, 21]


# Tables of mosaics, in UTF-8 as a text; the answer behind the file's name.
# fmt: off
HEAD = "mosaic\tpath\tpixel_size_um\n"
TABLES = {
    "nothing": ("", ": the table of mosaics is empty"),
    "only a header": (HEAD, ": the table of mosaics has only a header"),
    "Latin-1": (f"{HEAD}a\tPr\xe4parat.tif\t1\n".encode("latin-1"), ", line 2: not UTF-8 text"),
    "UTF-16": (f"{HEAD}a\tx.tif\t1\n".encode("utf-16"), ", line 1: not UTF-8 text"),
    "an open quote": (HEAD + 'a\t"x.tif\t1\nb\ty.tif\t1\n', ", line 2: a cell begins with a quote and does not"),
    "a quote that ends early": (HEAD + 'a\t"x".tif\t1\n', ", line 2: a cell begins with a quote and does not"),
    "an open quote at the end": (HEAD + 'a\tx.tif\t"1\n', ", line 2: a cell begins with a quote and does not"),
    "a quoted header": ('"mosaic\tpath\tpixel_size_um\na\tx.tif\t1\n', ", line 1: a cell begins with a quote"),
    "a cell of two lines": (HEAD + 'a\t"x\ny.tif"\t1\n', ", line 2: a cell begins with a quote"),
    "a vertical tab": (HEAD + "a\tx\x0by.tif\t1\n", ", line 2: has the control character U+000B; type the line again"),
    "a form feed": (HEAD + "a\tx\x0cy.tif\t1\n", ", line 2: has the control character U+000C"),
    "Unicode's line end": (HEAD + "a\tx.tif\u2028\t1\n", ", line 2: has the control character U+2028"),
    "a next line": (HEAD + "a\tx\x85y.tif\t1\n", ", line 2: has the control character U+0085"),
    "a NUL": (HEAD + "# b\na\tx.tif\t1\0\n", ", line 3: has the control character U+0000"),
    "spaces in the header": ("mosaic path pixel_size_um\na x.tif 1\n", ", line 1: 'mosaic path pixel_size_um' is not sep"),
    "commas in the header": ("mosaic,path,pixel_size_um\na,x.tif,1\n", ", line 1: 'mosaic,path,pixel_size_um' is not sep"),
    "a space in the header": ("mosaic\tpath pixel_size_um\na\tx\t1\n", ", line 1: 'path pixel_size_um' is not separated"),
    "spaces in a line": (HEAD + "a\tx.tif\t1\nb    y.tif   1\n", ", line 3: its cells are not separated by tabs"),
    "commas in a line": (HEAD + "a,x.tif,1\n", ", line 2: its cells are not separated by tabs"),
    "no column path": ("mosaic\tpixel_size_um\na\t1\n", ", line 1: column 'path' is missing"),
    "no header": ("a\tx.tif\t1\n", ", line 1: is not a header; begin the table with mosaic, path"),
    "a comma for a point": (HEAD + "a\tx.tif\t0,325\n", ", line 2: pixel_size_um is '0,325', not a number; write a point"),
    "an underscore for a point": (HEAD + "a\tx.tif\t0_5", ", line 2: pixel_size_um is '0_5', not a number"),
    "5,000 digits": ("mosaic\tpath\tslice\na\tx.tif\t" + "1" * 5000, ", line 2: slice is '1111"),
    "400 digits": (HEAD + "a\tx.tif\t" + "1" * 400, ", line 2: pixel_size_um is 1111"),
    "a name of 300 letters": (HEAD + "a" * 300 + "\tx.tif\t1\n", ", line 2: mosaic name 'aaa"),
    "a name with a brace": (HEAD + "{a}\tx.tif\t1\n", ", line 2: mosaic name '{a}' cannot name result files"),
    "a million letters": (HEAD + "a\tx.tif\t" + "x" * 10**6, ", line 2: is 1,000,008 characters long"),
}
# fmt: on


@pytest.mark.parametrize("case", TABLES)
def test_a_bad_table_is_one_line_with_its_place(tmp_path, case):
    content, answer = TABLES[case]
    file = tmp_path / "mosaics.tsv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as error:
        read_table(file)
    (line,) = str(error.value).splitlines()
    assert line.startswith(str(file)) and answer in line and len(line) < 600, line


@pytest.mark.parametrize(
    ("content", "path"),
    [
        ("mosaic\tpath\tpixel_size_um\ra\tx.tif\t1\rb\ty.tif\t1\r", "x.tif"),  # old Macs
        ("mosaic\tpath\tpixel_size_um\r\n\r\na\tx.tif\t1\r\n", "x.tif"),
        (f'{HEAD}a\t"x, ""y"".tif"\t1\n', 'x, "y".tif'),  # as spreadsheets save it
        (f'{HEAD}a\tpart 5" of {{1}} {{mosaic}}.tif\t1\n', 'part 5" of {1} {mosaic}.tif'),
        (f"{HEAD}a\t\u8a66\u6599 \u3000\xe4.tif\t1", "\u8a66\u6599 \u3000\xe4.tif"),
    ],
)
def test_odd_tables_that_are_right(tmp_path, content, path):
    (tmp_path / "mosaics.tsv").write_bytes(content.encode())
    assert read_table(tmp_path / "mosaics.tsv")[0]["path"] == path


def test_the_command_line_reads_the_config_before_anything_heavy(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.yaml").write_text("- a\n")
    monkeypatch.setattr(arguments, "_set_threads", lambda: pytest.fail("torch was loaded"))
    for command in (["release"], ["train", "--folder", "net"], ["evaluate", "--out", "a.csv"]):
        named = {"train": ["small"], "evaluate": ["small", "net.safetensors"]}.get(command[0], [])
        assert arguments.main([command[0], str(tmp_path / "mine.yaml"), *named, *command[1:]]) == 1
        assert capsys.readouterr().err.startswith(f"isoplan: {tmp_path}/mine.yaml:1: is a list")


# What a study names and is not there, from the folder that it is started in; the answer behind the file's name.
# fmt: off
ABSENT = {
    "mosaics: gone.tsv": ":1: mosaics: there is no file 'gone.tsv'; paths count from ",
    "mosaics: folder": ":1: mosaics: there is no file 'folder'",
    "networks:\n- name: small\n  weights: net.safetensors": ":3: networks[0].weights: there is no file 'net.safetensors'",
    "networks: [{name: small, architecture: resnet34, pretrained: net.pth}]": "pretrained: there is no file 'net.pth'",
    "psfs: [{name: gaussian-2}, {name: b, model: measured, file: bead.tif}]": "psfs[1].file: there is no file 'bead.tif'",
    "objects: [{name: scenes, kinds: [folder], folder: sharp}]": "objects[0].folder: there is no folder 'sharp'",
    "harm_tests: [{name: t, folder: table.tsv}]": "harm_tests[0].folder: there is no folder 'table.tsv'",
    "sequences: [{name: a, path: a.tif}]": "sequences[0].path: there is no file or folder 'a.tif'",
    "mosaics: '{1}.tsv'": ":1: mosaics: '{1}.tsv' has braces, which Snakemake takes for wildcards; rename",
}
# fmt: on


@pytest.mark.parametrize("text", ABSENT)
def test_what_a_study_names_has_to_be_there(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for name in ("table.tsv", "{1}.tsv"):
        (tmp_path / name).touch()
    file = tmp_path / "mine.yaml"
    file.write_text(f"{text}\n" + ("" if "mosaics" in text else "mosaics: table.tsv\n"))
    study = yamlmarks.read(file)
    validate(study, [file])  # elsewhere, on a machine without the files, it is right
    with pytest.raises(UserError) as error:
        validate(study, [file], here=True)
    (line,) = str(error.value).splitlines()
    assert line.startswith(str(file)) and ABSENT[text] in line, line


def test_what_is_there_or_released_is_right(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table.tsv").touch()
    validate({"mosaics": "table.tsv"}, here=True)
    validate({"mosaics": None, "networks": [{"name": "small", "weights": "released"}]}, here=True)
