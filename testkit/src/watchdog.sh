# Reads "+ <serial> <pid>" (a process group was started) and "- <serial>" (it is over) until the writer is gone, then
# kills the groups that are left with all their descendants and removes the folder $1. The crate's documentation says why.
trap '' HUP INT QUIT TERM
cd /
root=$1
running=

while read -r sign serial pid; do
  case $sign in
  +) running="$running $serial:$pid" ;;
  -)
    others=
    for entry in $running; do
      case $entry in
      "$serial":*) ;;
      *) others="$others $entry" ;;
      esac
    done
    running=$others
    ;;
  esac
done

# Adds all descendants of process $1 to $targets. /proc/<pid>/stat reads "<pid> (<name>) <state> <parent> …".
add_descendants() {
  for stat in /proc/[0-9]*/stat; do
    read -r line 2>/dev/null <"$stat" || continue
    after_name=${line##*) }
    parent=${after_name#* }
    parent=${parent%% *}
    if [ "$parent" = "$1" ]; then
      found="$found ${line%% *}"
    fi
  done
}

# POSIX spells it `kill -s KILL -- -5`: dash takes the `--` of `kill -KILL -- -5` for a process.
targets=
for entry in $running; do
  leader=${entry#*:}
  kill -s STOP -- "-$leader" 2>/dev/null # it must not fork while its descendants are listed
  targets="$targets -$leader"
  queue=$leader
  while [ -n "$queue" ]; do
    found=
    for parent in $queue; do
      add_descendants "$parent"
    done
    targets="$targets $found"
    queue=$found
  done
done
if [ -n "$targets" ]; then
  # shellcheck disable=SC2086 # a list
  kill -s KILL -- $targets 2>/dev/null
fi

# A PostgreSQL that is killed leaves a few bytes of System V shared memory behind; its id ends the file's seventh line.
find "$root" -name postmaster.pid 2>/dev/null | while read -r file; do
  ipcrm -m "$(sed -n '7s/.* //p' "$file")" 2>/dev/null
done

# The dying may still be writing: until it works, for ten seconds.
tries=0
until rm -rf "$root" 2>/dev/null || [ "$tries" -ge 100 ]; do
  tries=$((tries + 1))
  sleep 0.1
done
