"""One conversation with a tool through instructor: its mode of tools forces a call, its mode of schemas a form."""

import instructor
import openai
from pydantic import BaseModel, Field

from weather import MAX_TOKENS, QUESTION, TEMPERATURE, TOOL, Weather, held, look_up, router


class LookUp(Weather):
    """The weather of a city over the next days."""


class Answer(BaseModel):
    """What the result says."""

    model_config = {"extra": "forbid"}
    rain: bool = Field(description="Whether it rains")


url, key, model = router()
plain = openai.OpenAI(base_url=url, api_key=key, max_retries=0)
asked = {"model": model, "temperature": TEMPERATURE, "max_tokens": MAX_TOKENS, "max_retries": 0}
messages = [{"role": "user", "content": QUESTION}]

by_tools = instructor.from_openai(plain, mode=instructor.Mode.TOOLS)
call, raw = by_tools.chat.completions.create_with_completion(messages=messages, response_model=LookUp, **asked)
partials = list(by_tools.chat.completions.create_partial(messages=messages, response_model=LookUp, **asked))
assert len(partials) > 1 and Weather.model_validate(partials[-1].model_dump()), "the stream's call is not whole"

message = raw.choices[0].message
result = look_up(call.city, call.days)
messages += [message.model_dump(), {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": result}]
by_schema = instructor.from_openai(plain, mode=instructor.Mode.JSON_SCHEMA)
answer = by_schema.chat.completions.create(messages=messages, response_model=Answer, tools=[TOOL], **asked)
form = by_schema.chat.completions.create(messages=messages[:1], response_model=Weather, **asked)
held("instructor", str(answer), form)
