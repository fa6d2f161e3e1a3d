"""A program whose requests use values of earlier responses: files and signed URLs, batch jobs, agents and conversations,
libraries, tool calls. It fails if a step does not succeed.
"""

import os

from mistralai.client import Mistral
from mistralai.client.models import File

client = Mistral(api_key=os.environ.get("MISTRAL_API_KEY", "unused"), server_url=os.environ["MISTRAL_SERVER_URL"])


def upload(content: bytes) -> str:
    return client.files.upload(file=File(file_name="a.txt", content=content), purpose="ocr").id


def wait(state, member: str, end: str):
    for _ in range(20):
        current = state()
        if getattr(current, member) == end:
            return current
    raise SystemExit("the job does not end")


# file -> URL -> OCR
file = upload(b"a document")
url = client.files.get_signed_url(file_id=file).url
page = client.ocr.process(model="ocr", document={"type": "document_url", "document_url": url}).pages[0]
assert page.markdown == "# A page"

# file -> batch job -> output file -> content
job = client.batch.jobs.create(input_files=[file], endpoint="/v1/chat/completions", model="m")
job = wait(lambda: client.batch.jobs.get(job_id=job.id), "status", "SUCCESS")
assert client.files.download(file_id=job.output_file).read()

# upload -> list -> delete
assert file in [listed.id for listed in client.files.list().data]
client.files.delete(file_id=file)
assert file not in [listed.id for listed in client.files.list().data]

# agent -> conversation -> append -> restart
agent = client.beta.agents.create(model="m", name="ours")
started = client.beta.conversations.start(agent_id=agent.id, inputs="hello")
more = client.beta.conversations.append(conversation_id=started.conversation_id, inputs="more")
again = client.beta.conversations.restart(
    conversation_id=started.conversation_id, inputs="again", from_entry_id=more.outputs[0].id
)
assert client.beta.conversations.get_history(conversation_id=again.conversation_id).entries

# library -> document -> status -> delete
library = client.beta.libraries.create(name="ours")
document = client.beta.libraries.documents.upload(
    library_id=library.id, file=File(file_name="a.txt", content=b"a text")
)
wait(
    lambda: client.beta.libraries.documents.status(library_id=library.id, document_id=document.id),
    "process_status",
    "done",
)
client.beta.libraries.documents.delete(library_id=library.id, document_id=document.id)
client.beta.libraries.delete(library_id=library.id)

# tool call -> result -> words of the assistant -> next turn
tools = [{"type": "function", "function": {"name": "look", "parameters": {}}}]
messages = [{"role": "user", "content": "What is it?"}]
for _ in range(3):
    message = client.chat.complete(model="m", messages=messages, tools=tools).choices[0].message
    messages.append(message)
    if message.tool_calls:
        messages.append({"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "it"})
    else:
        messages.append({"role": "user", "content": "And now?"})
print("done")
