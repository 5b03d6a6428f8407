"""The table of mosaics: what is accepted and how each slip is answered."""

from pathlib import Path

import pytest
from isoplan.base.errors import UserError
from isoplan.mosaic.table import COLUMNS, read_table, resolve_path

HEADER = "mosaic\tpath\tpixel_size_um\tna\twavelength_um\tslice"


def write(folder, *lines):
    path = folder / "mosaics.tsv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_numbers_are_numbers_and_what_is_not_given_is_none(tmp_path):
    path = write(
        tmp_path, "# a note", HEADER, "", "kidney_1\tdata/a.tif\t0.2\t0.8\t\t3", "b.2\tb.tif\t1e-1"
    )
    first, second = read_table(path)
    assert first == dict.fromkeys(COLUMNS) | {
        "mosaic": "kidney_1",
        "path": "data/a.tif",
        "pixel_size_um": 0.2,
        "na": 0.8,
        "slice": 3,
    }
    assert second["pixel_size_um"] == 0.1
    assert second["na"] is None


@pytest.mark.parametrize("mark", [",", ";"])
def test_a_spreadsheet_may_save_it_as_csv(tmp_path, mark):
    table = tmp_path / "mosaics.CSV"
    path = f'"a{mark} b.tif"'
    lines = [
        f"mosaic{mark}path{mark}pixel_size_um",
        "# two",
        f"a{mark}{path}{mark}0.5",
        f"b{mark}b.tif",
    ]
    table.write_text("\n".join(lines))
    first, second = read_table(table)
    assert first["path"].endswith(f"a{mark} b.tif") and first["pixel_size_um"] == 0.5
    assert second["mosaic"] == "b" and second["pixel_size_um"] is None
    table.write_text(f"mosaic{mark}path\na b.tif\n")
    with pytest.raises(
        UserError, match=r"line 2: its cells are not separated by (commas|semicolons)"
    ):
        read_table(table)


def test_byte_order_mark_and_windows_line_ends(tmp_path):
    path = tmp_path / "mosaics.tsv"
    path.write_bytes(b"\xef\xbb\xbfmosaic\tpath\tpixel_size_um\r\na\ta b.tif\t1\r\n")
    assert read_table(path)[0]["path"] == "a b.tif"


def test_pictures_of_scikit_image(tmp_path):
    row = read_table(write(tmp_path, HEADER, "cell\tscikit-image:cell.png\t1"))[0]
    assert Path(row["path"]).is_file()
    with pytest.raises(UserError, match=r"line 2.*nothing\.png.*cell\.png.*retina\.jpg"):
        read_table(write(tmp_path, HEADER, "cell\tscikit-image:nothing.png\t1"))
    assert resolve_path("data/a.tif") == "data/a.tif"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["mosaic\tpath\tpixel_sise_um"], r"line 1.*'pixel_sise_um'.*did you mean 'pixel_size_um'"),
        (["mosaic\tpath\tpixel_size_um\tqqqq"], r"'qqqq'; known are mosaic"),
        (["mosaic\tna"], r"'path' is missing"),
        (["# x", "mosaic\tpath\tpath\tpixel_size_um"], r"line 2.*'path' occurs twice"),
        (["mosaic\tpath,pixel_size_um"], r"line 1: 'path,pixel_size_um' is not separated by tabs"),
        ([HEADER], r"only a header"),
        (["# nothing"], r"is empty"),
        ([HEADER, "a\tx.tif\t1", "a\ty.tif\t1"], r"line 3.*'a' is already named in line 2"),
        ([HEADER, "a/b\tx.tif\t1"], r"line 2.*'a/b'"),
        ([HEADER, "..\tx.tif\t1"], r"line 2.*'\.\.'"),
        ([HEADER, "a\t\t1"], r"line 2: path is empty"),
        ([HEADER, "a\t\t1"], r"line 2: path is empty"),
        (
            [HEADER + "\tchannel", "a\tx.tif\t1\t\t\t\tbrightest"],
            r"line 2: channel is 'brightest'; give",
        ),
        ([HEADER, "a\tx.tif\t1\t\t\tmiddle"], r"slice is 'middle'; .* or sharpest or brightest"),
        ([HEADER, "a\tx.tif\t0"], r"pixel_size_um is 0; it must be finite, above 0"),
        ([HEADER, "a\tx.tif\tnan"], r"pixel_size_um is nan"),
        ([HEADER, "a\tx.tif\t1 um"], r"'1 um', not a number"),
        ([HEADER, "a\tx.tif\t1\t-1"], r"na is -1"),
        ([HEADER, "a\tx.tif\t1\t1\t520"], r"wavelength_um is 520.*check the unit"),
        ([HEADER, "a\tx.tif\t1\t1\t.5\t-1"], r"slice is '-1'"),
        (
            ["mosaic\tpath\tpixel_size_um\treference", "a\tx.tif\t1\t./x.tif"],
            "is the picture itself",
        ),
        ([HEADER, "a\tx.tif\t1\t1\t.5\t1\t9"], r"line 2: 7 cells for 6 columns"),
    ],
)
def test_each_slip_names_file_line_and_remedy(tmp_path, lines, message):
    with pytest.raises(UserError, match=message) as error:
        read_table(write(tmp_path, *lines))
    assert str(error.value).startswith(str(tmp_path / "mosaics.tsv"))


def test_a_table_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match="correct its path"):
        read_table(tmp_path / "missing.tsv")
    binary = tmp_path / "binary.tsv"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="UTF-8"):
        read_table(binary)
