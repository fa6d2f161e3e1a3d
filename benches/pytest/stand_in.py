"""The stand-in for the API: it answers with the question, sets a cookie, and repeats the API key, as some gateways do."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WORDS = "Words of an answer. " * 60


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        content = f"You asked: {request['messages'][-1]['content']} {WORDS}"
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
        usage = {"prompt_tokens": 300, "completion_tokens": 240, "total_tokens": 540}
        answer = {
            "id": "6b9018ce9f43448e9a81f2c875097ba4",
            "object": "chat.completion",
            "created": 1795255200,
            "model": request["model"],
            "choices": [choice],
            "usage": usage,
            "debug": {"received": self.headers["authorization"]},
        }
        body = json.dumps(answer, separators=(",", ":")).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.send_header("set-cookie", "session=9f8e7d6c5b4a39281706f5e4; HttpOnly")
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()
