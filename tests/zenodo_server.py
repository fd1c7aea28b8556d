"""A local server that plays Zenodo, for tests that fetch the released weights."""

import hashlib
import http.server
import json

from common.models.released import ICIP_2023


class Server(http.server.ThreadingHTTPServer):
    """Plays zenodo.org.  replies: {path: (status, headers, body)}.  cut: how many bytes of an archive are sent."""

    def __init__(self):
        self.replies, self.downloads, self.cut = {}, 0, None
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"

    def hold(self, body, archive=ICIP_2023, **fields):
        """Have `body` as the archive; `fields` replace what the record says of it."""
        record = f"/api/records/{archive.record}"
        file = {"key": archive.name, "size": len(body), "checksum": f"md5:{hashlib.md5(body).hexdigest()}"}
        file = {**file, "links": {"self": f"{self.url}{record}/files/content"}, **fields}
        self.replies[record] = (200, {}, json.dumps({"files": [{**file, "key": "other.pdf"}, file]}).encode())
        self.replies[f"{record}/files/content"] = (200, {}, body)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        assert self.headers["User-Agent"].startswith("pooch/")
        status, headers, body = self.server.replies.get(self.path, (404, {}, b"no such page"))
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        content = self.path.endswith("/content")
        self.server.downloads += content
        self.wfile.write(body[: self.server.cut] if content else body)

    def log_message(self, *arguments):
        pass
