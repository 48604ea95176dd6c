# Asks the served model a question, and checks the answer. Settings come from the environment.
set -eu
answers=$(bert-qa ask "$QUESTION" --context "$CONTEXT" --url "$URL" --model "$MODEL" --json "$@")
echo "$answers"
echo "$answers" | python -c '
import json, os, sys

text, wanted = json.load(sys.stdin)[0]["text"], os.environ["ANSWER"]
if wanted.casefold() not in text.casefold():
    sys.exit(f"The answer is {text!r}, which does not contain {wanted!r}.")
'
