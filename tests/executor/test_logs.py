from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.logs import ProcessLog, RotatingFile, open_directory
from executor.task import Logger, ProcessSpec, RotatePolicy


def written(directory: Path, chunks: list[bytes], policy: RotatePolicy | None) -> list[bytes]:
    """The files, oldest first, after the chunks were written."""
    for old in directory.iterdir():
        old.unlink()
    fd = os.open(directory, os.O_RDONLY)
    file = RotatingFile(fd, "stdout", policy)
    os.close(fd)
    for chunk in chunks:
        file.write(chunk)
    file.close()
    backups = sorted(directory.glob("stdout.*"), key=lambda p: -int(p.suffix[1:]))
    return [p.read_bytes() for p in [*backups, directory / "stdout"]]


@given(
    st.lists(st.binary(max_size=40).map(lambda b: b.replace(b"\0", b"\n")), max_size=30),
    st.integers(1, 60),
)
def test_rotation_loses_nothing_and_keeps_lines_whole(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[bytes], size: int
) -> None:
    directory = tmp_path_factory.mktemp("logs")
    files = written(directory, chunks, RotatePolicy(log_size=size, backups=1000))
    assert b"".join(files) == b"".join(chunks)
    longest = max((len(line) + 1 for line in b"".join(chunks).split(b"\n")), default=0)
    for file in files[:-1]:
        assert file.endswith(b"\n")
    for file in files:
        assert len(file) <= size or len(file) <= size + longest


def test_only_so_many_backups_are_kept(tmp_path: Path) -> None:
    files = written(tmp_path, [b"%d\n" % n for n in range(10)], RotatePolicy(log_size=2, backups=2))
    assert files == [b"7\n", b"8\n", b"9\n"]


def test_without_backups_only_the_present_file_is_kept(tmp_path: Path) -> None:
    assert written(tmp_path, [b"1\n", b"2\n"], RotatePolicy(log_size=2, backups=0)) == [b"2\n"]


def test_a_line_without_end_does_not_fill_the_disk(tmp_path: Path) -> None:
    files = written(tmp_path, [b"x" * 4096] * 100, RotatePolicy(log_size=1000, backups=2))
    assert len(files) == 3
    assert max(map(len, files)) <= 1000 + 64 * 1024


def process_log(sandbox: Path, **logger: object) -> ProcessLog:
    spec = ProcessSpec(name="p", cmdline="true", logger=Logger(**logger))
    return ProcessLog(str(sandbox), spec, 0)


@pytest.mark.parametrize(
    ("destination", "in_file", "on_console"),
    [("file", True, False), ("console", False, True), ("both", True, True), ("none", False, False)],
)
def test_output_goes_where_the_logger_says(
    tmp_path: Path, capfdbinary, destination: str, in_file: bool, on_console: bool
) -> None:
    log = process_log(tmp_path, destination=destination)
    log.write("stdout", b"out\n")
    log.write("stderr", b"err\n")
    log.close()
    assert (tmp_path / ".logs/p/0/stdout").exists() == in_file
    assert capfdbinary.readouterr() == ((b"out\n", b"err\n") if on_console else (b"", b""))
    assert log.last_words() == "err"


def test_what_is_in_the_way_of_a_log_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    sandbox = tmp_path / "sandbox"
    directory = sandbox / ".logs/p/0"
    directory.mkdir(parents=True)
    for plant in (
        lambda at: at.symlink_to(victim),
        lambda at: at.hardlink_to(victim),
        lambda at: os.mkfifo(at),
    ):
        plant(directory / "stdout")
        with pytest.raises(OSError, match=r"symbolic|own|No such device"):
            process_log(sandbox)
        (directory / "stdout").unlink()
    assert victim.read_text() == "precious"


def test_a_failing_write_does_not_end_the_reader(tmp_path: Path, caplog) -> None:
    log = process_log(tmp_path)
    os.close(log._files["stdout"]._fd)
    log._files["stdout"]._fd = os.open("/dev/full", os.O_WRONLY)
    log.write("stdout", b"lost")
    log.write("stdout", b"lost")
    log.close()
    assert caplog.text.count("is lost") == 1


def test_last_words_are_one_printable_line(tmp_path: Path) -> None:
    log = process_log(tmp_path, destination="none")
    log.write("stderr", b"first\n\x1b[31mbad\x07 \xff" + b"z" * 500 + b"\n\n")
    words = log.last_words()
    assert len(words) <= 200
    assert words.isprintable()


def test_directories_are_made_below_a_directory_only(tmp_path: Path) -> None:
    os.close(open_directory(str(tmp_path), "a", "b"))
    assert (tmp_path / "a/b").is_dir()
    (tmp_path / "link").symlink_to("/tmp")
    with pytest.raises(OSError, match=r"symbolic|directory"):
        open_directory(str(tmp_path), "link")
