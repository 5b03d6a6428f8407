"""Microscopes' own files, byte by byte, where no library writes them: the least that LIF and ND2 readers need."""

import struct
import zlib

import numpy as np

# LIF -----------------------------------------------------------------------------------------------

_DIMENSIONS = {"X": 1, "Y": 2, "Z": 3, "T": 4, "M": 10}


def write_lif(path, images):
    """images: for each a name, its axes, an array and the side of a pixel in m.

    Rows and planes lie as the array's memory does: those of a view have the gaps that its base has.
    """
    elements, blocks = [], []
    for number, (name, axes, array, step) in enumerate(images):
        ident = f"MemBlock_{number}"
        block = (array if array.base is None else array.base).tobytes()
        elements.append(_image(name, ident, axes, array, step, len(block)))
        head = struct.pack("<BQBI", 0x2A, len(block), 0x2A, len(ident)) + ident.encode("utf-16-le")
        blocks.append(struct.pack("<II", 0x70, len(head)) + head + block)
    header = f"""<LMSDataContainerHeader Version="2"><Element Name="all"><Data/><Memory Size="0"/>
<Children>{"".join(elements)}</Children></Element></LMSDataContainerHeader>"""
    text = struct.pack("<BI", 0x2A, len(header)) + header.encode("utf-16-le")
    path.write_bytes(struct.pack("<II", 0x70, len(text)) + text + b"".join(blocks))


def _image(name, ident, axes, array, step, size) -> str:
    strides = dict(zip(axes, array.strides, strict=True))
    channels = "".join(
        f"""<ChannelDescription DataType="0" ChannelTag="0" Resolution="{8 * array.itemsize}" Min="0" Max="1" Unit=""
NameOfMeasuredQuantity="" LUTName="Gray" IsLUTInverted="0" BytesInc="{c * strides.get("C", 0)}" BitInc="0"/>"""
        for c in range(dict(zip(axes, array.shape, strict=True)).get("C", 1))
    )
    dimensions = "".join(
        f"""<DimensionDescription DimID="{_DIMENSIONS[axis]}" NumberOfElements="{count}" Origin="1e-3"
Length="{step * (count - 1)}" Unit="m" BytesInc="{strides[axis]}" BitInc="0"/>"""
        for axis, count in zip(axes, array.shape, strict=True)
        if axis != "C"
    )
    return f"""<Element Name="{name}"><Data><Image><ImageDescription><Channels>{channels}</Channels>
<Dimensions>{dimensions}</Dimensions></ImageDescription></Image></Data>
<Memory Size="{size}" MemoryBlockID="{ident}"/></Element>"""


# ND2 -----------------------------------------------------------------------------------------------


def write_nd2(
    path, frames, positions=(), *, planes=None, pad=0, packed=False, missing=(), **header
):
    """frames: (P, Z, C, Y, X) of uint16; positions: (x, y) of the stage in um, of each P where there are several.

    planes: how many the C are told as, each with its share of components. pad: bytes behind each row.
    packed: losslessly. missing: frames that are not in the file. header: more of the picture's metadata.
    """
    count_p, count_z, count_c, height, width = frames.shape
    planes = planes or count_c
    row = 2 * width * count_c + pad
    attributes = {"uiWidth": width, "uiWidthBytes": row, "uiHeight": height, "uiComp": count_c}
    attributes |= {"uiBpcInMemory": 16, "uiBpcSignificant": 16, "eCompression": 0 if packed else 2}
    attributes["uiSequenceCount"] = count_p * count_z
    told = {
        f"a{p}": {"sDescription": f"dye{p}", "uiCompCount": count_c // planes} | _probe(500.0 + p)
        for p in range(planes)
    }
    picture = {"sPicturePlanes": {"uiCount": planes, "sPlaneNew": told}} | header
    loop = {"eType": 4, "uLoopPars": {"uiCount": count_z, "dZStep": 0.5}}
    if positions:
        points = [{"dPosX": float(x), "dPosY": float(y)} for x, y in positions]
        outer = {"uiCount": len(points), "Points": points}
        loop = {"eType": 2, "uLoopPars": outer, "ppNextLevelEx": [loop]}
    chunks = {
        b"ImageAttributesLV!": _lite({"SLxImageAttributes": attributes}),
        b"ImageMetadataSeqLV|0!": _lite({"SLxPictureMetadata": picture}),
        b"ImageMetadataLV!": _lite({"SLxExperiment": loop}),
    }
    for number, frame in enumerate(frames.reshape(-1, count_c, height, width)):
        rows = frame.transpose(1, 2, 0).reshape(height, -1).astype("<u2").view("u1")
        data = np.pad(rows, ((0, 0), (0, pad)), constant_values=255).tobytes()
        if number not in missing:
            chunks[b"ImageDataSeq|%d!" % number] = bytes(8) + (
                zlib.compress(data) if packed else data
            )
    file = _chunk(b"ND2 FILE SIGNATURE CHUNK NAME01!", b"Ver3.0".ljust(64, b"\0"), 32)
    places = b""
    for name, data in chunks.items():
        places += name + struct.pack("<QQ", len(file), len(data))
        # Readers look for the numbers of a frame 4096 bytes behind its start.
        file += _chunk(name, data, 4072 if name.startswith(b"ImageDataSeq") else 40)
    end = b"ND2 CHUNK MAP SIGNATURE 0000001!" + struct.pack("<Q", len(file))
    path.write_bytes(file + _chunk(b"ND2 FILEMAP SIGNATURE NAME 0001!", places + end, 32))


def _probe(wave):
    point = {"pPoint": {"Point0": {"dTValue": 1.0, "dWavelength": wave}}}
    return {"pFluorescentProbe": {"m_EmissionSpectrum": point}}


def _chunk(name, data, reserved):
    return struct.pack("<IIQ", 0x0ABECEDA, reserved, len(data)) + name.ljust(reserved, b"\0") + data


def _lite(items) -> bytes:
    """Names and values as Nikon's binary tree: type, name, value; a level tells its entries and length."""
    return b"".join(_entry(name, value) for name, value in items.items())


def _entry(name, value) -> bytes:
    text = (name + "\0").encode("utf-16-le")
    kinds = {bool: (1, "<B"), int: (3, "<I"), float: (6, "<d")}
    if type(value) in kinds:
        kind, form = kinds[type(value)]
        return bytes([kind, len(text) // 2]) + text + struct.pack(form, value)
    if isinstance(value, str):
        return bytes([8, len(text) // 2]) + text + (value + "\0").encode("utf-16-le")
    listed = isinstance(value, list)
    inner = b"".join(_entry("", one) for one in value) if listed else _lite(value)
    length = 2 + len(text) + 12 + len(inner)
    head = bytes([11, len(text) // 2]) + text + struct.pack("<IQ", len(value), length)
    return head + inner + bytes(8 * len(value))


# A format of our own ------------------------------------------------------------------------------

_READER = """
import numpy as np

from isoplan.mosaic.formats.libraries import through_library
from isoplan.mosaic.source import Source


@through_library
def open_plain(path, wanted, stack):
    handle = stack.enter_context(open(path, "rb"))
    handle.seek(8)
    return Source(np.load(handle), "YX")
"""


def add_format(library):
    """Adds a format to a copy of the library, as one would: a file, and a row. Returns its module's name."""
    formats = library / "mosaic" / "formats"
    (formats / "plain.py").write_text(_READER)
    rows, start = (formats / "rows.py").read_text(), "FORMATS = {\n"
    row = '    b"PLAIN": ("PLAIN", "isoplan.mosaic.formats.plain:open_plain"),\n'
    assert start in rows
    (formats / "rows.py").write_text(rows.replace(start, start + row))
    return "isoplan.mosaic.formats.plain"


def write_plain(path, picture):
    with open(path, "wb") as handle:
        handle.write(b"PLAIN\0\0\0")
        np.save(handle, picture)
