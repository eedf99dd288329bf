"""What schemathesis has to be told: our media types, bodies that are compressed, and, where keys are asked for, who asks."""

import gzip
import itertools
import json
import os

import schemathesis
import zstandard

CODINGS = {"gzip": gzip.compress, "x-gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress}

# who asks, in turn: "" is somebody who does not say; nobody has to without keys
CALLERS = json.loads(os.environ.get("FLOODGATE_CALLERS", "[]"))
# a coupon of which every piece is given out
SOLD_OUT = os.environ.get("FLOODGATE_SOLD_OUT")
turns = itertools.count()
callers = itertools.cycle(CALLERS)


@schemathesis.serializer("application/x-ndjson")
def lines(ctx, value):
    """Lines as they are; of anything else one line."""
    return value.encode() if isinstance(value, str) else str(value).encode()


@schemathesis.serializer("application/cloudevents+json", "application/cloudevents-batch+json")
def envelopes(ctx, value):
    """CloudEvents are JSON."""
    return json.dumps(value).encode()


@schemathesis.hook
def before_call(ctx, case, kwargs):
    """Every third coupon that is asked for is that one. The library's hook for logins sees the request as it is sent."""
    turn = next(turns)
    if SOLD_OUT and turn % 3 == 0 and ctx.operation.definition.raw["operationId"] == "issueCoupon":
        case.path_parameters["couponId"] = SOLD_OUT
    kwargs["auth"] = finish


def finish(request):
    """The body is what its head says."""
    compress = CODINGS.get(request.headers.get("Content-Encoding"))
    if compress and request.body:
        body = request.body.encode() if isinstance(request.body, str) else request.body
        request.prepare_body(compress(body), None)
    return request


class Callers:
    """Who asks. Of what somebody was let in with the library looks whether it goes without, or with another word, too."""

    def get(self, case, ctx):
        return next(callers) or None

    def set(self, case, caller, ctx):
        case.headers["Authorization"] = f"Bearer {caller}"


if CALLERS:
    schemathesis.auth(refresh_interval=None)(Callers)
