"""Text files of the user's, whatever they were saved as."""

from pathlib import Path

from isoplan.base.errors import UserError


def read_text(path: str | Path, what: str) -> str:
    """A file in UTF-8, with or without a byte-order mark; every line ends in "\\n".

    what: the file is to be, in words. Raises UserError where it cannot be read, with the line where it is no UTF-8.
    """
    path = Path(path)
    if not path.is_file():  # nor a pipe, which would be waited for
        raise UserError(f"{path}: no such {what}; correct its path")
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); correct its permissions"
        ) from None
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {line}: not UTF-8 text; save it as UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")
