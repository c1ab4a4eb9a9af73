"""One conversation with a tool through `llm`, which runs the tool itself: a model of its file extra-openai-models.yaml.

`llm` never forces a call, and the demo decides on none by itself, so the first turn of its own model class asks for one.
"""

import json
import os
import tempfile
from pathlib import Path

folder = Path(tempfile.mkdtemp())
os.environ["LLM_USER_PATH"] = str(folder)

import llm
from llm.default_plugins.openai_models import Chat

from weather import MAX_TOKENS, NAMED, QUESTION, RESULT, TEMPERATURE, Weather, held, look_up, router

url, key, served = router()
entry = {
    "model_id": "here", "model_name": served, "api_base": url, "supports_tools": True, "supports_schema": True,
    "headers": {"Authorization": f"Bearer {key}"},
}
# JSON is YAML.
(folder / "extra-openai-models.yaml").write_text(json.dumps([entry]))
asked = {"temperature": TEMPERATURE, "max_tokens": MAX_TOKENS}
model = llm.get_model("here")
assert isinstance(model, Chat)


class Forced(Chat):
    needs_key = None

    def build_kwargs(self, prompt, stream):
        first = {} if prompt.tool_results else {"tool_choice": NAMED}
        return {**super().build_kwargs(prompt, stream), **first}


forced = Forced("here", model_name=served, api_base=url, supports_tools=True, headers=entry["headers"])
tool = llm.Tool(name="look_up", description="The weather of a city", input_schema=Weather.model_json_schema(), implementation=look_up)
responses = list(forced.conversation().chain(QUESTION, tools=[tool], options=asked).responses())
answer = responses[-1].text()
results = [result.output for response in responses for result in response.prompt.tool_results]
assert results == [RESULT], results

free = model.prompt(QUESTION, tools=[tool], stream=False, **asked)
assert free.text() is not None and free.usage().output > 0
form = Weather.model_validate_json(model.prompt(QUESTION, schema=Weather, **asked).text())
held("llm", answer, form)
