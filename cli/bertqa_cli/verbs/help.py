"""`bert-qa help`: topics that no single option can explain, and the help of verbs."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated

import click
import typer

from bertqa_cli.catalog import VERBS, load
from bertqa_cli.console import print_json
from bertqa_cli.errors import CommandError, Status
from bertqa_cli.schemas import schema_of
from bertqa_cli.topics import TOPICS, show_topic, show_topics
from bertqa_cli.verb import alone


def help_(
    context: typer.Context,
    topic: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TOPIC]...", help="A topic, a verb, or json and a verb."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Explain a topic, such as connection, data or resume; without one, list them."""
    if not topic:
        if json:
            print_json({"topics": {name: each.about for name, each in TOPICS.items()}})
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
    elif topic[0] == "json" and topic[1:]:
        print_json(schema_of(" ".join(topic[1:])))
    elif topic[0] in VERBS:
        _show_verb(context.find_root(), topic, json=json)
    else:
        meant = get_close_matches(name, [*TOPICS, *VERBS])
        hint = f" Did you mean {' or '.join(map(repr, meant))}?" if meant else ""
        raise CommandError(
            f"There is no topic {name!r}.{hint} `bert-qa help` lists the topics.",
            status=Status.USAGE,
        )


def _show_verb(root: click.Context, path: list[str], *, json: bool) -> None:
    if not json:
        assert isinstance(root.command, click.Group)
        root.command.main([*path, "--help"], prog_name=root.info_name, standalone_mode=False)
        return
    command = load(path[0])
    for name in path[1:]:
        below = command.commands.get(name) if isinstance(command, click.Group) else None
        if below is None:
            raise CommandError(
                f"There is no {' '.join(path)!r}. `bert-qa {path[0]} --help` lists what there is.",
                status=Status.USAGE,
            )
        command = below
    options = {
        max(each.opts, key=len): each.help or ""
        for each in command.params
        if isinstance(each, click.Option)
    }
    print_json({"verb": " ".join(path), "about": command.help or "", "options": options})


app = alone(help_)
