"""A job for Spark: adds up squares, and tells which hosts have done it."""

import socket
import time
from collections.abc import Iterator

from pyspark import SparkContext


def add_up(numbers: Iterator[int]) -> Iterator[tuple[str, int]]:
    # So long that no worker does all of it before the others are there.
    time.sleep(0.5)
    yield socket.gethostname(), sum(n * n for n in numbers)


context = SparkContext(appName="squares")
parts = context.parallelize(range(1000), 20).mapPartitions(add_up).collect()
print("total", sum(total for _, total in parts), "computed on", *sorted({host for host, _ in parts}))
context.stop()
