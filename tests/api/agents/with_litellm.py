"""One conversation with a tool through litellm: a forced call, its stream, the result, a form."""

import json
import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm

from weather import MAX_TOKENS, NAMED, QUESTION, TEMPERATURE, TOOL, Weather, held, look_up, router

url, key, model = router()
litellm.suppress_debug_info = True
asked = {"model": f"openai/{model}", "api_base": url, "api_key": key, "temperature": TEMPERATURE, "max_tokens": MAX_TOKENS}
messages = [{"role": "user", "content": QUESTION}]

message = litellm.completion(messages=messages, tools=[TOOL], tool_choice=NAMED, **asked).choices[0].message
call = message.tool_calls[0]
chunks = list(litellm.completion(messages=messages, tools=[TOOL], tool_choice=NAMED, stream=True, **asked))
rebuilt = litellm.stream_chunk_builder(chunks, messages=messages).choices[0].message.tool_calls[0]
assert rebuilt.function.arguments == call.function.arguments, "the stream has another call"

result = look_up(**json.loads(call.function.arguments))
messages += [message.model_dump(exclude_none=True), {"role": "tool", "tool_call_id": call.id, "content": result}]
answer = litellm.completion(messages=messages, tools=[TOOL], tool_choice="none", **asked).choices[0].message.content

form = litellm.completion(messages=messages[:1], response_format=Weather, **asked).choices[0].message.content
held("litellm", answer, Weather.model_validate_json(form))
