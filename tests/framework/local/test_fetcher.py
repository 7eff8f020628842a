"""The fetcher: files, archives, permissions, and what it refuses."""

from __future__ import annotations

import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from framework.local.fetcher import FetchFailed, fetch_all


@pytest.fixture
def source(tmp_path: Path) -> Path:
    place = tmp_path / "source"
    place.mkdir()
    (place / "tool").write_text("#!/bin/sh\necho hi\n")
    with tarfile.open(place / "a.tar.gz", "w:gz") as tar:
        tar.add(place / "tool", "bin/tool")
    with zipfile.ZipFile(place / "a.zip", "w") as bundle:
        bundle.write(place / "tool", "zipped")
    return place


@pytest.fixture
def sandbox(tmp_path: Path) -> Path:
    place = tmp_path / "sandbox"
    place.mkdir()
    return place


@pytest.fixture
def server(source: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(source))) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


def test_files_and_archives_come(source: Path, sandbox: Path, server: str) -> None:
    uris = [
        {"value": str(source / "tool"), "executable": True},
        {"value": f"file://{source}/a.tar.gz"},
        {"value": f"{server}/a.zip"},
        {"value": f"{server}/a.tar.gz?version=1", "extract": False, "output_file": "kept/b.tar.gz"},
    ]
    fetch_all(uris, sandbox)
    assert (sandbox / "tool").stat().st_mode & 0o111 == 0o111
    assert (sandbox / "bin" / "tool").read_text() == (sandbox / "zipped").read_text()
    assert (sandbox / "kept" / "b.tar.gz").is_file()


@pytest.mark.parametrize("checked", [True, False])
def test_an_archive_stays_in_the_sandbox(
    sandbox: Path, source: Path, monkeypatch: pytest.MonkeyPatch, checked: bool
) -> None:
    """Also on the Python releases whose tarfile has no filter."""
    if not checked:
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
    with tarfile.open(source / "bad.tar", "w") as tar:
        member = tarfile.TarInfo("../outside")
        member.size = 1
        tar.addfile(member, io.BytesIO(b"x"))
    with pytest.raises(FetchFailed, match=r"bad\.tar"):
        fetch_all([{"value": str(source / "bad.tar")}], sandbox)
    assert not (sandbox.parent / "outside").exists()
    fetch_all([{"value": str(source / "a.tar.gz")}], sandbox)
    assert (sandbox / "bin" / "tool").is_file()


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("/no/such/file", "No such file"),
        ("relative", "must be absolute"),
        ("ftp://example/x", "scheme 'ftp' is not supported"),
        ("/tmp", "not a regular file"),
        ("http://127.0.0.1:1/x", "refused"),
    ],
)
def test_what_cannot_be_fetched_says_why(sandbox: Path, value: str, says: str) -> None:
    with pytest.raises(FetchFailed, match=says):
        fetch_all([{"value": value}], sandbox)


def test_a_missing_page_fails(sandbox: Path, server: str) -> None:
    with pytest.raises(FetchFailed, match="404"):
        fetch_all([{"value": f"{server}/none"}], sandbox)


def test_a_file_name_cannot_leave_the_sandbox(sandbox: Path, source: Path) -> None:
    with pytest.raises(FetchFailed, match="does not lie in the sandbox"):
        fetch_all([{"value": str(source / "tool"), "output_file": "../x"}], sandbox)
