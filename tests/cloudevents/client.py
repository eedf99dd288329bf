"""Sends events as CloudEvents with the official SDK, or the same natively.

client.py MODE URL   MODE is native, binary, structured, base64 or batch; prints the id that each was answered with

Attributes are of every kind that the SDK lets through: a seed makes them, the same for all modes.
"""

import gzip
import http.client
import json
import random
import sys
import uuid
from datetime import datetime, timedelta, timezone
from urllib.parse import urlsplit

from cloudevents.core.bindings.http import to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

# as the reference has it
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "floodgate:cloudevent")
ROUNDS = 60
BEGIN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


def text(chance):
    """Anything that is no control character."""
    alphabets = ["abcXYZ019-._~", " %\"\\+&=#?/:,;()", "äß가€🙂ｱ\u00a0\u2028", "".join(map(chr, range(0x21, 0x7F)))]
    return "".join(chance.choice(chance.choice(alphabets)) for _ in range(chance.randint(1, 40)))


def events():
    """Each with the type, the data and the attributes of its envelope."""
    chance = random.Random(4711)
    for number in range(ROUNDS):
        time = BEGIN + timedelta(microseconds=chance.randrange(10**12))
        # in zones of their own
        time = time.astimezone(timezone(timedelta(minutes=15 * chance.randint(-56, 56))))
        cost = {f"{name}Cost": f"{chance.randrange(10**9)}.25" for name in ("totalExpected", "blackCube", "redCube", "additionalCube", "starforce")}
        write = {"characterId": number + 1, "presetNo": 1 + number % 3, "calculatedAt": time.isoformat()} | cost
        coupon = {"couponId": "summer", "userId": f"user {number} {text(chance)}"}
        like = {"targetOcid": f"star {text(chance)}", "likerAccountId": f"fan-{number}", "action": chance.choice(["LIKE", "UNLIKE"])}
        for kind, data in (("expectation", write), ("coupon", coupon), ("like", like)):
            attributes = {"type": f"floodgate.{kind}.v1", "source": text(chance), "id": text(chance), "time": time}
            if chance.random() < 0.7:
                attributes["datacontenttype"] = chance.choice(["application/json", "application/vnd.x+json", "application/json; charset=utf-8"])
            if chance.random() < 0.5:
                attributes["subject"] = text(chance)
            if chance.random() < 0.5:
                attributes["dataschema"] = "https://example.com/" + str(number)
            for _ in range(chance.randint(0, 3)):
                name = "".join(chance.choice("abcdefxyz0189") for _ in range(chance.randint(1, 20)))
                attributes["x" + name] = chance.choice([text(chance), chance.randint(-(2**31), 2**31 - 1), True])
            yield kind, data, attributes


def native():
    for kind, data, attributes in events():
        source, time = attributes["source"], attributes["time"]
        key = uuid.uuid5(NAMESPACE, f"{len(source.encode())}:{source}{attributes['id']}")
        occurred = {"occurredAt": time.isoformat()} if kind == "like" else {}
        yield {"type": kind, "idempotencyKey": str(key)} | data | occurred


def envelopes():
    for _, data, attributes in events():
        yield CloudEvent(attributes, data)


def main(mode, url):
    connection = http.client.HTTPConnection(urlsplit(url).netloc)

    def post(path, headers, body):
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        told = json.loads(answer.read())
        if answer.status not in (200, 202):
            sys.exit(f"{answer.status} {told} to {headers} {body}")
        return told, answer.headers.get("location")

    def one(message):
        told, location = post("/api/v6/cloudevents", message.headers, message.body)
        if location not in (None, f"/api/v6/coupon-requests/{told['eventId']}"):
            sys.exit(f"{location} of {told}")
        print(told["eventId"])

    def many(path, media_type, body):
        told, _ = post(path, {"content-type": media_type, "content-encoding": "gzip"}, gzip.compress(body))
        for result in told["results"]:
            print(result["eventId"] if result["status"] == "accepted" else sys.exit(f"{result}"))

    if mode == "native":
        many("/api/v6/events", "application/json", json.dumps(list(native())).encode())
    elif mode == "binary":
        for envelope in envelopes():
            one(to_binary(envelope, JSONFormat()))
    elif mode == "structured":
        for envelope in envelopes():
            one(to_structured(envelope, JSONFormat()))
    elif mode == "base64":
        # data that are bytes already
        for envelope in envelopes():
            data = json.dumps(envelope.get_data()).encode()
            one(to_structured(CloudEvent(envelope.get_attributes(), data), JSONFormat()))
    elif mode == "batch":
        # the SDK has no batches: an array of what it writes of each
        body = b",".join(to_structured(envelope, JSONFormat()).body for envelope in envelopes())
        many("/api/v6/cloudevents", "application/cloudevents-batch+json", b"[" + body + b"]")


main(*sys.argv[1:])
