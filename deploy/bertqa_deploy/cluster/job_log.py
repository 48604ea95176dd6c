"""The log of a switch in the cluster, shown line by line, whatever breaks on the way to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

OnLine = Callable[[str], None]
# Yields what a container has printed, from the beginning until it ends or the connection breaks.
Stream = Callable[[], Iterator[bytes]]

_BEGIN, _END = "{", "}"


class StreamBrokenError(Exception):
    """The stream of a log broke."""


class PodLog:
    """What the container of a pod prints.

    A stream that broke is read again from the beginning: each line is shown once, and in order.

    Args:
        pod: The pod's name.
        stream: Opens its log.
        on_line: Is called with each line, but for those of the JSON document.

    Attributes:
        pod: The pod's name.
        document: The JSON document, which `bert-qa` prints last; empty without one.
        is_complete: Whether all was shown that the container printed before it ended.
    """

    def __init__(self, pod: str, stream: Stream, on_line: OnLine) -> None:
        self.pod = pod
        self.document = ""
        self.is_complete = False
        self._stream = stream
        self._on_line = on_line
        self._shown = 0
        self._lines: list[str] = []

    def follow(self, *, has_ended: bool) -> None:
        """Show what the container prints until it ends or the stream breaks.

        Args:
            has_ended: Whether the container has ended already.
        """
        number, rest = 0, b""
        try:
            for chunk in self._stream():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    number += 1
                    self._take(number, line)
        except StreamBrokenError:
            return
        if rest:
            self._take(number + 1, rest)
        self.is_complete = has_ended

    def _take(self, number: int, content: bytes) -> None:
        if number <= self._shown:
            return
        self._shown = number
        line = content.decode(errors="replace")
        if not self._lines and line != _BEGIN:
            self._on_line(line)
            return
        self._lines.append(line)
        if line == _END:
            self.document, self._lines = "\n".join(self._lines), []
