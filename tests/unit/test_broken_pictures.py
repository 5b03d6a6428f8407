"""A picture that breaks while it is decoded costs itself alone: its job ends well, and says why."""

import errno
import json
import zlib
from types import SimpleNamespace

import convert_mosaic
import measure_mosaic
import numpy as np
import pytest
from isoplan.base.errors import of_the_disk
from isoplan.mosaic import reader
from isoplan.report.results import read_study

PICTURE = np.random.default_rng(1).integers(0, 250, (300, 310), dtype=np.uint8)


def chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)


def png(data: bytes) -> bytes:
    """A PNG whose header, checksums and end are whole, whatever its pixels are packed as."""
    size = b"".join(length.to_bytes(4) for length in PICTURE.shape[::-1])
    parts = ((b"IHDR", size + b"\x08\0\0\0\0"), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


ROWS = [b"\0" + row.tobytes() for row in PICTURE]
PACKED = zlib.compress(b"".join(ROWS))
BROKEN = {
    "flipped": png(PACKED[:900] + b"\xff" * 40 + PACKED[940:]),
    "short": png(PACKED[: len(PACKED) // 2]),
    "no data": png(b""),
    "half the rows": png(zlib.compress(b"".join(ROWS[:150]))),
    "a row less": png(zlib.compress(b"".join(ROWS[:-1]))),
    "bad checksum": png(PACKED).replace(b"IDAT", b"IDAS"),
}


@pytest.fixture(params=[False, True], ids=["as it is", "converted"])
def job(request, tmp_path, monkeypatch):
    """measured(content, **given): the facts of a PNG with that content, read as it is or converted first."""

    def measured(content: bytes, **given) -> dict:
        file, done, facts = (tmp_path / name for name in ("a.png", "a.done", "a.json"))
        file.write_bytes(content)
        row = {"mosaic": "a", "path": str(file), "pixel_size_um": 1.0, "channel": None}
        row |= {"slice": None, "gain": 1.0, "read_noise_e": 0.0, "offset": 0.0} | given
        store = str(tmp_path / "a.ome.zarr") if request.param else None
        job = SimpleNamespace(
            params=SimpleNamespace(row=row, store=store, library={}, background=0, files=None),
            input=SimpleNamespace(source=str(done if store else file)),
            output=SimpleNamespace(done=done, facts=facts),
        )
        if store:
            with monkeypatch.context() as large:
                large.setattr(reader, "HELD_BYTES", 1000)
                large.setattr(reader, "PIECE_BYTES", 1000)
                convert_mosaic.main(job)
        measure_mosaic.main(job)
        return json.loads(facts.read_text())

    return measured


def test_the_whole_one_is_measured(job):
    assert job(png(PACKED))["mean"] == pytest.approx(PICTURE.mean())


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"offset": 400.0}, "a.png: no light is left above the offset of 400 counts"),
        ({"gain": 4e-5}, "a.png: with a gain of 4e-05 its brightest pixels would hold "),
    ],
)
def test_one_whose_camera_cannot_be_is_refused_and_nothing_fails(job, given, words):
    assert words in job(png(PACKED), **given)["refused"]


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_one_is_refused_and_nothing_fails(job, kind):
    assert "a.png: " in job(BROKEN[kind])["refused"]


def test_a_broken_one_that_the_table_no_longer_names_is_no_mosaic_of_the_report(tmp_path):
    (tmp_path / "mosaics").mkdir()
    for name, facts in {"a": {"refused": "broken"}, "b": {"mean": 1.0}}.items():
        (tmp_path / "mosaics" / f"{name}.json").write_text(json.dumps({"mosaic": name} | facts))
    assert [mosaic.name for mosaic in read_study(tmp_path).mosaics] == ["b"]


@pytest.mark.parametrize(
    ("error", "disk"),
    [
        (OSError(errno.EIO, "Input/output error"), True),
        (OSError(errno.ESTALE, "Stale file handle"), True),
        (PermissionError(errno.EACCES, "Permission denied"), True),
        (OSError("image file is truncated (3 bytes not processed)"), False),
        (OSError(errno.EINVAL, "Invalid argument"), False),  # sought before the file's begin
        (SyntaxError("broken PNG file"), False),
        (None, False),
    ],
)
def test_whose_error_it_is(error, disk):
    assert of_the_disk(error) == disk
