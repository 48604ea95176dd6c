"""The entry point of `bert-qa`: ends with an exit status, whatever happens.

0 done, 1 failed, 2 wrong usage, 3 refused by the quality gate, 130 interrupted, 143 ended by
SIGTERM. Whatever takes a moment to import is imported in `run`, so that an interrupt during the
imports ends with 130 as well.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys

from bertqa_cli.interrupts import noted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_FAILED = 1
_INTERRUPTED = 130
_TERMINATED = 143
# As the client names them.
_TEXT_THREADS = "bertqa-text"
_AGAIN_SECONDS = 0.05


def run() -> NoReturn:
    """Run the command line and exit."""
    _note_interrupts()
    _open_closed_streams()
    try:
        import contextlib
        import io
        import logging
        import threading

        for stream in (sys.stdout, sys.stderr):
            # A terminal that cannot show a character gets its code, not a traceback.
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        from bertqa_cli.app import main
        from bertqa_cli.console import LastResort

        logging.lastResort = LastResort()
        status = main(sys.argv[1:])
        sys.stdout.flush()
    except KeyboardInterrupt:
        _end("interrupted", _INTERRUPTED)
    except (BrokenPipeError, SystemExit) as error:  # Rich exits where a reader has gone.
        code = error.code if isinstance(error, SystemExit) else _FAILED
        if code == _TERMINATED:
            _end("terminated", _TERMINATED)
        status = code if isinstance(code, int) else 0  # The completion of a shell is 0.
        if status == _FAILED:
            _discard_output()
    except OSError as error:
        if noted:
            _end("interrupted", _INTERRUPTED)
        status = _FAILED
        with contextlib.suppress(OSError):
            print(f"error: The output cannot be written: {error.strerror}.", file=sys.stderr)
        _discard_output()
    except Exception:
        if not noted:
            raise
        _end("interrupted", _INTERRUPTED)  # A library made another error of it.
    if any(thread.name.startswith(_TEXT_THREADS) for thread in threading.enumerate()):
        # One may be in the middle of a text whose time is over, and the interpreter would wait.
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(status)
    sys.exit(status)


def program() -> NoReturn:
    """Run the command line as a process of its own, and end that process.

    Once all is done that was registered for the end, the interpreter would take each module apart,
    which takes it two seconds after PyTorch was imported.
    """
    ended: list[int] = []

    def leave() -> None:
        import contextlib
        import logging

        logging.shutdown()
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
            if ended:  # Not by an error that is a defect of ours.
                os._exit(ended[0])

    atexit.register(leave)  # What is registered first is called last.
    try:
        run()
    except SystemExit as error:
        ended.append(error.code if isinstance(error.code, int) else _FAILED)
        raise


def _note_interrupts() -> None:
    """Remember each Ctrl-C, and lose none.

    A library that is interrupted in its import may raise anything, and Python ignores whatever is
    raised in a finalizer.
    """

    def interrupt(*_: object) -> NoReturn:
        noted.append(signal.SIGINT)
        raise KeyboardInterrupt

    def ignored(error: sys.UnraisableHookArgs) -> None:
        import threading

        if issubclass(error.exc_type, KeyboardInterrupt):
            # Not from in here, where it would be ignored again.
            main = threading.main_thread().ident or 0
            again = threading.Timer(_AGAIN_SECONDS, signal.pthread_kill, (main, signal.SIGINT))
            again.daemon = True
            again.start()
        else:
            otherwise(error)

    noted.clear()
    otherwise = sys.unraisablehook
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
        sys.unraisablehook = ignored


def _end(word: str, status: int) -> NoReturn:
    """End at once: the interpreter would wait for threads that wait for a server."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import contextlib

    with contextlib.suppress(OSError):
        print(word, file=sys.stderr, flush=True)
        sys.stdout.flush()
    os._exit(status)


def _open_closed_streams() -> None:
    """Open the null device in place of each standard stream that the caller closed.

    The next file that is opened would get the descriptor of that stream otherwise.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115


def _discard_output() -> None:
    """Keep the interpreter from a second attempt to write to a reader that has gone."""
    import contextlib

    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


if __name__ == "__main__":
    program()
