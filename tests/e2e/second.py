"""A second HTTP server on this machine, with bytes that only it knows, for a guest that shares its card."""

import hashlib
import http.server
import random
import threading

PIECE = 1 << 20


class Second:
    """/N is N bytes, the same for each N. To be entered; nothing listens afterwards."""

    def __init__(self):
        self.piece = piece = random.Random(3).randbytes(PIECE)

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                left = int(self.path[1:])
                self.send_response(200)
                self.send_header("Content-Length", str(left))
                self.end_headers()
                while left:
                    n = min(left, PIECE)
                    self.wfile.write(piece[:n])
                    left -= n

            def log_message(self, *args):
                pass

        self.httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.httpd.serve_forever, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.httpd.shutdown()
        self.httpd.server_close()

    def url(self, n):
        """As the guest says it."""
        return "http://10.0.2.2:%d/%d" % (self.httpd.server_port, n)

    def digest(self, n):
        h = hashlib.sha256()
        for at in range(0, n, PIECE):
            h.update(self.piece[:min(PIECE, n - at)])
        return h.hexdigest()
