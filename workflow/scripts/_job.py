"""What every job script shares. Import it first: what it sets must be set before torch is loaded.

Threads, the log, errors that a user can read, and the library's place.
"""

import errno
import os
import signal
import sys
import traceback
from contextlib import contextmanager, suppress
from pathlib import Path

HERE = Path(__file__).resolve().parent

# Snakemake appends this folder to sys.path, where an installed copy would hide the library.
sys.path.insert(0, str(HERE))
# Threads that wait by spinning slow everything down where another job shares the cores (by up to
# seventy times for small parallel loops).
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


@contextmanager
def job(snakemake):
    """Runs a script's work with its threads set and its output in the rule's log as well.

    A UserError, a full disk, the time limit and SIGTERM end the job with one line instead of a
    traceback. Refuses a library that is not the one beside the scripts.
    """
    import isoplan.base.errors
    from isoplan.base.records import recorded

    found = Path(isoplan.base.errors.__file__).resolve().parents[2]
    if found != HERE:
        sys.exit(f"isoplan was found in {found}, not in {HERE}; uninstall that copy and run again")
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(snakemake.threads)
    log = open(snakemake.log[0], "w")  # noqa: SIM115 (to close it may fail on a full disk)
    before = sys.stdout, sys.stderr, signal.signal(signal.SIGTERM, _stop)
    sys.stdout = sys.stderr = _Both(log, sys.__stderr__)
    try:
        with recorded(snakemake.log[0], snakemake.output):
            yield
            _check_hashes(snakemake)
    except isoplan.base.errors.UserError as error:
        print(f"\nERROR {error}\n")
        sys.exit(1)
    except isoplan.base.errors.OutOfTime as error:
        print(f"\nSTOPPED {error}\n")
        sys.exit(3)
    except _Stopped:
        print(
            "\nSTOPPED by SIGTERM, as scancel, preemption and a time limit send it. Units that are done "
            "are kept: the next attempt, or `make resume`, goes on from there\n"
        )
        sys.exit(128 + signal.SIGTERM)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            traceback.print_exc()
            sys.exit(1)
        print(
            f"\nERROR {error.filename or Path('results').absolute()}: the disk or your quota is full. Free "
            "some space, then `make resume` goes on\n"
        )
        sys.exit(1)
    except Exception:
        traceback.print_exc()
        sys.exit(1)
    finally:
        sys.stdout, sys.stderr = before[:2]
        signal.signal(signal.SIGTERM, before[2])
        with suppress(OSError):
            log.close()


def _check_hashes(snakemake):
    """For tests: refuses a job that used code of the library whose edits would not rerun it."""
    if os.environ.get("ISOPLAN_CHECK_HASHES"):
        from isoplan.base.fingerprint import unhashed

        if missed := unhashed(list(sys.modules), snakemake.params.library):
            sys.exit(f"ERROR used, but not among the hashes of this job: {', '.join(missed)}")


class _Stopped(BaseException):
    """SIGTERM came; no `except Exception` on the way may take it for an error."""


def _stop(*_):
    raise _Stopped


class _Both:
    """Writes to the log and to the terminal; where one of them fails (full disk, closed pipe), the other."""

    def __init__(self, log, terminal):
        self.log, self.terminal = log, terminal

    def write(self, text):
        for stream in (self.log, self.terminal):
            with suppress(OSError):
                stream.write(text)
                stream.flush()
        return len(text)

    def flush(self):
        pass

    def isatty(self):
        # Several jobs share the terminal: lines, not bars drawn in place.
        return False
