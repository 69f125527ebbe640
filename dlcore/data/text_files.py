"""Plain texts: a file, a folder of .txt files, or standard input, all UTF-8."""
from __future__ import annotations

from pathlib import Path

from dlcore.data.files import open_data
from dlcore.errors import DataError


def read_text(source: str) -> str:
    """The text; of a folder, its .txt files in the order of their names.  A byte order mark is left out, and line ends become
    line feeds.   DataError for bytes that are not UTF-8 (with the line), and for an empty text."""
    path = Path(source)
    files = sorted(path.glob("*.txt")) if source != "-" and path.is_dir() else [source]
    if not files:
        raise DataError("the folder has no .txt files", where=source)
    text = "".join(_decoded(str(file)) for file in files)
    if not text.strip():
        raise DataError("the text is empty", where=source)
    return text


def _decoded(source: str) -> str:
    with open_data(source) as file:
        data = file.read()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError("the text is not UTF-8", where=f"{source}, line {line}", got=f"byte 0x{data[error.start]:02x}",
                        hint="convert it first: iconv -f LATIN1 -t UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")
