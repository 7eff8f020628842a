"""The executor's fixtures, for the faults of the Docker daemon."""

from __future__ import annotations

from tests.executor.conftest import bench, image, runtimes, zygote

__all__ = ["bench", "image", "runtimes", "zygote"]
