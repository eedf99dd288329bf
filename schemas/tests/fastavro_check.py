"""Python's fastavro reads the golden bytes, writes the same ones, and knows the same fingerprints.

usage: python fastavro_check.py        (needs: pip install fastavro)
"""

import io
import json
import pathlib
import sys

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form

HERE = pathlib.Path(__file__).parent
FILES = {"ExpectationWrite": "expectation_write", "CouponIssue": "coupon_issue", "Like": "like"}


def check(name: str, golden: bytes) -> None:
    schema = json.loads((HERE.parent / "avro" / f"{FILES[name]}.avsc").read_text())
    crc = bytes.fromhex(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))
    assert golden[:2] == b"\xc3\x01", f"{name}: no single-object marker"
    assert golden[2:10] == crc, f"{name}: another fingerprint, {crc.hex()}"

    parsed = fastavro.parse_schema(schema)
    datum = io.BytesIO(golden[10:])
    record = fastavro.schemaless_reader(datum, parsed)
    assert not datum.read(), f"{name}: bytes follow the datum"

    again = io.BytesIO()
    fastavro.schemaless_writer(again, parsed, record)
    assert again.getvalue() == golden[10:], f"{name}: fastavro writes other bytes for {record}"
    print(f"{name}: fastavro {fastavro.__version__} agrees: {record}")


lines = [line for line in (HERE / "golden.txt").read_text().splitlines() if not line.startswith("#")]
for line in lines:
    name, hexadecimal = line.split()
    check(name, bytes.fromhex(hexadecimal))
sys.exit(0 if len(lines) == len(FILES) else f"{len(lines)} golden lines for {len(FILES)} schemas")
