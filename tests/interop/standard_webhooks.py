"""Holds Ringback against the Standard Webhooks library for Python.

  standard_webhooks.py send URL SECRET BODY-FILE   posts an event signed by the library, then what must
                                                   be refused; prints a line each: the case, the status
  standard_webhooks.py receive SECRET              listens; prints its port, then a line each request:
                                                   whether the library verifies it
"""

import datetime
import http.server
import sys
import urllib.error
import urllib.request

from standardwebhooks.webhooks import Webhook, WebhookVerificationError


def post(url, headers, body):
    request = urllib.request.Request(url, data=body, headers=headers, method="POST")
    try:
        with urllib.request.urlopen(request) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code


def send(url, secret, path):
    with open(path, "rb") as file:
        body = file.read()

    def signed(message_id, age=0, key=secret):
        at = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=age)
        return {
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": Webhook(key).sign(message_id, at, body.decode()),
        }

    def without(name):
        headers = signed("msg_missing")
        del headers[name]
        return headers

    forged = "whsec_" + "A" * 43 + "="
    cases = [
        ("good", signed("msg_good"), body),
        ("repeated", signed("msg_good"), body),
        ("nearly stale", signed("msg_nearly_stale", age=290), body),
        ("stale", signed("msg_stale", age=301), body),
        ("from the future", signed("msg_future", age=-310), body),
        ("forged", signed("msg_forged", key=forged), body),
        ("altered", signed("msg_altered"), body.replace(b"a", b"b", 1)),
        ("another id", {**signed("msg_one"), "webhook-id": "msg_other"}, body),
        ("no signature", without("webhook-signature"), body),
        ("no timestamp", without("webhook-timestamp"), body),
        ("no id", without("webhook-id"), body),
    ]
    for name, headers, data in cases:
        print(f"{name}: {post(url, headers, data)}", flush=True)


def receive(secret):
    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            try:
                Webhook(secret).verify(body, headers)
                verdict = "verified"
            except WebhookVerificationError as error:
                verdict = f"refused: {error}"
            print(f"{headers['webhook-id']} {verdict}", flush=True)
            self.send_response(204)
            self.end_headers()

        do_PUT = do_POST

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Receiver)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    {"send": send, "receive": receive}[sys.argv[1]](*sys.argv[2:])
