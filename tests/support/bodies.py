"""The body of a request to a played server."""

from http.server import BaseHTTPRequestHandler


def whole_body(handler: BaseHTTPRequestHandler) -> bytes | None:
    """None where the client was killed before it had sent all of it: a real server does nothing for such a request."""
    length = int(handler.headers.get("Content-Length") or 0)
    body = handler.rfile.read(length)
    if len(body) == length:
        return body
    handler.close_connection = True
    return None
