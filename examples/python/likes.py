"""Sends 2,000 likes, one of which is a mistake, and tells what became of them."""

import os
import sys
from datetime import datetime, timezone

from floodgate import Client, GaveUp, Refused

client = Client(os.environ.get("FLOODGATE_URL", "http://127.0.0.1:8080"), os.environ.get("FLOODGATE_KEY"))

# when it happened, and not when it is sent: of two words on one like the later counts, in whatever order they come
now = datetime.now(timezone.utc).isoformat()
likes = [
    {"type": "like", "targetOcid": f"hero-{n % 10}", "likerAccountId": f"fan-{n}", "action": "LIKE", "occurredAt": now}
    for n in range(1999)
]
likes.append({"type": "like", "targetOcid": "hero-0", "likerAccountId": "hero-0", "action": "LIKE", "occurredAt": now})

try:
    refused = client.send(likes)
except (Refused, GaveUp) as error:
    sys.exit(f"{type(error).__name__}: {error}")
print(f"{len(likes) - len(refused)} accepted, {len(refused)} refused")
for event, problem in refused:
    print(f"{event['targetOcid']} by {event['likerAccountId']}: {problem['detail']}")
