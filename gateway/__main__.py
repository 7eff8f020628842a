"""``mesos-gateway``, ``python -m gateway``: options, then the server until SIGTERM."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence

from framework.model.errors import GatewayError, Invalid
from gateway.context import VERSION
from gateway.option_docs import help_text
from gateway.option_reading import parse_arguments, resolve
from gateway.options import OptionError, Options


def main(argv: Sequence[str] | None = None, environment: Mapping[str, str] | None = None) -> int:
    """Returns the exit code: 0 after a drain, 1 if the start failed, 2 for options that cannot be."""
    try:
        line = parse_arguments(sys.argv[1:] if argv is None else argv)
        if line.help:
            sys.stdout.write(help_text())
            return 0
        if line.version:
            sys.stdout.write(f"mesos-gateway {VERSION}\n")
            return 0
        options = resolve(line, os.environ if environment is None else environment)
    except OptionError as error:
        return _refuse(str(error), 2)
    logging.basicConfig(
        level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        return _serve(options)
    except Invalid as error:
        return _refuse(str(error), 2)
    except GatewayError as error:
        return _refuse(str(error), 1)


def _serve(options: Options) -> int:
    # Only now: --help needs no server, and its imports take a moment.
    from gateway.server import serve

    return serve(options)


def _refuse(sentence: str, code: int) -> int:
    sys.stderr.write(f"mesos-gateway: {sentence}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
