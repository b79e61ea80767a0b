"""Trouble between a server and its S3 storage, by rules: all that is not in a rule is the real storage's.

One request a connection, so that every request is asked about. What a rule may say is at Gate; Script is the rule for "first
this, then that".
"""

import socket
import socketserver
import threading


class Gate(socketserver.ThreadingTCPServer):
    """`rule(method, path)` says what becomes of a request: None, it goes through; a number, that is the answer; an event, it waits
    for that and is then forgotten; a function, that makes what comes back of the storage's answer."""

    daemon_threads = True

    def __init__(self, port, rule=lambda method, path: None):
        self.storage, self.rule = port, rule
        super().__init__(("127.0.0.1", 0), Passage)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def place(self, remote):
        return remote.place.replace(":%d/" % self.storage, ":%d/" % self.server_address[1])


class Passage(socketserver.StreamRequestHandler):
    def handle(self):
        head = [self.rfile.readline()]
        while head[-1] not in (b"\r\n", b""):
            head.append(self.rfile.readline())
        if head[-1] == b"":
            return
        length = sum(int(line.split(b":")[1]) for line in head if line.lower().startswith(b"content-length:"))
        body = self.rfile.read(length)
        rule = self.server.rule(*head[0].decode().split()[:2])
        if isinstance(rule, threading.Event):
            rule.wait()
        elif isinstance(rule, int):
            self.wfile.write(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % rule)
        else:
            answer = self.ask(b"".join(head[:-1]) + b"Connection: close\r\n\r\n" + body)
            self.wfile.write(rule(answer) if rule else answer)

    def ask(self, request):
        with socket.create_connection(("127.0.0.1", self.server.storage)) as s:
            s.sendall(request)
            return b"".join(iter(lambda: s.recv(65536), b""))


class Script:
    """A rule: what becomes of the first requests of a kind, one after the other; all else goes through."""

    def __init__(self, method, end, *steps):
        self.method, self.end, self.steps, self.asked, self.lock = method, end, list(steps), 0, threading.Lock()

    def __call__(self, method, path):
        with self.lock:
            if method != self.method or not path.endswith(self.end):
                return None
            self.asked += 1
            return self.steps.pop(0) if self.steps else None


def cut(answer):
    """A third of the body; the head promises all of it."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert len(body) > 100
    return head + b"\r\n\r\n" + body[:len(body) // 3]
