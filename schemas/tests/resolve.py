"""What fastavro reads of a writer's data with a reader's schema, as that schema writes it: `ok HEX`, or `no` and why.

One case a line on stdin: {"writer": SCHEMA, "reader": SCHEMA, "data": HEX}.
"""

import io
import json
import sys

import fastavro

for line in sys.stdin:
    case = json.loads(line)
    try:
        # names are known for each schema alone
        writer = fastavro.parse_schema(case["writer"], named_schemas={})
        reader = fastavro.parse_schema(case["reader"], named_schemas={})
        data = io.BytesIO(bytes.fromhex(case["data"]))
        record = fastavro.schemaless_reader(data, writer, reader)
        out = io.BytesIO()
        fastavro.schemaless_writer(out, reader, record)
        print("ok", out.getvalue().hex())
    except Exception as error:
        print("no", type(error).__name__, str(error).replace("\n", " "))
