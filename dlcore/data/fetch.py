"""Fetching a file by its address: whole or not at all, going on where an earlier try ended, checked by SHA-256."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from dlcore.errors import DataError, UsageError, WriteError

PART = ".part"  # of a file that is being fetched
_PIECE = 1 << 20
_TIMEOUT = 60


def fetch(url: str, out: str = "", sha256: str = "", offline: bool = False) -> dict[str, Any]:
    """Fetches `url` (http, https, file) into `out`, by default its last part in this folder; returns path, bytes,
    sha256, was_there.

    A file that is there already is kept, and must have the digest that is asked for.  What arrives lies in `out`.part until it is
    whole, and a later call asks for the rest only.  `offline` fetches nothing.  Raises `UsageError` for an address that is none,
    `DataError` where the address does not answer or the digest differs, `WriteError`."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https", "file") or not (parts.netloc or parts.scheme == "file"):
        raise UsageError("this is no address", expected="http://, https:// or file://", got=url[:200])
    name = unquote(Path(parts.path).name)
    if not out and not name:
        raise UsageError("the address names no file", got=url[:200], hint="say -o PATH")
    path = Path(out or name)
    if path.is_dir():
        path = path / name
    if path.exists():
        digest = _digest(path)
        if sha256 and digest != sha256:
            raise DataError(
                "the file that is there has another digest",
                where=str(path),
                expected=sha256,
                got=digest,
                hint="move it away; it is not overwritten",
            )
        return {"path": str(path), "bytes": path.stat().st_size, "sha256": digest, "was_there": True}
    if offline:
        raise DataError(
            "the file is not there, and nothing is fetched offline", where=str(path), hint="leave out --offline"
        )
    part = path.with_name(path.name + PART)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _download(url, part)
    except OSError as error:
        if isinstance(error, (DataError, WriteError)):
            raise
        raise WriteError("the file cannot be written", where=str(part), got=error.strerror or str(error)) from error
    digest = _digest(part)
    if sha256 and digest != sha256:
        part.unlink()
        raise DataError(
            "what was fetched has another digest",
            where=url,
            expected=sha256,
            got=digest,
            hint="it was thrown away; check the address and the digest",
        )
    os.replace(part, path)
    return {"path": str(path), "bytes": path.stat().st_size, "sha256": digest, "was_there": False}


def _download(url: str, part: Path) -> None:
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(
        url, headers={"User-Agent": "dlcore", **({"Range": f"bytes={have}-"} if have else {})}
    )
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
            resumed = have > 0 and getattr(answer, "status", None) == 206
            total = answer.headers.get("Content-Length")
            wanted = None if total is None else int(total) + (have if resumed else 0)
            with open(part, "ab" if resumed else "wb") as file:
                while piece := answer.read(_PIECE):
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing is left to ask for
            return
        raise DataError("the address does not give the file", where=url, got=f"{error.code} {error.reason}") from error
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise DataError(
            "the address cannot be reached, or the connection was cut",
            where=url,
            got=str(getattr(error, "reason", error)),
            hint="call it again: it goes on where it stopped",
        ) from error
    if wanted is not None and part.stat().st_size != wanted:
        raise DataError(
            "the connection was cut",
            where=url,
            expected=f"{wanted:,} bytes",
            got=f"{part.stat().st_size:,}",
            hint="call it again: it goes on where it stopped",
        )


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
