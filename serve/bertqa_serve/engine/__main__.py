"""Run the local engine as a process, with the command line of `ovms`."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence

from bertqa.errors import BertQAError
from bertqa_serve.engine.flags import parse, parser, server_from
from bertqa_serve.errors import UsageError

EXIT_FAILED = 1
EXIT_USAGE = 64


def main(arguments: Sequence[str]) -> int:
    """Serve until SIGTERM or SIGINT.

    Args:
        arguments: The command line without the program.

    Returns:
        The exit status that ovms would have.
    """
    if not arguments:
        parser().print_help()
        return 0
    try:
        options = parse(arguments)
        logging.basicConfig(
            stream=sys.stderr,
            level={"TRACE": "DEBUG"}.get(options.log_level, options.log_level),
            format="[%(asctime)s] %(levelname)s %(message)s",
            force=True,  # OpenVINO's import has logged already where it cannot write to the home.
        )
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
        server = server_from(options)
        logging.warning("The local engine is for development: run OVMS in production.")
        # A handler must take no lock that its own thread may hold: a pipe has none.
        asked_to_end, ask_to_end = os.pipe()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: os.write(ask_to_end, b"."))
        server.start()
        logging.info("gRPC listens on port %s, REST on %s.", server.grpc_port, server.rest_port)
        os.read(asked_to_end, 1)
        server.stop()
    except UsageError as error:
        print(f"{error} (--help lists the flags)", file=sys.stderr)
        return EXIT_USAGE
    except BertQAError as error:
        print(" ".join(filter(None, (str(error), error.detail))), file=sys.stderr)
        return EXIT_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
