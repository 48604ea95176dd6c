"""Build the chart's images, and push them or load them into a local cluster.

    python -m tools.images                              # all of them, for this machine
    python -m tools.images --registry registry.example/qa model client
    python -m tools.images --kind                       # build, load into kind, install the chart

Docker, Podman or Buildah builds them, whichever is on PATH first. Their tag is the chart's
appVersion, which is the tag that the chart asks for.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from tools.programs import helm, kubectl

ROOT = Path(__file__).parents[1]
CHART = ROOT / "deploy" / "helm" / "bert-qa"
IMAGES = ("model", "client", "build", "switch")
INSTALLED = ("model", "client")
"""Those that `helm install` without any values needs."""
BUILDERS = ("docker", "podman", "buildah")
_LOCAL = "docker.io/library"
"""Where a node looks for an image without a registry; Podman would call it `localhost/...`."""


class ImagesError(Exception):
    """Raised when images cannot be built, pushed or loaded; the message says what to do."""


@dataclass(frozen=True)
class Builder:
    """A program that builds images.

    Attributes:
        program: Its name: `docker`, `podman` or `buildah`.
    """

    program: str

    @classmethod
    def find(cls, wanted: str | None = None) -> Builder:
        """Return the wanted builder, or the first one that works.

        Args:
            wanted: Its name; None takes the first of `BUILDERS` that works.

        Returns:
            The builder.

        Raises:
            ImagesError: It is not on PATH, or does not work here, as Docker without its daemon.
        """
        failures = []
        for program in (wanted,) if wanted else BUILDERS:
            if shutil.which(program) is None:
                failures.append(f"{program} is not on PATH")
                continue
            if not (said := _failure(program, "info")):
                return cls(program)
            failures.append(f"`{program} info` fails: {said}")
        raise ImagesError(f"Nothing here can build images: {'; '.join(failures)}.")

    def build(self, name: str, reference: str) -> None:
        """Build an image of `deploy/docker`.

        Args:
            name: Which of `IMAGES`.
            reference: What it is called.

        Raises:
            ImagesError: The builder failed.
        """
        file = ROOT / "deploy" / "docker" / f"{name}.Dockerfile"
        command = [self.program, "build", "--file", file, "--tag", reference]
        if self.program != "docker":  # BuildKit finds it by its name.
            command += ["--ignorefile", f"{file}.dockerignore"]
        _run(*command, ROOT)

    def push(self, reference: str) -> None:
        """Push an image to its registry.

        Args:
            reference: The image.

        Raises:
            ImagesError: The builder failed.
        """
        _run(self.program, "push", reference)

    def save(self, reference: str, archive: Path) -> None:
        """Write an image into an archive that a cluster's nodes can load.

        Args:
            reference: The image.
            archive: The file, which is not there yet.

        Raises:
            ImagesError: The builder failed.
        """
        if self.program == "buildah":
            _run("buildah", "push", reference, f"docker-archive:{archive}:{reference}")
        else:
            _run(self.program, "save", "--output", archive, reference)


def reference_of(name: str, registry: str = "") -> str:
    """Return an image's reference: the one that the chart asks for where there is no registry.

    Args:
        name: Which of `IMAGES`.
        registry: The registry, with a path if it has one.
    """
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    return f"{registry.rstrip('/') or _LOCAL}/bert-qa-{name}:{chart['appVersion']}"


def build(builder: Builder, names: Sequence[str], registry: str = "") -> list[str]:
    """Build images, and push them where there is a registry.

    Args:
        builder: Builds them.
        names: Which of `IMAGES`.
        registry: The registry, with a path if it has one; empty keeps them on this machine.

    Returns:
        Their references.

    Raises:
        ImagesError: There is no model to put into an image, or the builder failed.
    """
    if "model" in names and not any((ROOT / "model_repository").glob("*/[1-9]*/model.xml")):
        raise ImagesError(
            "There is no model for the model image: model_repository has no version of one. "
            "`make demo` publishes two, and `bert-qa build` those of a recipe of yours."
        )
    references = [reference_of(name, registry) for name in names]
    for name, reference in zip(names, references, strict=True):
        builder.build(name, reference)
    if registry:
        for reference in references:
            builder.push(reference)
    return references


def install_on_kind(builder: Builder, cluster: str) -> None:
    """Build what a release needs, load it into a cluster of kind, and install the release.

    Args:
        builder: Builds the images.
        cluster: The cluster's name, as `kind get clusters` has it.

    Raises:
        ImagesError: kind is not there, or a step failed.
    """
    if shutil.which("kind") is None:
        raise ImagesError("kind is not on PATH: https://kind.sigs.k8s.io has it.")
    if said := _failure("kind", "get", "kubeconfig", "--name", cluster):
        raise ImagesError(
            f"kind has no cluster {cluster} ({said}): `kind create cluster --name {cluster}` makes "
            "one."
        )
    references = build(builder, INSTALLED)
    with tempfile.TemporaryDirectory() as directory:
        for reference in references:
            archive = Path(directory, f"{references.index(reference)}.tar")
            builder.save(reference, archive)
            _run("kind", "load", "image-archive", archive, "--name", cluster)
    context = ("--kube-context", f"kind-{cluster}")
    is_installed = not _failure(str(helm()), "status", "bert-qa", *context)
    _run(helm(), "upgrade", "--install", "bert-qa", CHART, *context, "--wait", "--timeout", "10m")
    if is_installed:
        _replace_pods(f"kind-{cluster}")
    print(f"Ask it a real question: helm test bert-qa --kube-context kind-{cluster} --logs")


def _replace_pods(context: str) -> None:
    """Replace a release's pods: images have the tag of before, in which Helm sees no change.

    Raises:
        ImagesError: The new pods do not get ready.
    """
    deployments = ("deployment", "--selector", "app.kubernetes.io/instance=bert-qa")
    for words in (("restart", *deployments), ("status", *deployments, "--timeout", "10m")):
        _run(kubectl(), "--context", context, "rollout", *words)


def _run(*command: object) -> None:
    """Run a program that shows its own progress.

    Raises:
        ImagesError: It failed.
    """
    words = [str(word) for word in command]
    print("$", *words, flush=True)
    if status := subprocess.run(words, check=False).returncode:
        raise ImagesError(f"{words[0]} ended with exit status {status}; its output says why.")


def _failure(*command: str) -> str:
    """Return the last line that a program fails with, empty where it does not fail."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
    return said[-1].rstrip(".") if done.returncode else ""


def _registry_pattern() -> str:
    """Return what the chart takes as a registry, since it is to pull the images from there."""
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    pattern: str = schema["definitions"]["imageRegistry"]["pattern"]
    return pattern


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Those of the command line, without the program's name.

    Returns:
        The exit status: 1 where something failed, otherwise 0.
    """
    parser = argparse.ArgumentParser(prog="python -m tools.images", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("images", nargs="*", metavar="IMAGE", help=f"of {', '.join(IMAGES)}; all")
    parser.add_argument("--registry", default="", help="push them there, such as ghcr.io/team")
    parser.add_argument("--builder", choices=BUILDERS, help="the first one on PATH")
    parser.add_argument("--kind", nargs="?", const="kind", metavar="CLUSTER", help="install there")
    given = parser.parse_args(arguments)
    if wrong := [name for name in given.images if name not in IMAGES]:
        parser.error(f"there is no image {wrong[0]!r}: name some of {', '.join(IMAGES)}")
    if not re.fullmatch(_registry_pattern(), given.registry):
        parser.error(
            f"{given.registry!r} is no registry: name its host, and a path in small letters if it "
            "has one, such as ghcr.io/team"
        )
    if given.kind and (given.images or given.registry):
        parser.error("--kind builds what it needs itself, and pushes nothing")
    try:
        builder = Builder.find(given.builder)
        if given.kind:
            install_on_kind(builder, given.kind)
            return 0
        references = build(builder, given.images or IMAGES, given.registry)
    except ImagesError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted. Run the same command again to resume.", file=sys.stderr)
        return 130
    print(f"{'Pushed' if given.registry else 'Built'}: {', '.join(references)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
