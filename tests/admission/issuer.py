"""An issuer of tokens such as others run: serves its public keys, and signs what it is told to on its standard input.

Each line is a JSON object, and is answered with one line:
  {"sign": ALGORITHM, "kid": ID, "claims": {...}}  a token
  {"confuse": {...claims}}                          one whose secret is our public key
  {"rotate": true}                                  new keys, under other ids
Ends with its input. The first line that it writes is its port.
"""

import base64
import hashlib
import hmac
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ALGORITHMS = {
    "rsa": jwt.algorithms.RSAAlgorithm,
    "ec": jwt.algorithms.ECAlgorithm,
    "ed": jwt.algorithms.OKPAlgorithm,
}


def make(generation):
    """Private keys by id."""
    return {
        f"rsa-{generation}": rsa.generate_private_key(65537, 2048),
        f"ec-{generation}": ec.generate_private_key(ec.SECP256R1()),
        f"ed-{generation}": ed25519.Ed25519PrivateKey.generate(),
    }


keys = make(1)
generation = 1


class Keys(BaseHTTPRequestHandler):
    """The set of public keys."""

    def do_GET(self):
        jwks = []
        for kid, key in keys.items():
            jwk = json.loads(ALGORITHMS[kid.split("-")[0]].to_jwk(key.public_key()))
            jwks.append({**jwk, "kid": kid, "use": "sig"})
        body = json.dumps({"keys": jwks}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/jwk-set+json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def part(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")


def confused(claims):
    """Signed as if our public key were a secret that is shared; PyJWT itself refuses to."""
    public = keys[f"rsa-{generation}"].public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    message = part({"alg": "HS256", "kid": f"rsa-{generation}"}) + b"." + part(claims)
    signature = hmac.new(pem, message, hashlib.sha256).digest()
    return (message + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


server = ThreadingHTTPServer(("127.0.0.1", 0), Keys)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_address[1], flush=True)
for line in sys.stdin:
    told = json.loads(line)
    if "rotate" in told:
        generation += 1
        keys = make(generation)
        print("rotated", flush=True)
    elif "confuse" in told:
        print(confused(told["confuse"]), flush=True)
    else:
        key = keys[told["kid"]]
        print(jwt.encode(told["claims"], key, told["sign"], headers={"kid": told["kid"]}), flush=True)
