"""What schemathesis has to be told of our media types."""

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines(ctx, value):
    """Lines as they are; of anything else one line."""
    return value.encode() if isinstance(value, str) else str(value).encode()
