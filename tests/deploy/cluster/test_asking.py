"""Reading what the clients in a pod recorded, from a log that has more."""

from __future__ import annotations

import json

from tests.support.clients import records


def test_warnings_in_between_are_not_records_and_a_record_is_whole_or_not_there_yet() -> None:
    first, second = {"asked": 1.0, "version": 1, "text": "{"}, {"asked": 2.0, "error": "no"}
    log = (
        "UserWarning: {not json}\n"
        f"\x02{json.dumps(first)}\x03\n"
        f"warning without a line's end\x02{json.dumps(second)}\x03\nmore\n"
        '\x02{"asked": 3.0, "vers'
    )

    assert records(log) == [first, second]
