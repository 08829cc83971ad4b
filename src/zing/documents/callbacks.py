"""The callback described: what is sent to the URL in a request when its task has ended."""

from collections.abc import Mapping

from zing.documents.base import Body
from zing.documents.curl import JSON_TYPE
from zing.documents.schemas import Json, string

# Every callback has these, whatever its dialect adds.
HEADERS: dict[str, str] = {
    "webhook-id": "The same at every attempt: a receiver knows a repetition by it.",
    "webhook-timestamp": "When it was sent, UTC seconds.",
    "webhook-signature": "Standard Webhooks: v1, and the base64 of the HMAC-SHA256 over "
    "ID.TIMESTAMP.BODY with the account's secret.",
}


def ended(member: str, body: Body, headers: Mapping[str, str], text: str = "") -> Json:
    """OpenAPI's callbacks of a request that has its URL in `member`; the headers with meanings."""
    sent = {
        "summary": "A task has ended",
        "description": "Sent once the money is settled. An answer within 10 seconds with any 2xx "
        "status takes it; otherwise it is sent again after 1, 2 and 4 seconds. Redirects are not "
        f"followed. {text}".strip(),
        "parameters": [
            {"name": name, "in": "header", "description": meaning, "schema": string()}
            for name, meaning in headers.items()
        ],
        "requestBody": {"content": {JSON_TYPE: body.told()}},
        "responses": {"2XX": {"description": "Taken."}},
    }
    return {"ended": {f"{{$request.body#/{member}}}": {"post": sent}}}
