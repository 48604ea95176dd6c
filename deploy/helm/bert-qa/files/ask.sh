# Asks the served model a question, itself and through the HTTP API, and checks the answers. Settings come from the environment.
set -eu
check() {
  python -c '
import json, os, sys

given = json.load(sys.stdin)
text, wanted = given["answers"][0]["text"] if "answers" in given else given["answer"], os.environ["ANSWER"]
if wanted.casefold() not in text.casefold():
    sys.exit(
        f"The answer is {text!r}, which does not contain {wanted!r}. If the model is for other questions, "
        "set test.question, test.context and test.answer to one that it answers."
    )
'
}
answers=$(bert-qa ask "$QUESTION" --context "$CONTEXT" --url "$URL" --model "$MODEL" --json "$@") || {
  # The name has the addresses of the pods that are ready.
  python -c 'import os, socket; socket.getaddrinfo(os.environ["PODS"], None)' 2> /dev/null || echo "error: $NOT_READY" >&2
  exit 1
}
printf "%s\n" "$answers"
printf "%s\n" "$answers" | check
if [ -n "${HTTP_URL:-}" ]; then
  answer=$(curl --silent --show-error --fail-with-body --max-time 60 --header 'Content-Type: application/json' \
    ${TOKEN_FILE:+--header "Authorization: Bearer $(cat "$TOKEN_FILE")"} --data "$HTTP_BODY" "$HTTP_URL") || {
    echo "error: $HTTP_URL does not answer: $answer (\`$HTTP_LOG\` may say why)" >&2
    exit 1
  }
  printf "%s\n" "$answer"
  printf "%s\n" "$answer" | check
fi
