# Asks the served model a question, itself and through the HTTP API, and checks the answers. Of further models it asks
# whether they are served. Settings come from the environment.
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
for model in ${OTHERS:-}; do
  state=$(curl --silent --show-error --max-time 60 --output /dev/null --write-out '%{http_code}' ${CURL_TLS:-} \
    "$REST_URL/v2/models/$model/ready" 2>&1) && [ "$state" = 200 ] || {
    echo "error: $model, which model.others names, is not served ($state): publish it, or leave it out (\`$SERVER_LOG\` may say why)" >&2
    exit 1
  }
done
if [ -n "${HTTP_URL:-}" ]; then
  answer=$(curl --silent --show-error --fail-with-body --max-time 60 --header 'Content-Type: application/json' \
    ${TOKEN_FILE:+--header "Authorization: Bearer $(cat "$TOKEN_FILE")"} --data "$HTTP_BODY" "$HTTP_URL") || {
    echo "error: $HTTP_URL does not answer: $answer (\`$HTTP_LOG\` may say why)" >&2
    exit 1
  }
  printf "%s\n" "$answer"
  printf "%s\n" "$answer" | check
fi
