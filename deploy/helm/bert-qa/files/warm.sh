# Startup probe of a server: fails until it answers for the model. Then it runs the model once at each length that clients
# send, on each of its streams, whose first request of a length compiles kernels. That takes MOST seconds at most, and
# whatever goes wrong with it keeps no pod from serving: LOG says it.
port=$1 model=$2 streams=$3 most=$4 log=$5

# Prints the response to METHOD PATH [BODY].
ask() (
  exec 3<> "/dev/tcp/127.0.0.1/$port" || exit
  printf '%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s' \
    "$1" "$2" "${#3}" "$3" >&3
  # 0 would be no limit.
  timeout "$((most > SECONDS ? most - SECONDS + 1 : 1))" cat <&3 | tr -d '\0'
) 2> /dev/null

is_ok() {
  [[ $(ask "$@") == "HTTP/1.1 200"* ]]
}

# Runs it with ones of LENGTH tokens on all streams at once.
run() {
  local length=$1 ones inputs='' name calls=() call failed=0
  printf -v ones '%*s' "$length" ''
  ones=${ones// /,1}
  for name in $names; do
    inputs+=",{\"name\":$name,\"datatype\":\"INT64\",\"shape\":[1,$length],\"data\":[${ones#,}]}"
  done
  for ((stream = 0; stream < streams; stream++)); do
    is_ok POST "$model/infer" "{\"inputs\":[${inputs#,}]}" &
    calls+=($!)
  done
  for call in "${calls[@]}"; do
    wait "$call" || failed=1
  done
  return "$failed"
}

answer=$(ask GET "$model/ready")
[[ $answer == "HTTP/1.1 200"* ]] || {
  answer=${answer%%[$'\r\n']*}
  answer=${answer:0:200}
  echo "$model/ready: ${answer:-no answer}"
  exit 1
}
found=$(ask GET "$model" | grep -aoE '"(input_ids|attention_mask|token_type_ids|max_seq_len": ?"[0-9]+)"')
names=$(grep -v max_seq_len <<< "$found")
longest=$(grep -oE '[0-9]+' <<< "$found")
report="not warmed up: the model does not describe its input lengths"
for ((length = 32; longest && length < longest + 32; length += 32)); do
  ((length <= longest)) || length=$longest
  if ((SECONDS >= most)) || ! run "$length"; then
    report="warmed up to less than $length of $longest tokens in $SECONDS s: the model failed there, or $most s are over"
    break
  fi
  report="warmed up to $length tokens on $streams streams in $SECONDS s"
done
echo "$report" 2> /dev/null > "$log"
exit 0
