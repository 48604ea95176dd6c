"""Keeping the SDK's notes and dots off the console."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from azure.ai.ml._utils._azureml_polling import AzureMLPolling
from azure.mgmt.core.polling.arm_polling import ARMPolling

from bertqa._quiet import muted


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the SDK during the block: its log, and the dots that it prints while it waits."""
    # All that AzureMLPolling adds to ARMPolling is the dot, which show_progress does not turn off.
    with (
        muted("azure", "msrest"),
        patch.object(AzureMLPolling, "update_status", ARMPolling.update_status),
    ):
        yield
