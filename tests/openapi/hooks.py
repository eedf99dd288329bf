"""What schemathesis has to be told of our media types."""

import json

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines(ctx, value):
    """Lines as they are; of anything else one line."""
    return value.encode() if isinstance(value, str) else str(value).encode()


@schemathesis.serializer("application/cloudevents+json", "application/cloudevents-batch+json")
def envelopes(ctx, value):
    """CloudEvents are JSON."""
    return json.dumps(value).encode()
