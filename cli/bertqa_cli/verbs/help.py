"""`bert-qa help`: topics that no single option can explain, and the help of verbs."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated

import click
import typer

from bertqa_cli.catalog import VERBS
from bertqa_cli.console import print_json
from bertqa_cli.errors import CommandError, Status
from bertqa_cli.topics import TOPICS, show_topic, show_topics
from bertqa_cli.verb import alone


def help_(
    context: typer.Context,
    topic: Annotated[
        list[str] | None, typer.Argument(metavar="[TOPIC]...", help="A topic, or a verb.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Explain a topic, such as connection, data or resume; without one, list them."""
    if not topic:
        if json:
            print_json({name: each.about for name, each in TOPICS.items()})
        else:
            show_topics()
        return
    name = " ".join(topic)
    if name in TOPICS:
        if json:
            found = TOPICS[name]
            print_json({"topic": name, "about": found.about, "blocks": list(found.blocks)})
        else:
            show_topic(name)
    elif topic[0] in VERBS:
        root = context.find_root()
        assert isinstance(root.command, click.Group)
        root.command.main([*topic, "--help"], prog_name=root.info_name, standalone_mode=False)
    else:
        meant = get_close_matches(name, [*TOPICS, *VERBS])
        hint = f" Did you mean {' or '.join(map(repr, meant))}?" if meant else ""
        raise CommandError(
            f"There is no topic {name!r}.{hint} `bert-qa help` lists the topics.",
            status=Status.USAGE,
        )


app = alone(help_)
