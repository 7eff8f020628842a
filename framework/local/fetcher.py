"""The fetcher: brings the URIs of a command into its sandbox before the executor starts.

Local paths, ``file://``, ``http://`` and ``https://``; archives (tar, compressed tar, zip) are unpacked
unless ``extract`` is false. Blocks, so it runs in a thread.
"""

from __future__ import annotations

import logging
import os
import shutil
import stat
import tarfile
import urllib.error
import urllib.request
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

log = logging.getLogger(__name__)

Json = dict[str, Any]
_TIMEOUT = 60.0
_TAR = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")


class FetchFailed(Exception):
    """A URI could not be brought; the text says which and why."""


def fetch_all(uris: list[Json], sandbox: Path) -> None:
    """Fetches each URI into ``sandbox``; raises :class:`FetchFailed` at the first that fails."""
    for uri in uris:
        try:
            _fetch(uri, sandbox)
        except (OSError, ValueError, tarfile.TarError, zipfile.BadZipFile) as error:
            raise FetchFailed(f"Failed to fetch '{uri['value']}': {error}") from error


def _fetch(uri: Json, sandbox: Path) -> None:
    value = uri["value"]
    name = uri.get("output_file") or PurePosixPath(unquote(urlsplit(value).path)).name
    target = _inside(sandbox, name)
    target.parent.mkdir(parents=True, exist_ok=True)
    _copy(value, target)
    if uri.get("executable", False):
        target.chmod(target.stat().st_mode | 0o111)
    elif uri.get("extract", True):
        _extract(target, sandbox)


def _inside(sandbox: Path, name: str) -> Path:
    target = (sandbox / name).resolve()
    if not name or sandbox.resolve() not in target.parents:
        raise ValueError(f"the file name {name!r} does not lie in the sandbox")
    return target


def _copy(value: str, target: Path) -> None:
    parts = urlsplit(value)
    if parts.scheme in {"http", "https"}:
        # The scheme has been looked at.
        with urllib.request.urlopen(value, timeout=_TIMEOUT) as source, open(target, "wb") as file:  # noqa: S310
            shutil.copyfileobj(source, file)
        return
    if parts.scheme not in {"", "file"}:
        raise ValueError(
            f"the scheme {parts.scheme!r} is not supported: use a path, file://, http:// or https://"
        )
    path = Path(unquote(parts.path) if parts.scheme else value)
    if not path.is_absolute():
        raise ValueError("a local path must be absolute")
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("not a regular file")
    shutil.copy(path, target)


def _extract(archive: Path, sandbox: Path) -> None:
    if archive.name.endswith(_TAR):
        with tarfile.open(archive) as tar:
            if hasattr(tarfile, "data_filter"):
                tar.extractall(sandbox, filter="data")
            else:
                _extract_checked(tar, sandbox)
    elif archive.name.endswith(".zip"):
        with zipfile.ZipFile(archive) as bundle:
            bundle.extractall(sandbox)  # noqa: S202 - zipfile itself keeps members inside
            for member in bundle.infolist():
                mode = member.external_attr >> 16 & 0o777
                if mode:
                    os.chmod(sandbox / member.filename, mode)


def _extract_checked(tar: tarfile.TarFile, sandbox: Path) -> None:
    """Stands in for the "data" filter before Python 3.11.4: plain files and directories only."""
    members = tar.getmembers()
    for member in members:
        _inside(sandbox, member.name)
        if not (member.isfile() or member.isdir()):
            raise ValueError(f"the archive holds {member.name!r}, which is neither file nor directory")
    tar.extractall(sandbox, members)  # noqa: S202 - the members have been looked at
