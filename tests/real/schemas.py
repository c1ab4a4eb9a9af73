"""Random JSON schemas over the keywords that answers can be held to, and the judgement of what came out."""

import json
import random
import string

import jsonschema

NAMES = ["id", "name", "size", "tags", "state", "größe", "two words", "a\"b", "$ref", "type"]
WORDS = ["low", "middle", "high", "", "naïve", "a \"quoted\" word", "back\\slash", "日本", "line\nend", "</s>"]
PATTERNS = ["^[a-z]{1,6}$", "^[A-Z]{2}-[0-9]{3}$", "^(red|green|blue)$", "^[0-9a-f]{8}$", "^x?y+z{0,3}$", "^[^\"\\\\]{2,5}$"]
DEPTH = 3
CHECKER = jsonschema.FormatChecker(["date", "uuid"])


class Writer:
    """Writes one schema; the same seed writes the same one."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.definitions = {}

    def schema(self, kinds=("object", "object", "object", "array", "any_of", "reference", "leaf")):
        written = getattr(self, self.random.choice(kinds))(DEPTH)
        return {**written, "$defs": self.definitions} if self.definitions else written

    def any(self, depth):
        kinds = ["leaf"] * 4 + (["object", "object", "array", "tuple", "any_of", "reference"] if depth > 0 else [])
        return getattr(self, self.random.choice(kinds))(depth - 1)

    def leaf(self, _depth):
        return self.random.choice([self.integer, self.text, self.pattern, self.format, self.choice, self.constant, self.plain])()

    def plain(self):
        return {"type": self.random.choice(["boolean", "null", ["boolean", "null"]])}

    def integer(self):
        low = self.random.randint(-1_000, 1_000)
        bounds = {"minimum": low, "maximum": low + self.random.choice([0, 1, 9, 12_345])}
        return {"type": "integer", **bounds}

    def text(self):
        least = self.random.randint(0, 4)
        return {"type": "string", "minLength": least, "maxLength": least + self.random.randint(0, 12)}

    def pattern(self):
        return {"type": "string", "pattern": self.random.choice(PATTERNS)}

    def format(self):
        return {"type": "string", "format": self.random.choice(["date", "uuid"])}

    def constant(self):
        return {"const": self.random.choice([self.word(), self.random.randint(-99, 99), True, None, [1, "a"], {"k": [None]}])}

    def choice(self):
        values = [self.word(), self.random.randint(0, 9), False, None, "".join(self.random.sample(string.ascii_letters, 4))]
        return {"enum": self.random.sample(values, self.random.randint(1, len(values)))}

    def word(self):
        return self.random.choice(WORDS)

    def array(self, depth):
        least = self.random.randint(0, 2)
        return {"type": "array", "items": self.any(depth), "minItems": least, "maxItems": least + self.random.randint(0, 2)}

    def tuple(self, depth):
        first = [self.any(depth) for _ in range(self.random.randint(1, 3))]
        rest = self.random.choice([{"items": False}, {"items": self.any(0), "maxItems": len(first) + 1}])
        return {"type": "array", "prefixItems": first, "minItems": self.random.randint(0, len(first)), **rest}

    def any_of(self, depth):
        return {"anyOf": [self.any(depth) for _ in range(self.random.randint(2, 3))]}

    def object(self, depth):
        names = self.random.sample(NAMES, self.random.randint(1, 4))
        required = [name for name in names if self.random.random() < 0.6]
        # Further properties are rare: an answer may have any number of them, and be cut off.
        others = self.any(0) if self.random.random() < 0.1 else False
        return {
            "type": "object", "properties": {name: self.any(depth) for name in names}, "required": required,
            "additionalProperties": others,
        }

    def reference(self, depth):
        name = f"d{len(self.definitions)}"
        self.definitions[name] = {}
        again = {"$ref": f"#/$defs/{name}"}
        self.definitions[name] = self.random.choice([
            lambda: self.any(depth),
            lambda: self.linked({"anyOf": [again, {"type": "null"}]}, depth),
            lambda: self.linked({"type": "array", "items": again, "maxItems": 2}, depth),
        ])()
        return again

    def linked(self, link, depth):
        return {
            "type": "object", "properties": {"value": self.any(min(depth, 0)), "next": link}, "required": ["value", "next"],
            "additionalProperties": False,
        }


def schema(seed):
    """A schema of any kind."""
    return Writer(seed).schema()


def parameters(seed):
    """A schema of a tool's parameters: an object."""
    return Writer(seed).schema(["object"])


def problem(text, described):
    """What is wrong with an answer that ended by itself; `None` if nothing is."""
    try:
        jsonschema.Draft202012Validator(described, format_checker=CHECKER).validate(json.loads(text))
    except (ValueError, jsonschema.ValidationError) as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return None
