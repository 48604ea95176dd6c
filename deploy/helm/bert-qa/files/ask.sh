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
echo "$answers"
echo "$answers" | check
if [ -n "${HTTP_URL:-}" ]; then
  answer=$(python -c '
import json, os, pathlib, sys, urllib.error, urllib.request

url, token_file = os.environ["HTTP_URL"], os.environ.get("TOKEN_FILE")
headers = {"Content-Type": "application/json"}
if token_file:
    headers["Authorization"] = "Bearer " + pathlib.Path(token_file).read_text().strip()
inputs = {"question": os.environ["QUESTION"], "context": os.environ["CONTEXT"]}
body = json.dumps({"inputs": inputs}).encode()
try:
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=60) as answered:
        print(answered.read().decode())
except urllib.error.HTTPError as error:
    sys.exit(f"error: {url} answers with status {error.code}: {error.read().decode()}")
except OSError as error:
    sys.exit(f"error: {url} cannot be asked: {error}")
')
  echo "$answer"
  echo "$answer" | check
fi
