"""``python -m executor``: what a Mesos agent starts."""

import sys

from executor.main import main

if __name__ == "__main__":
    sys.exit(main())
