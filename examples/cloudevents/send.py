"""Sends events as CloudEvents in all three modes of their HTTP binding, with the official SDK."""

import os
import sys
import uuid
from datetime import datetime, timezone

import requests
from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

URL = os.environ.get("FLOODGATE_URL", "http://127.0.0.1:8080") + "/api/v6/cloudevents"
TIMEOUT_S = 15

session = requests.Session()
if os.environ.get("FLOODGATE_KEY"):
    session.headers["authorization"] = f"Bearer {os.environ['FLOODGATE_KEY']}"
# what another try can help is tried again, after Retry-After where there is one: source and id are the event's key, so that it takes
# effect once however often it is sent
again = Retry(total=8, backoff_factor=0.2, backoff_jitter=0.2, status_forcelist={429, 503, 504}, allowed_methods=None)
session.mount(URL, HTTPAdapter(max_retries=again))


def event(kind, data):
    attributes = {
        "type": f"floodgate.{kind}.v1",
        "source": "/game/eu-1",
        # made with the event, and kept with it
        "id": str(uuid.uuid4()),
        # when a like happened; of two words on one like the later counts
        "time": datetime.now(timezone.utc),
        "datacontenttype": "application/json",
    }
    return CloudEvent(attributes, data)


def like(target, liker):
    return event("like", {"targetOcid": target, "likerAccountId": liker, "action": "LIKE"})


def post(headers, body):
    answer = session.post(URL, data=body, headers=headers, timeout=TIMEOUT_S)
    if not answer.ok:
        # a problem of RFC 9457: it names the attribute, or the field of the data, that is wrong
        sys.exit(f"{answer.status_code}: {answer.text}")
    return answer.json()


# binary: attributes in headers, the body is the data
message = to_binary_event(like("hero-7", "ann"))
print("binary:", post(message.headers, message.body)["eventId"])

# structured: the body is the envelope
costs = {"totalExpectedCost": "1200.50", "blackCubeCost": "1000", "redCubeCost": "100", "additionalCubeCost": "100", "starforceCost": "0.50"}
calculated = datetime.now(timezone.utc).isoformat()
message = to_structured_event(event("expectation", {"characterId": 7, "presetNo": 1, "calculatedAt": calculated} | costs))
print("structured:", post(message.headers, message.body)["eventId"])

# batch: an array of envelopes, which the SDK does not put together; each is answered for itself
bodies = [to_structured_event(like("hero-7", liker)).body for liker in ("ben", "cat", "dan")]
told = post({"content-type": "application/cloudevents-batch+json"}, b"[" + b",".join(bodies) + b"]")
for result in told["results"]:
    if result["status"] != "accepted":
        # "retry" and "unknown" may be sent again as they are; "rejected" says in `problem` what is wrong
        sys.exit(f"not accepted: {result}")
    print("batch:", result["eventId"])
