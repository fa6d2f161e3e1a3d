"""Mistral models on Amazon Bedrock, through the AWS SDK. Prints a line of JSON for each call: what came back."""

import json

import boto3

MODEL = "mistral.mistral-large-2402-v1:0"


def main():
    client = boto3.client("bedrock-runtime", region_name="us-east-1")
    messages = [{"role": "user", "content": [{"text": "Where does the mistral blow?"}]}]
    body = json.dumps({"prompt": "<s>[INST] Where does the mistral blow? [/INST]", "max_tokens": 20})

    answer = client.invoke_model(modelId=MODEL, body=body)
    yield "invoke", json.load(answer["body"])

    answer = client.invoke_model_with_response_stream(modelId=MODEL, body=body)
    yield "invoke_stream", [json.loads(event["chunk"]["bytes"]) for event in answer["body"]]

    answer = client.converse(modelId=MODEL, messages=messages)
    yield "converse", [answer["output"], answer["usage"]]

    answer = client.converse_stream(modelId=MODEL, messages=messages)
    yield "converse_stream", list(answer["stream"])


for call, answer in main():
    print(json.dumps({"operation": call, "answer": answer}, ensure_ascii=False), flush=True)
