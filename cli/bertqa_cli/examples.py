"""What a user would type: the examples at the end of each verb's help."""

from __future__ import annotations

from rich.markup import escape

from bertqa_cli.console import stdout

EXAMPLES: dict[str, dict[str, str]] = {
    "": {
        "bert-qa build build/recipes/demo.yaml": "Make two small versions.",
        "bert-qa serve": "Serve them.",
        'bert-qa ask "Who wrote it?" --context "Anna wrote it."': "Ask, in another terminal.",
        "bert-qa help": "List the topics that are explained.",
    },
    "init": {
        "bert-qa init": "Answer questions, and get a recipe.",
        "bert-qa init my.yaml --source org/name --data train.json": "The same without questions.",
    },
    "build": {
        "bert-qa build recipe.yaml --dry-run": "What would be done, and how long.",
        "bert-qa build recipe.yaml": "Do it; the same command resumes it.",
        "bert-qa build --source org/name --data train.json": "Without a recipe.",
        "bert-qa build recipe.yaml --set seed=2": "With another value of one key.",
        "bert-qa build recipe.yaml --set pruning.speedup=1.5": "Also faster ones: help pruning.",
    },
    "serve": {
        "bert-qa serve": "Serve model_repository, with the HTTP API.",
        "bert-qa serve --engine ovms --port 9100 --rest-port 8100": "OVMS, on other ports.",
        "bert-qa serve -- --metrics_enable": "With an option of OVMS itself.",
        "bert-qa serve --dry-run": "Print the server's command line.",
    },
    "serve http-api": {
        "bert-qa serve http-api --url ovms.example:9000": "In front of a server elsewhere.",
        "bert-qa serve http-api --url dns:///ovms:9000 --workers 4": "In four processes.",
    },
    "ask": {
        'bert-qa ask "Who wrote it?" --context "Anna wrote it."': "One question.",
        'bert-qa ask "Who wrote it?" - --top-k 3 < book.txt': "A text from standard input.",
        "bert-qa ask --input questions.csv --output answers.csv": "A file of questions.",
        "bert-qa ask --input questions.csv | head": "Answers to standard output.",
        "bert-qa ask --on ray --input in/ --output out": "By workers.",
    },
    "evaluate": {
        "bert-qa evaluate --data dev.json": "The newest published version.",
        "bert-qa evaluate --data dev.json --url localhost:9000": "What a server serves.",
    },
    "compare": {
        "bert-qa compare 1 2": "By the scores that both were published with.",
        "bert-qa compare 1 2 --data dev.json --html report.html": "Ask both; a report.",
        "bert-qa compare 1 2 --serve": "A page to ask both side by side.",
    },
    "inspect": {
        "bert-qa inspect 1 2": "What changed in the graph.",
        "bert-qa inspect 2 --layers": "Which layers run in INT8.",
        "bert-qa inspect 2 --sensitivity --data dev.json": "What each of them costs.",
    },
    "bench": {
        "bert-qa bench": "MiniLM in every engine.",
        "bert-qa bench --model bert-base --length 384 --batch 8": "One shape of BERT-base.",
    },
    "bench client": {
        "bert-qa bench client --data dev.json": "Against the server on this machine.",
    },
    "bench load": {
        "bert-qa bench load --data dev.json --rate 20 --rate 40": "How long answers take at each.",
        "bert-qa bench load --data dev.json --find-rate": "The highest rate for 100 ms.",
        "bert-qa bench load --data dev.json --against 1": "Two versions in turn.",
    },
    "bench mlperf": {
        "bert-qa bench mlperf --data dev.json --scenario Offline": "As fast as it can.",
        "bert-qa bench mlperf --data dev.json --accuracy": "F1, by its answers to LoadGen.",
    },
    "bench peers": {
        "bert-qa bench peers": "With the demo's versions and questions.",
        "bert-qa bench peers recipe.yaml --plot peers.svg": "With your own.",
        "bert-qa bench peers --peer onnx-runtime --peer ovms": "Two of them alone.",
    },
    "bench profile": {
        "bert-qa bench profile --data dev.json": "The newest version, on the local engine.",
        "bert-qa bench profile --data dev.json --html profile.html": "With a flame graph.",
    },
    "bench tune": {
        "bert-qa bench tune --data dev.json --write tuned.yaml": "For `serve` and the Helm chart.",
        "bert-qa bench tune --data dev.json --p99 100ms": "At most questions in that time.",
    },
    "bench latency-table": {
        "bert-qa bench latency-table xeon.json --model bert-base": "Of the machine to serve on.",
    },
    "versions": {
        "bert-qa versions": "What is published.",
        "bert-qa versions --url localhost:9000": "What a server knows.",
        "bert-qa versions --release bert-qa": "The tracks of a release, and their pods.",
    },
    "versions show": {"bert-qa versions show 2": "One version, its files checked."},
    "versions diff": {
        "bert-qa versions diff 1 2": "In what two versions differ.",
        "bert-qa versions diff 1 2 --all": "Tools, digests and provenance too.",
    },
    "versions verify": {
        "bert-qa versions verify 2 --verify-key public.pem": "Whether that key signed it.",
    },
    "versions delete": {
        "bert-qa versions delete 1": "One version.",
        "bert-qa versions delete --keep 3 --dry-run": "Which ones would go.",
    },
    "switch": {
        "bert-qa switch --to 2": "All traffic to version 2.",
        "bert-qa switch --split 1=90,2=10": "A tenth of it.",
        "bert-qa switch --back": "To where it was before.",
        "bert-qa switch --release bert-qa --to 2 --data dev.json": "In a cluster, compared first.",
    },
    "publish": {
        "bert-qa publish --to s3://bucket/models": "The newest version, for servers.",
        "bert-qa publish 2 --to hf://org/name": "Version 2, for other tools.",
    },
    "pull": {
        "bert-qa pull hf://org/name": "From the Hugging Face hub.",
        "bert-qa pull mlflow://name/3": "Version 3 of a model in MLflow.",
    },
    "azureml": {"bert-qa azureml submit --dry-run": "What would be sent to Azure."},
    "azureml submit": {"bert-qa azureml submit --wait": "Train, and wait for the end."},
    "azureml deploy": {"bert-qa azureml deploy --version 2 --job NAME": "Serve a job's version 2."},
    "azureml switch": {"bert-qa azureml switch --to 2": "All traffic to version 2."},
    "azureml delete": {"bert-qa azureml delete --version 1 --dry-run": "What would be deleted."},
    "help": {
        "bert-qa help": "List the topics.",
        "bert-qa help connection": "Explain one.",
        "bert-qa help json versions": "The JSON Schema of what bert-qa versions --json prints.",
        "bert-qa help versions show": "The same as bert-qa versions show --help.",
    },
}


def show_examples(path: str) -> None:
    """Print what a user would type, if there is anything for this command.

    Args:
        path: The command with the program's name, as in `bert-qa versions show`.
    """
    heading, *lines = examples_of(path).splitlines() or [""]
    if heading:
        stdout.print(f" [bold]{heading}[/]")
        for line in lines:
            stdout.print(escape(line), style="dim" if line.lstrip().startswith("#") else None)
        stdout.print()


def examples_of(path: str) -> str:
    """Return the same as text, empty where there is nothing.

    Args:
        path: The command with the program's name.
    """
    examples = EXAMPLES.get(path.partition(" ")[2], {})
    lines = [f"   # {meaning}\n   {command}" for command, meaning in examples.items()]
    return "\n".join(["Examples\n", *lines]) if lines else ""
