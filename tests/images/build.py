"""The images of products, plugins and the tests' own machines, made where there is no registry.

The Dockerfiles begin with ``ARG BASE=debian:…-slim``: here the base is made from the packages of this
host's Debian, from where its apt is told to fetch them. Each image stays in the Docker daemon under a
tag that names the hash of what it was made from: it is made once, and again when that has changed.
What a folder's ``requirements.txt`` names is fetched with pip, as this host has it set up, into the
``packages`` of what is built.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import docker.errors

ROOT = Path(__file__).resolve().parent.parent.parent
PRODUCTS = ROOT / "products"
PLUGINS = ROOT / "gateway" / "plugins"
MACHINES = ROOT / "tests" / "images"
BUILD_SECS = 1800
_UNSEEN = ("doc", "man", "locale", "info")


class NoImage(RuntimeError):
    """An image could not be made; the last words of what was to make it."""


def folders() -> dict[str, Path]:
    """The folder with the Dockerfile of each product, plugin and machine that has one, by its name."""
    found = {
        path.parent.name: path.parent
        for base in (PRODUCTS, MACHINES)
        for path in base.glob("*/Dockerfile")
    }
    for path in PLUGINS.glob("*/image/Dockerfile"):
        found[path.parent.parent.name] = path.parent
    return dict(sorted(found.items()))


def tag_of(name: str) -> str:
    """Returns the tag of an image: it changes with its folder, and with the base."""
    digest = hashlib.sha256(_base_tag().encode())
    folder = folders()[name]
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if path.parent.name == "image" or path.name == "Dockerfile":
            part = path.relative_to(folder.parent).as_posix()
            digest.update(part.encode() + b"\0" + path.read_bytes())
    return f"mesos-gateway/test-{name}:{digest.hexdigest()[:16]}"


def image(name: str) -> str:
    """Makes the image of a product, plugin or machine, unless it is there, and returns its tag.

    One that another process is making is waited for. Raises :class:`NoImage`.
    """
    client = docker.from_env(timeout=BUILD_SECS)
    try:
        base = _made(client, _base_tag(), _import_base)
        return _made(client, tag_of(name), lambda client, tag: _build(client, tag, name, base))
    finally:
        client.close()


def _made(client: docker.DockerClient, tag: str, make: object) -> str:
    assert callable(make)
    with _only_one(tag):
        try:
            client.images.get(tag)
        except docker.errors.ImageNotFound:
            began = time.monotonic()
            make(client, tag)
            size = client.images.get(tag).attrs["Size"] / 1e6
            print(f"{tag}: {size:.0f} MB, made in {time.monotonic() - began:.0f} s", flush=True)
    return tag


@contextlib.contextmanager
def _only_one(tag: str) -> Iterator[None]:
    name = tag.replace("/", "-").replace(":", "-")
    with (Path(tempfile.gettempdir()) / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _base_tag() -> str:
    what = "\n".join((_release(), *(f"{s[0]} {s[1]} {s[2]}" for s in _sources()), *_base_command("x")))
    return f"mesos-gateway/test-debian:{hashlib.sha256(what.encode()).hexdigest()[:16]}"


def _release() -> str:
    """The code name of this host's release."""
    lines = dict(
        line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line
    )
    return lines["VERSION_CODENAME"].strip('"')


@functools.cache
def _sources() -> list[tuple[str, str, str]]:
    """Mirror, suite and component of each package list that this host's apt reads of its release."""
    listed = subprocess.run(
        [
            "apt-get",
            "indextargets",
            "--format",
            "$(SITE) $(RELEASE) $(COMPONENT)",
            "Created-By: Packages",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    words = [tuple(line.split()) for line in listed.stdout.splitlines()]
    release = _release()
    return [
        (site, suite, component)
        for site, suite, component in (w for w in words if len(w) == 3)
        if suite.split("-")[0] == release
    ]


def _base_command(target: str) -> list[str]:
    hidden = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _UNSEEN]
    return [
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        "--format=tar",
        *hidden,
        "--dpkgopt=force-unsafe-io",
        '--aptopt=APT::Install-Recommends "false"',
        # Services do not start where packages are installed.
        '--customize-hook=printf "#!/bin/sh\\nexit 101\\n" >"$1"/usr/sbin/policy-rc.d',
        '--customize-hook=chmod 755 "$1"/usr/sbin/policy-rc.d',
        _release(),
        target,
    ]


def _import_base(client: docker.DockerClient, tag: str) -> None:
    # In memory, where there is enough: what is installed is synced to the disk file by file.
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.statvfs(memory).f_bavail * os.statvfs(memory).f_frsize > 2 << 30
    with tempfile.TemporaryDirectory(dir=memory if roomy else None) as directory:
        # mmdebstrap works as another user, too.
        Path(directory).chmod(0o755)
        archive = Path(directory) / "base.tar"
        sources = "".join(f"deb {site} {suite} {part}\n" for site, suite, part in _sources())
        run = subprocess.run(
            _base_command(str(archive)),
            input=sources,
            capture_output=True,
            text=True,
            timeout=BUILD_SECS,
            env={**os.environ, "TMPDIR": directory},
            check=False,
        )
        if run.returncode != 0:
            raise NoImage(f"no {tag}: {run.stderr[-2000:]}")
        name, _, version = tag.partition(":")
        client.api.import_image_from_file(str(archive), repository=name, tag=version)


def _build(client: docker.DockerClient, tag: str, name: str, base: str) -> None:
    folder = folders()[name]
    with contextlib.ExitStack() as stack:
        if (folder / "requirements.txt").exists():
            context = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            shutil.copytree(folder, context, dirs_exist_ok=True)
            _fetch(context, tag)
            folder = context
        try:
            # The builder's network is this host's, and with it the way to where the packages are.
            client.images.build(
                path=str(folder), tag=tag, buildargs={"BASE": base}, network_mode="host", rm=True
            )
        except docker.errors.BuildError as error:
            words = "".join(str(line.get("stream", line.get("error", ""))) for line in error.build_log)
            raise NoImage(f"no {tag}: {words[-2000:]}") from error


def _fetch(context: Path, tag: str) -> None:
    """Puts what requirements.txt names into ``packages``, as it was released."""
    run = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"),
            *("--requirement", str(context / "requirements.txt"), "--dest", str(context / "packages")),
        ],
        capture_output=True,
        text=True,
        timeout=BUILD_SECS,
        check=False,
    )
    if run.returncode != 0:
        raise NoImage(f"no {tag}: {run.stderr[-2000:]}")
