"""What a server has in place of a version that it does not serve."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bertqa.errors import BertQAError, VersionNotFoundError
from bertqa.transport import AVAILABLE, served_versions

if TYPE_CHECKING:
    from bertqa_cli.options import ConnectionOptions

# An error message is not worth a longer wait.
_SECONDS = 5.0


def naming_versions(
    error: VersionNotFoundError, connection: ConnectionOptions
) -> VersionNotFoundError:
    """Return an error that names the versions which are served, where the server lists them.

    Args:
        error: The error for the version that is not there.
        connection: How to reach the server.
    """
    try:
        served = served_versions(
            connection.address,
            connection.model,
            metadata_url=connection.metadata_url,
            security=connection.security(),
            timeout=min(connection.timeout, _SECONDS),
        )
    except BertQAError:
        return error
    available = [str(each.version) for each in served if each.state == AVAILABLE]
    return VersionNotFoundError(
        f"{error} Versions that are served: {', '.join(available) or 'none'}.", detail=error.detail
    )
