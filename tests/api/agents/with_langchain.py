"""One conversation with a tool through langchain-openai: a forced call, its stream, the result, a form."""

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from weather import MAX_TOKENS, QUESTION, TEMPERATURE, Weather, held, look_up, router

url, key, model = router()
asked = {"temperature": TEMPERATURE, "max_tokens": MAX_TOKENS, "max_retries": 0, "stream_usage": True}
chat = ChatOpenAI(base_url=url, api_key=key, model=model, **asked)
function = tool("look_up", args_schema=Weather)(look_up)
forced = chat.bind_tools([function], tool_choice="look_up", strict=True)
messages = [HumanMessage(QUESTION)]

message = forced.invoke(messages)
streamed = None
for chunk in forced.stream(messages):
    streamed = chunk if streamed is None else streamed + chunk
assert [call["args"] for call in streamed.tool_calls] == [call["args"] for call in message.tool_calls], "the stream has other calls"
assert streamed.usage_metadata["output_tokens"] == message.usage_metadata["output_tokens"] > 0

result = function.invoke(message.tool_calls[0])
assert isinstance(result, ToolMessage)
answer = chat.bind_tools([function], tool_choice="none").invoke([*messages, message, result]).content

form = chat.with_structured_output(Weather, method="json_schema").invoke(messages)
held("langchain-openai", answer, form)
