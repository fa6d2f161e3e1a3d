"""VCR.py with httpx, as the tools in src/main.rs are called: vcrpy_tool.py TASK FOLDER RECORDINGS URL QUESTIONS."""

import json
import pathlib
import statistics
import sys
import time

import httpx
import vcr
from vcr.request import Request
from vcr.serialize import serialize
from vcr.serializers import yamlserializer

ROUNDS, PATIENCE, ASKED = 1000, 10.0, 20


def main() -> None:
    task, folder, count, url, questions = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]
    folder.mkdir(parents=True, exist_ok=True)
    cassette = str(folder / "cassette.yaml")

    def question(number):
        read = json.loads((pathlib.Path(questions) / f"{number}.json").read_text())
        return url + read["path"], read["body"]

    def ask(client, number):
        address, body = question(number)
        return send(client, address, body)

    def send(client, address, body):
        response = client.post(address, content=body, headers={"content-type": "application/json"})
        assert response.status_code == 200 and len(response.content) > 1000
        return response

    # The whole request counts, as it does in the other tools.
    recorder = vcr.VCR(
        match_on=["method", "scheme", "host", "port", "path", "query", "body"],
        record_mode="new_episodes" if task == "record" else "none",
    )
    if task == "fill":
        # What recording writes, without asking the cassette for each request whether it is known.
        kept = {"requests": [], "responses": []}
        with httpx.Client(verify=False) as client:
            for number in range(count):
                address, body = question(number)
                response = send(client, address, body)
                kept["requests"].append(Request("POST", address, body.encode(), {"content-type": "application/json"}))
                headers = {"content-type": [response.headers["content-type"]]}
                kept["responses"].append({"status": {"code": 200, "message": "OK"}, "headers": headers, "body": {"string": response.content}})
        pathlib.Path(cassette).write_text(serialize(kept, yamlserializer))
        return
    with recorder.use_cassette(cassette, allow_playback_repeats=True), httpx.Client(verify=False) as client:
        if task == "record":
            for number in range(count):
                ask(client, number)
            return
        if task in ("first", "five"):
            for at in range(5 if task == "five" else 1):
                ask(client, count * 7 // 10 + at)
        else:
            asked = [question(at * 7919 % count) for at in range(ASKED)]
            send(client, *asked[0])
            times, start = [], time.perf_counter()
            for number in range(ROUNDS):
                before = time.perf_counter()
                send(client, *asked[number % ASKED])
                times.append(time.perf_counter() - before)
                if time.perf_counter() - start > PATIENCE:
                    break
            print(statistics.median(times) * 1e6)
    status = pathlib.Path("/proc/self/status").read_text()
    print(int(status.split("VmHWM:")[1].split()[0]) / 1024)


main()
