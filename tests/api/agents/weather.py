"""What every library is given: a tool, a question that asks for it, and the router; and what has to come back.

Each script is called with the router's URL and a key, and holds one conversation with the tool: the model is made to call it,
the library runs it, and the model answers from the result. Then the library asks for an answer of a given form.
"""

import sys
from importlib.metadata import version
from typing import Literal

import httpx
from pydantic import BaseModel, Field

QUESTION = "What will the weather in Oslo be like over the next 3 days?"
RESULT = "Rain on all days."
NAMED = {"type": "function", "function": {"name": "look_up"}}
TEMPERATURE = 0
MAX_TOKENS = 500


class Weather(BaseModel):
    """A city and a number of days."""

    model_config = {"extra": "forbid"}

    city: Literal["Oslo", "Rome"] = Field(description="The city")
    days: int = Field(description="How many days", ge=1, le=9)


TOOL = {"type": "function", "function": {
    "name": "look_up", "description": "The weather of a city over the next days", "parameters": Weather.model_json_schema()}}
calls = []


def look_up(city: str, days: int) -> str:
    """The weather of a city over the next days."""
    calls.append(Weather.model_validate({"city": city, "days": days}, strict=True))
    return RESULT


def router():
    """The URL and the key that the script was called with, and the model that is served there."""
    url, key = sys.argv[1], sys.argv[2]
    listed = httpx.get(f"{url}/models", headers={"authorization": f"Bearer {key}"}, timeout=30)
    return url, key, listed.json()["data"][0]["id"]


def held(package, answer, form):
    """The tool was called once, with arguments that its schema allows; then came an answer, and one of the form."""
    assert len(calls) == 1, calls
    assert isinstance(answer, str) and answer.strip(), "no answer after the result"
    assert isinstance(form, Weather), form
    print(f"ok      {package} {version(package)}: look_up({calls[0]}), {answer.strip()[:40]!r}, {form}", flush=True)
