"""One conversation with a tool through llama-index's client for servers like OpenAI's: a forced call, its stream, the result,
a form."""

from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike

from weather import MAX_TOKENS, QUESTION, TEMPERATURE, Weather, held, look_up, router

url, key, model = router()
llm = OpenAILike(
    model=model, api_base=url, api_key=key, is_chat_model=True, is_function_calling_model=True, context_window=4_096,
    temperature=TEMPERATURE, max_tokens=MAX_TOKENS, max_retries=0,
)
tool = FunctionTool.from_defaults(look_up, name="look_up", fn_schema=Weather)
question = ChatMessage(role="user", content=QUESTION)

said = llm.chat_with_tools([tool], chat_history=[question], tool_choice="look_up")
call = llm.get_tool_calls_from_response(said)[0]
streamed = list(llm.stream_chat_with_tools([tool], chat_history=[question], tool_choice="look_up"))[-1]
assert llm.get_tool_calls_from_response(streamed)[0].tool_kwargs == call.tool_kwargs, "the stream has another call"

result = tool(**call.tool_kwargs)
history = [question, said.message, ChatMessage(role="tool", content=result.content, additional_kwargs={"tool_call_id": call.tool_id})]
answer = llm.chat(history, tools=[tool.metadata.to_openai_tool()], tool_choice="none").message.content

form = llm.as_structured_llm(Weather).chat([question]).raw
held("llama-index-llms-openai-like", answer, form)
