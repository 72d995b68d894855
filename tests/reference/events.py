"""Reads events with the CloudEvents SDK for Python and compares what it understood."""

import base64
import json
import sys

from cloudevents.core.bindings.http import HTTPMessage, from_http_event

verified = wrong = 0
for number, line in enumerate(open(sys.argv[1], encoding="utf-8")):
    case = json.loads(line)
    event = from_http_event(HTTPMessage(headers=case["headers"], body=base64.b64decode(case["body"])))
    attributes = {name: value for name, value in event.get_attributes().items() if value is not None}
    if "time" in attributes:
        attributes["time"] = attributes["time"].isoformat()
    data = event.get_data()
    data = data.decode() if isinstance(data, bytes) else data
    for what, is_, should in [("attributes", attributes, case["attributes"]), ("data", data, case["data"])]:
        if is_ == should:
            verified += 1
        else:
            wrong += 1
            print(f"line {number}, {what}: {is_} and not {should}")

print(f"{verified} verified, {wrong} not")
