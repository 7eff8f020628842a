"""A small image for tests that run real containers, made from this host's busybox."""

from __future__ import annotations

import docker

from executor.runtimes import images


def make_busybox_image(client: docker.DockerClient, tag: str) -> str:
    """Imports an image with ``/bin/sh`` and the usual commands as ``tag`` (name:version); returns it."""
    images.make(client, tag)
    return tag


def remove_image(client: docker.DockerClient, tag: str) -> None:
    """Removes the image, and containers that a failed test has left of it."""
    for container in client.containers.list(all=True, filters={"ancestor": tag}):
        container.remove(force=True, v=True)
    client.images.remove(tag, force=True)
