"""Formats that are read through libraries: the one list.

What a file begins with -> what it is called, and the function that opens it (`libraries.through_library`), as
"module:name", which is loaded where such a file is opened. A row counts in no hash, its reader in those of jobs that open such a
file: a new row reruns nothing else. Read while Snakemake parses, hence the standard library alone.
"""

FORMATS = {
    b"ZISR": ("CZI", "isoplan.mosaic.formats.czi:open_czi"),
    b"\xda\xce\xbe\n": ("ND2", "isoplan.mosaic.formats.nd2:open_nd2"),
    b"p\0\0\0": ("LIF", "isoplan.mosaic.formats.lif:open_lif"),
}
