"""Sends compressed bodies, as Python's gzip and zstandard make them.

client.py send URL       a batch of likes in every way of compressing, each of a liker of its own; prints what was answered
client.py bomb URL N     N clients at once that send a body of gigabytes, gzip and zstd in turn; prints what was answered and after
                         how many bytes
client.py parts URL N    the same of a body of eight megabytes in which each byte is a member or a frame of its own
client.py blocks URL N   the same of one of gzip's blocks in which nothing is
"""

import gzip
import http.client
import io
import json
import socket
import sys
import threading
from urllib.parse import urlsplit

import zstandard

EVENTS = 10_000


def likes(liker):
    like = {"type": "like", "likerAccountId": liker, "action": "LIKE"}
    return json.dumps([like | {"targetOcid": f"star-{number}"} for number in range(EVENTS)]).encode()


def members(plain):
    """Several members of gzip, as a log that is appended to has."""
    return b"".join(gzip.compress(plain[at : at + 100_000]) for at in range(0, len(plain), 100_000))


def frames(plain):
    return b"".join(zstandard.compress(plain[at : at + 100_000]) for at in range(0, len(plain), 100_000))


def streamed(plain):
    """A frame that does not say how large it is."""
    out = io.BytesIO()
    with zstandard.ZstdCompressor(level=19, write_checksum=True).stream_writer(out, closefd=False) as writer:
        writer.write(plain)
    return out.getvalue()


WAYS = {
    "gzip": ("gzip", gzip.compress),
    "gzip -1": ("gzip", lambda plain: gzip.compress(plain, 1)),
    "members of gzip": ("gzip", members),
    "zstd": ("zstd", zstandard.compress),
    "frames of zstd": ("zstd", frames),
    "streamed zstd": ("zstd", streamed),
}


def send(url):
    address = urlsplit(url).netloc
    for way, (coding, compress) in WAYS.items():
        body = compress(likes(way))
        for is_chunked in (False, True):
            connection = http.client.HTTPConnection(address)
            headers = {"content-type": "application/json", "content-encoding": coding}
            sent = (body[at : at + 999] for at in range(0, len(body), 999)) if is_chunked else body
            connection.request("POST", "/api/v6/events", sent, headers, encode_chunked=is_chunked)
            answer = connection.getresponse()
            told = json.loads(answer.read())
            accepted = sum(result["status"] == "accepted" for result in told.get("results", []))
            print(json.dumps({"way": way, "status": answer.status, "accepted": accepted, "bytes": len(body)}))


def bomb(url, clients):
    zeros = bytes(64 << 20)
    # 160 times 64 MiB are 10 GiB
    attack(url, clients, [("gzip", gzip.compress(zeros)), ("zstd", zstandard.compress(zeros))], 160)


def parts(url, clients):
    attack(url, clients, [("gzip", gzip.compress(b" ") * 380_000), ("zstd", zstandard.compress(b" ") * 800_000)], 1)


def blocks(url, clients):
    # four blocks of ten bits: not the last, the fixed code, its end
    bits = "0100000000" * 4
    four = bytes(int(bits[at : at + 8][::-1], 2) for at in range(0, len(bits), 8))
    body = gzip.compress(b"")[:10] + four * 1_600_000
    attack(url, clients, [("gzip", body)] * 2, 1, 1 << 18)


def attack(url, clients, bodies, times, size=4096):
    host, port = urlsplit(url).netloc.split(":")
    told = []

    def one(coding, once):
        connection = socket.create_connection((host, int(port)))
        # or much of it would lie ready here
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
        head = f"POST /api/v6/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-encoding: {coding}\r\n"
        connection.sendall(f"{head}transfer-encoding: chunked\r\n\r\n".encode())
        sent, answer = 0, b""
        pieces = (once[at : at + size] for _ in range(times) for at in range(0, len(once), size))
        for piece in pieces:
            connection.settimeout(60)
            connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
            sent += len(piece)
            connection.settimeout(0.001)
            try:
                answer = connection.recv(1000)
                break
            except TimeoutError:
                pass
        else:
            # zstd's ten gigabytes are so few bytes that all of them may be under way before the answer is
            connection.settimeout(60)
            connection.sendall(b"0\r\n\r\n")
            answer = connection.recv(1000)
        told.append({"coding": coding, "answer": answer.decode().split("\r\n")[0], "sent": sent})

    threads = [threading.Thread(target=one, args=bodies[number % 2]) for number in range(int(clients))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for answer in told:
        print(json.dumps(answer))


{"send": send, "bomb": bomb, "parts": parts, "blocks": blocks}[sys.argv[1]](*sys.argv[2:])
