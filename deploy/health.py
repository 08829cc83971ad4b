"""The container's health check: ends with 0 where zing answers. By address, past every proxy."""

import os
import sys
from http.client import HTTPConnection  # noqa: TID251 - asks its own machine alone

connection = HTTPConnection("127.0.0.1", int(os.environ.get("ZING_PORT") or 8000), timeout=4)
try:
    connection.request("GET", "/healthz")
    sys.exit(connection.getresponse().status != 200)
except OSError as error:
    sys.exit(f"zing does not answer: {error}")
