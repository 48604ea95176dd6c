# Asks the served model a question, itself and through the HTTP API, and checks the answers. Settings come from the environment.
set -eu
check() {
  python -c '
import json, os, sys

given = json.load(sys.stdin)
text, wanted = given[0]["text"] if isinstance(given, list) else given["answer"], os.environ["ANSWER"]
if wanted.casefold() not in text.casefold():
    sys.exit(f"The answer is {text!r}, which does not contain {wanted!r}.")
'
}
answers=$(bert-qa ask "$QUESTION" --context "$CONTEXT" --url "$URL" --model "$MODEL" --json "$@")
printf "%s\n" "$answers"
printf "%s\n" "$answers" | check
if [ -n "${HTTP_URL:-}" ]; then
  answer=$(curl --silent --show-error --fail-with-body --max-time 60 --header 'Content-Type: application/json' \
    ${TOKEN_FILE:+--header "Authorization: Bearer $(cat "$TOKEN_FILE")"} --data "$HTTP_BODY" "$HTTP_URL") || {
    echo "error: $HTTP_URL does not answer: $answer" >&2
    exit 1
  }
  printf "%s\n" "$answer"
  printf "%s\n" "$answer" | check
fi
