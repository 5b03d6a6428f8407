"""The list of formats that are read through libraries.

Each row maps the first bytes of a file to the format's name and the function that opens it
(`libraries.through_library`), as "module:name"; it is loaded when such a file is opened. Rows count in
no job's hash. The reader counts in the hashes of jobs that open such a file, so a new row reruns
nothing else. Snakemake imports this when it parses the workflow: standard library only.
"""

FORMATS = {
    b"ZISR": ("CZI", "isoplan.mosaic.formats.czi:open_czi"),
    b"\xda\xce\xbe\n": ("ND2", "isoplan.mosaic.formats.nd2:open_nd2"),
    b"p\0\0\0": ("LIF", "isoplan.mosaic.formats.lif:open_lif"),
}
