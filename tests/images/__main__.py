"""``python -m tests.images [PRODUCT …]`` makes the images of these products, or of all."""

from __future__ import annotations

import sys

from tests.images.build import NoImage, image, names


def main(wanted: list[str]) -> int:
    failed = False
    for name in wanted or names():
        try:
            image(name)
        except NoImage as error:
            print(error, file=sys.stderr)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
