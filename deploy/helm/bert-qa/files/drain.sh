# Waits before a pod ends: LEAST seconds, after which nothing new is led here, then while clients are connected to one of
# two ports, but for MOST seconds at most. Clients leave by themselves: the proxy asks each connection to go at its age.
least=$1 most=$2
# In the kernel's tables ports are hexadecimal, and 01 is an open connection.
one="01 *:$(printf %04X "$3")" other="01 *:$(printf %04X "$4")"

connected() {
  [ -r /proc/net/tcp ] || return 0
  for table in /proc/net/tcp /proc/net/tcp6; do
    [ -r "$table" ] || continue
    while read -r _ address _ state _; do
      case "$state $address" in
        $one | $other) return 0 ;;
      esac
    done <"$table"
  done
  return 1
}

sleep "$least"
waited=$least
while [ "$waited" -lt "$most" ] && connected; do
  sleep 1
  waited=$((waited + 1))
done
