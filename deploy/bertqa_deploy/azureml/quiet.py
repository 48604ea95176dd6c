"""Keeping the SDK's notes and dots off the console."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from azure.ai.ml._artifacts import _blob_storage_helper, _gen2_storage_helper
from azure.ai.ml._utils._azureml_polling import AzureMLPolling
from azure.mgmt.core.polling.arm_polling import ARMPolling

from bertqa._quiet import muted


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the SDK during the block: its log, and what it prints while it sends and waits."""
    # show_progress turns neither off: the end of an upload, and the dot, which is all that
    # AzureMLPolling adds to ARMPolling.
    with (
        muted("azure", "msrest"),
        patch.object(AzureMLPolling, "update_status", ARMPolling.update_status),
        patch.object(_blob_storage_helper, "print", create=True),
        patch.object(_gen2_storage_helper, "print", create=True),
    ):
        yield
