"""An OpenAI-compatible chat endpoint inside the test: it remembers what it was asked and answers what it is told.

    with FakeModel() as model:
        model.answer = lambda request: "text"        # or a dict: {"tool": name, "arguments": {...}}, or a list of such
"""
import json, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def last_user(request):
    return next((m["content"] for m in reversed(request["messages"]) if m["role"] == "user"), "")


class Http(ThreadingHTTPServer):
    daemon_threads, request_queue_size = True, 256

    def handle_error(self, request, client_address):
        """Connections that break are part of the tests."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class FakeModel:
    def __init__(self, key=None, models=("fake",)):
        self.key, self.models = key, models
        self.requests, self.lock = [], threading.Lock()
        self.answer = lambda request: "Understood."
        self.pause_s, self.piece = 0.0, 12
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Without this every small chunk waits for the peer's delayed acknowledgement.
            disable_nagle_algorithm = True

            def log_message(self, *_):
                pass

            def reply(self, status, obj):
                body = json.dumps(obj).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def allowed(self):
                if outer.key and self.headers.get("authorization") != f"Bearer {outer.key}":
                    self.reply(401, {"error": {"message": "Incorrect API key provided", "type": "invalid_request_error", "code": "invalid_api_key"}})
                    return False
                return True

            def do_GET(self):
                if not self.allowed():
                    return
                if self.path.endswith("/models"):
                    self.reply(200, {"object": "list", "data": [{"id": m, "object": "model", "created": 0, "owned_by": "fake"} for m in outer.models]})
                else:
                    self.reply(404, {"error": {"message": "no such path"}})

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                if not self.allowed():
                    return
                if self.path != "/v1/chat/completions":
                    return self.reply(404, {"error": {"message": "no such path"}})
                outer.chat(self, json.loads(body))

        self.http = Http(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"

    def chat(self, h, request):
        with self.lock:
            self.requests.append(request)
            number = len(self.requests)
        said = self.answer(request)
        content, calls = said, None
        if isinstance(said, (dict, list)):
            content, said = None, said if isinstance(said, list) else [said]
            calls = [{"id": f"call_{number}" + (f"_{i}" if i else ""), "type": "function", "function": {"name": call["tool"], "arguments": json.dumps(call.get("arguments", {}))}}
                     for i, call in enumerate(said)]
        finish = "tool_calls" if calls else "stop"
        prompt = sum(len(str(m.get("content") or "")) for m in request["messages"]) // 4 + 1
        done = max(1, len(content or json.dumps(calls)) // 4)
        usage = {"prompt_tokens": prompt, "completion_tokens": done, "total_tokens": prompt + done}
        base = {"id": f"chatcmpl-{number}", "created": int(time.time()), "model": request.get("model", "fake")}
        if not request.get("stream"):
            time.sleep(self.pause_s)
            message = {"role": "assistant", "content": content, **({"tool_calls": calls} if calls else {})}
            return h.reply(200, {**base, "object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": usage})
        h.send_response(200)
        h.send_header("content-type", "text/event-stream")
        h.send_header("transfer-encoding", "chunked")
        h.end_headers()

        def event(obj):
            data = f"data: {obj if isinstance(obj, str) else json.dumps(obj)}\n\n".encode()
            h.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            h.wfile.flush()

        def chunk(delta, fin=None):
            return {**base, "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": fin}]}

        try:
            event(chunk({"role": "assistant", "content": "" if calls is None else None}))
            if calls:
                for i, call in enumerate(calls):
                    event(chunk({"tool_calls": [{"index": i, **call}]}))
            else:
                for i in range(0, len(content), self.piece):
                    event(chunk({"content": content[i:i + self.piece]}))
                    if self.pause_s:
                        time.sleep(self.pause_s)
            event(chunk({}, finish))
            if (request.get("stream_options") or {}).get("include_usage"):
                event({**base, "object": "chat.completion.chunk", "choices": [], "usage": usage})
            event("[DONE]")
            h.wfile.write(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            h.close_connection = True

    def turns(self):
        """The requests that carry tools or no summary prompt: those made to answer a user."""
        with self.lock:
            return list(self.requests)

    def __enter__(self):
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()
