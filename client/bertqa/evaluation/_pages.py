"""The one jinja2 environment, base template and stylesheet of every HTML page of this project."""

from __future__ import annotations

_PACKAGE = "bertqa.evaluation"


def render_page(template: str, package: str = _PACKAGE, **values: object) -> str:
    """Render a self-contained HTML page: one file that loads nothing else.

    Everything that a template shows is escaped, unless it is marked with the filter `safe`. A
    template begins with `{% extends "base.html" %}` and fills the blocks `title`, `style`,
    `content` and, where it needs them, `icon` and `script`.

    Args:
        template: The file's name in the folder `templates` of `package`.
        package: The Python package that the template belongs to.
        **values: What the template shows, by name; a name that is missing is an error.

    Returns:
        The page's text, which UTF-8 can encode.
    """
    # Imported where it is used: scoring a version needs no pages.
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    packages = dict.fromkeys((package, _PACKAGE))
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(name) for name in packages]),
        autoescape=True,
        undefined=StrictUndefined,
    )
    environment.filters["capital"] = capital
    page = environment.get_template(template).render(values)
    # The name of a file may be in another encoding.
    return page.encode("utf-8", "backslashreplace").decode()


def capital(text: str) -> str:
    """Return a text with a capital first letter, so that a name can begin a sentence.

    Args:
        text: Any text.

    Returns:
        The text, with its first letter in upper case.
    """
    return text[:1].upper() + text[1:]
