"""``python -m framework.local``: a Mesos master and agents on this machine."""

from __future__ import annotations

import sys

from framework.local.master_main import main
from framework.local.options import parse

if __name__ == "__main__":
    sys.exit(main(parse()))
