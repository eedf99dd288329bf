#!/usr/bin/env bash
# A coupon, a like, a batch and a mistake: what a client does, with curl.
set -euo pipefail

url="${FLOODGATE_URL:-http://127.0.0.1:8080}"
api="$url/api/v6"
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT

# One request; prints its answer, and ends with 22 if that is an error. What another try can help (429, 503, 504, no connection) is
# tried again after Retry-After, by curl itself: with the same Idempotency-Key nothing takes effect twice.
# A connection that breaks in the middle ends the script: that is left out of curl's retries.
# The key is read from a file descriptor: on the command line everybody on this machine could see it.
call() {
  local code=0
  curl --silent --show-error --fail-with-body --max-time 40 --retry 8 --retry-max-time 60 --retry-connrefused \
    --config <(printf '%s\n' "${FLOODGATE_KEY:+header = \"Authorization: Bearer $FLOODGATE_KEY\"}") \
    --output "$folder/body" --dump-header "$folder/head" "$@" || code=$?
  cat "$folder/body"
  echo
  return "$code"
}
json='Content-Type: application/json'

echo '# a coupon with two pieces; the same again changes nothing'
coupon="summer-$(date +%s)-$$"
for _ in 1 2; do
  call "$api/coupons" -H "$json" -d "{\"couponId\":\"$coupon\",\"stock\":2}"
done

echo '# three users ask for it; each waits for the decision at the address that it was told'
for user in ann ben cat; do
  # one key for one wish, however often it is sent: made before the first try, and kept until there is an answer
  key="Idempotency-Key: $coupon-$user"
  issue=("$api/coupons/$coupon/issues" -H "$json" -H "$key" -d "{\"userId\":\"$user\"}")
  call "${issue[@]}"
  location="$(awk 'tolower($1) == "location:" { sub(/\r$/, ""); at = $2 } END { print at }' "$folder/head")"
  call "$url$location?waitMs=30000"
done

echo '# a like; with a key it says when it happened, so that a late retry cannot undo a newer unlike'
now="$(date -u +%Y-%m-%dT%H:%M:%SZ)"
call -X PUT "$api/characters/hero-$coupon/likes/ann" -H "$json" -H "Idempotency-Key: like-$coupon-ann" -d "{\"occurredAt\":\"$now\"}"

echo '# many events in one request, each answered for itself: the last one is refused, and harms none of the others'
gzip <<END | call "$api/events" -H 'Content-Type: application/x-ndjson' -H 'Content-Encoding: gzip' --data-binary @-
{"type":"like","targetOcid":"hero-$coupon","likerAccountId":"ben","action":"LIKE","occurredAt":"$now","idempotencyKey":"like-$coupon-ben"}
{"type":"coupon","couponId":"$coupon","userId":"dan","idempotencyKey":"$coupon-dan"}
{"type":"like","targetOcid":"hero-$coupon","likerAccountId":"hero-$coupon","action":"LIKE"}
END

echo '# a mistake: the answer says which field, and that another try would not help'
if call "$api/coupons/$coupon/issues" -H "$json" -d '{"userId":""}'; then
  echo 'it should have been refused' >&2
  exit 1
fi

echo '# how the coupon stands'
call "$api/coupons/$coupon"
