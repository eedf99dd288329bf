"""A client that loses nothing and doubles nothing: batches, retries under the same keys, and stops at its own mistakes.

Needs nothing but Python 3.9. Copy it; `likes.py` shows how it is used.
"""

import gzip
import http.client
import json
import random
import time
import uuid
from urllib.parse import urlsplit

# another try can help: too fast, too late, something on the way is away. Any other status of 400 and above says what is wrong here
AGAIN = {408, 429, 502, 503, 504}


class Refused(Exception):
    """The whole request is wrong (or who sends it may not): another try would not help."""


class GaveUp(Exception):
    """The time is over. `events` may or may not be stored; with the same keys they can be sent again, today or tomorrow."""

    def __init__(self, why, events):
        super().__init__(f"{len(events)} events without an answer: {why}")
        self.events = events


class Client:
    def __init__(self, url, key=None, batch_max=500, answer_s=15, give_up_s=120):
        self.url = urlsplit(url)
        self.headers = {"content-type": "application/x-ndjson", "content-encoding": "gzip"}
        if key:
            self.headers["authorization"] = f"Bearer {key}"
        # answers come within http.request_deadline_ms (6 s): who waits for less gives up what is about to succeed
        self.batch_max, self.answer_s, self.give_up_s = batch_max, answer_s, give_up_s
        self.connection = None

    def send(self, events):
        """Sends events of any type. Returns those that were refused, each with its problem; all others are accepted.

        An event that has no `idempotencyKey` gets one here, before its first try: whatever happens then, it takes effect once. Better
        are keys of your own (an order's number): they hold also when this process dies and another one sends the events again.
        """
        for event in events:
            event.setdefault("idempotencyKey", str(uuid.uuid4()))
        refused = []
        for start in range(0, len(events), self.batch_max):
            refused += self._send(events[start : start + self.batch_max])
        return refused

    def _send(self, batch):
        refused, tries, deadline = [], 0, time.monotonic() + self.give_up_s
        while batch:
            status, wait_s, told = self._post(batch)
            if status == 200:
                again = []
                for event, result in zip(batch, told["results"]):
                    if result["status"] == "rejected":
                        refused.append((event, result["problem"]))
                    # "retry" is certainly not stored, "unknown" may be: the key makes them the same to us
                    elif result["status"] != "accepted":
                        again.append(event)
                batch, told = again, f"{len(again)} were not stored"
            elif status is not None and status not in AGAIN:
                raise Refused(f"{status}: {told}")
            if batch:
                # as long as the server says, else longer each time; and never all clients at once
                wait_s = max(wait_s, min(10, 0.1 * 2**tries)) * random.uniform(1, 1.25)
                if time.monotonic() + wait_s > deadline:
                    raise GaveUp(told, batch)
                time.sleep(wait_s)
                tries += 1
        return refused

    def _post(self, batch):
        """Status, seconds of Retry-After, and what was told. No status: nobody knows how far the request came."""
        body = gzip.compress("\n".join(map(json.dumps, batch)).encode())
        try:
            if self.connection is None:
                of = http.client.HTTPSConnection if self.url.scheme == "https" else http.client.HTTPConnection
                self.connection = of(self.url.netloc, timeout=self.answer_s)
            self.connection.request("POST", "/api/v6/events", body, self.headers)
            answer = self.connection.getresponse()
            told = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            return None, 0, repr(error)
        wait = answer.headers.get("retry-after", "")
        is_json = "json" in answer.headers.get("content-type", "")
        told = json.loads(told) if is_json else told[:500]
        return answer.status, int(wait) if wait.isdigit() else 0, told

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None
