# For type checkers alone: at run time the names load when they are used. The hashes of jobs read no stubs.
from isoplan.api import PsfMap as PsfMap
from isoplan.api import Restored as Restored
from isoplan.api import Simulated as Simulated
from isoplan.api import compare as compare
from isoplan.api import map_psf as map_psf
from isoplan.api import open_mosaic as open_mosaic
from isoplan.api import restore as restore
from isoplan.api import simulate as simulate

__version__: str
