"""Public names that are imported when they are asked for."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from bertqa._late import late_name

PACKAGES = ("bertqa", "bertqa.artifact", "bertqa.client")


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_has_each_name_that_it_offers_and_no_other(package: str) -> None:
    code = (
        f"import {package} as package\n"
        "for name in reversed(package.__all__): getattr(package, name)\n"
        f"from {package} import *\n"
        "assert set(package.__all__) <= set(globals())"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

    with pytest.raises(AttributeError, match=f"'{package}' has no attribute 'nothing'"):
        importlib.import_module(package).nothing  # noqa: B018


def test_what_a_module_has_and_the_package_does_not_offer_is_not_found() -> None:
    assert late_name("bertqa", "TLS", ["TLS"], ["errors", "transport"]).__name__ == "TLS"
    with pytest.raises(AttributeError, match="'bertqa' has no attribute 'TLS'"):
        late_name("bertqa", "TLS", [], ["errors", "transport"])
