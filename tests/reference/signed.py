"""Verifies signed requests with `standardwebhooks`, which takes bodies that are UTF-8."""

import base64
import json
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

OTHER = "whsec_" + base64.b64encode(b"another secret, 24 bytes").decode()
verified = wrong = 0


def check(what, holds):
    global verified, wrong
    if holds:
        verified += 1
    else:
        wrong += 1
        print("wrong:", what)


def accepts(secret, body, headers):
    try:
        Webhook(secret).verify(body, headers, json_parse=False)
        return True
    except WebhookVerificationError:
        return False


for number, line in enumerate(open(sys.argv[1], encoding="utf-8")):
    case = json.loads(line)
    if not case["text"]:
        continue
    body, headers = base64.b64decode(case["body"]), case["headers"]
    for secret in case["secrets"]:
        check(f"line {number}, signature", accepts(secret, body, headers))
        check(f"line {number}, changed body", not accepts(secret, body + b"x", headers))
        check(f"line {number}, changed id", not accepts(secret, body, {**headers, "webhook-id": "x"}))
    check(f"line {number}, another secret", not accepts(OTHER, body, headers))

print(f"{verified} verified, {wrong} not")
