"""``python -m tests.images [NAME …]`` makes these images of :mod:`tests.images.build`, or all."""

from __future__ import annotations

import sys

from tests.images.build import NoImage, folders, image


def main(wanted: list[str]) -> int:
    failed = False
    for name in wanted or folders():
        try:
            image(name)
        except NoImage as error:
            print(error, file=sys.stderr)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
