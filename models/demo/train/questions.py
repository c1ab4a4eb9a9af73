"""Questions about one picture or several, each with its one right answer.

Every function takes scenes as `world.random_scenes` makes them and returns (kind, question, answer, where), or None
where the picture has no such unambiguous question. `where` is for the trainer: the (picture, cell) pairs to look at, a
list with one set for each object that the answer lists, or one set for the whole answer. It is empty where there is
nothing to see, and for counting, which needs how much there is and not only where.
"""

from world import COLOURS, PLACES, SHAPES, SIZES, phrase

UNKNOWN = "I do not know."
PLURAL = {s: "crosses" if s == "cross" else s + "s" for s in SHAPES}


def article(noun):
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def pick(rng, items):
    return items[int(rng.integers(len(items)))]


def objects(scene):
    """Occupied cells in reading order: (place, shape, colour, size)."""
    return [(p, *(int(v) for v in scene[p])) for p in range(9) if scene[p, 0] >= 0]


def cells(found, picture=0):
    """`where` of an answer about these objects of one picture."""
    return [{(picture, o[0]) for o in found}] if found else []


def listing(scene):
    """"A small red circle and a large blue square." in reading order."""
    parts = ["a " + phrase(scene[o[0]]) for o in objects(scene)]
    text = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
    return text[0].upper() + text[1:] + "."


def alone(found, test):
    hits = [o for o in found if test(o)]
    return hits[0] if len(hits) == 1 else None


def noun_for(rng, found, o, hide):
    """A noun that names object o and no other, and does not give away attribute `hide`."""
    place, shape, colour, size = o
    options = [
        (f"{COLOURS[colour]} {SHAPES[shape]}", {"colour", "shape"}, lambda q: q[1:3] == (shape, colour)),
        (SHAPES[shape], {"shape"}, lambda q: q[1] == shape),
        (f"{COLOURS[colour]} object", {"colour"}, lambda q: q[2] == colour),
        (f"{SIZES[size]} {SHAPES[shape]}", {"size", "shape"}, lambda q: q[1] == shape and q[3] == size),
        (f"object in the {PLACES[place]}", {"place"}, lambda q: True),
    ]
    good = [n for n, tells, test in options if hide not in tells and (n[:6] == "object" or alone(found, test))]
    return pick(rng, good) if good else None


# === one picture ===


def colour(rng, scene):
    found = objects(scene)
    o = pick(rng, found)
    noun = noun_for(rng, found, o, "colour")
    ask = pick(rng, ["What colour is the {}?", "Which colour does the {} have?", "Tell me the colour of the {}."])
    return "colour", ask.format(noun), COLOURS[o[2]].capitalize() + ".", cells([o])


def shape(rng, scene):
    found = objects(scene)
    o = pick(rng, found)
    noun = noun_for(rng, found, o, "shape")
    ask = pick(rng, ["What shape is the {}?", "Which shape does the {} have?", "Tell me the shape of the {}."])
    return "shape", ask.format(noun), SHAPES[o[1]].capitalize() + ".", cells([o])


def size(rng, scene):
    found = objects(scene)
    o = pick(rng, found)
    noun = noun_for(rng, found, o, "size")
    ask = pick(rng, ["What size is the {}?", "Is the {} small or large?", "Tell me the size of the {}."])
    return "size", ask.format(noun), SIZES[o[3]].capitalize() + ".", cells([o])


def place(rng, scene):
    found = objects(scene)
    o = pick(rng, found)
    noun = noun_for(rng, found, o, "place")
    if noun is None:
        return None
    ask = pick(rng, ["Where is the {}?", "In which place is the {}?", "Find the {}."])
    return "place", ask.format(noun), f"In the {PLACES[o[0]]}.", cells([o])


def count(rng, scene):
    found = objects(scene)
    ask = pick(rng, ["How many objects are there?", "How many objects are in the picture?", "Count the objects."])
    return "count", ask, f"{len(found)}.", []


def count_some(rng, scene):
    """Counting by colour or by shape; now and then there are none."""
    found = objects(scene)
    by_colour = rng.random() < 0.5
    o = pick(rng, found)
    value = int(rng.integers(8 if by_colour else 6)) if rng.random() < 0.25 else o[2] if by_colour else o[1]
    hits = [q for q in found if (q[2] if by_colour else q[1]) == value]
    noun = f"{COLOURS[value]} objects" if by_colour else PLURAL[SHAPES[value]]
    ask = pick(rng, ["How many {} are there?", "How many {} are in the picture?", "Count the {}."])
    return "count_colour" if by_colour else "count_shape", ask.format(noun), f"{len(hits)}.", []


def descriptor(rng, o):
    """("red circle", test) and the like for an object o, or for its likeness."""
    _, s, c, _ = o
    return pick(
        rng,
        [
            (f"{COLOURS[c]} {SHAPES[s]}", lambda q: q[1] == s and q[2] == c),
            (f"{COLOURS[c]} object", lambda q: q[2] == c),
            (SHAPES[s], lambda q: q[1] == s),
        ],
    )


def near_miss(rng, o):
    """An object like o with another shape or colour: the hard negative."""
    p, s, c, z = o
    return (p, int(rng.integers(6)), c, z) if rng.random() < 0.5 else (p, s, int(rng.integers(8)), z)


def exists(rng, scene):
    found = objects(scene)
    o = pick(rng, found)
    noun, test = descriptor(rng, o if rng.random() < 0.45 else near_miss(rng, o))
    ask = pick(rng, ["Is there {}?", "Does the picture have {}?", "Can you see {}?"])
    hits = [q for q in found if test(q)]
    return "exists", ask.format(article(noun)), "Yes." if hits else "No.", cells(hits)


def at(rng, scene):
    p = pick(rng, objects(scene))[0] if rng.random() < 0.7 else int(rng.integers(9))
    ask = pick(rng, ["What is in the {}?", "Which object is in the {}?", "What do you see in the {}?"])
    answer = f"A {phrase(scene[p])}." if scene[p, 0] >= 0 else "Nothing."
    return "at", ask.format(PLACES[p]), answer, [{(0, p)}]


def describe(rng, scene):
    ask = pick(rng, ["Describe the picture.", "What is in the picture?", "What do you see?"])
    return "describe", ask, listing(scene), [{(0, o[0])} for o in objects(scene)]


def absent(rng, scene):
    """Questions about an object that is not there."""
    found = objects(scene)
    noun, test = descriptor(rng, near_miss(rng, pick(rng, found)))
    if any(test(q) for q in found):
        return None
    asks = ["Where is the {}?", "What size is the {}?", "Find the {}."]
    if noun in SHAPES:
        asks.append("What colour is the {}?")
    if noun.endswith("object"):
        asks.append("What shape is the {}?")
    return "absent", pick(rng, asks).format(noun), UNKNOWN, []


SINGLE = {
    "colour": colour, "shape": shape, "size": size, "place": place, "count": count, "count_some": count_some,
    "exists": exists, "at": at, "describe": describe, "absent": absent,
}

# === several pictures ===


def which(rng, scenes):
    found = [objects(s) for s in scenes]
    noun, test = descriptor(rng, pick(rng, pick(rng, found)))
    hits = [i for i, f in enumerate(found) if any(test(q) for q in f)]
    if len(hits) != 1:
        return None
    ask = pick(rng, ["Which picture has {}?", "Which picture shows {}?", "In which picture is {}?"])
    return "which", ask.format(article(noun)), f"Picture {hits[0] + 1}.", cells([q for q in found[hits[0]] if test(q)], hits[0])


def what_in(rng, scenes):
    i = int(rng.integers(len(scenes)))
    ask = pick(rng, ["What is in picture {}?", "Describe picture {}.", "What do you see in picture {}?"])
    return "what_in", ask.format(i + 1), listing(scenes[i]), [{(i, o[0])} for o in objects(scenes[i])]


def count_in(rng, scenes):
    i = int(rng.integers(len(scenes)))
    ask = pick(rng, ["How many objects are in picture {}?", "Count the objects in picture {}."])
    return "count_in", ask.format(i + 1), f"{len(objects(scenes[i]))}.", []


def count_with(rng, scenes):
    found = [objects(s) for s in scenes]
    noun, test = descriptor(rng, pick(rng, pick(rng, found)))
    n = sum(any(test(q) for q in f) for f in found)
    ask = pick(rng, ["How many pictures have {}?", "How many pictures show {}?"])
    return "count_with", ask.format(article(noun)), f"{n}.", []


def attribute_in(rng, scenes):
    i = int(rng.integers(len(scenes)))
    found = objects(scenes[i])
    o = pick(rng, found)
    if rng.random() < 0.5 and alone(found, lambda q: q[1] == o[1]):
        return "attribute_in", f"What colour is the {SHAPES[o[1]]} in picture {i + 1}?", COLOURS[o[2]].capitalize() + ".", cells([o], i)
    if alone(found, lambda q: q[2] == o[2]):
        noun = f"{COLOURS[o[2]]} object"
        return "attribute_in", f"What shape is the {noun} in picture {i + 1}?", SHAPES[o[1]].capitalize() + ".", cells([o], i)
    return None


def pictures(rng, scenes):
    ask = pick(rng, ["How many pictures are there?", "How many pictures do you see?"])
    return "pictures", ask, f"{len(scenes)}.", []


def beyond(rng, scenes):
    if len(scenes) > 7:
        return None
    i = int(rng.integers(len(scenes) + 1, 9))
    ask = pick(rng, ["What is in picture {}?", "How many objects are in picture {}?", "Describe picture {}."])
    return "beyond", ask.format(i), UNKNOWN, []


def differs(rng, scenes):
    """Every picture shows one object; all but one are of the same shape and colour.

    `Pool.odd_one_out` and the suite make such pictures; the lone one always has another colour.
    """
    kinds = [objects(s)[0][1:3] if len(objects(s)) == 1 else None for s in scenes]
    if None in kinds or len(scenes) < 3:
        return None
    lone = [i for i, k in enumerate(kinds) if kinds.count(k) == 1]
    if len(lone) != 1 or len(set(kinds)) != 2:
        return None
    ask = pick(rng, ["Which picture differs from the others?", "Which picture is different?"])
    return "differs", ask, f"Picture {lone[0] + 1}.", []


MULTI = {
    "which": which, "what_in": what_in, "count_in": count_in, "count_with": count_with,
    "attribute_in": attribute_in, "pictures": pictures, "beyond": beyond, "differs": differs,
}


def ask_some(rng, table, subject, count, weights):
    """`count` questions about `subject`, kinds drawn by `weights` (kind -> weight); no question twice."""
    names = list(table)
    p = [weights.get(n, 1.0) for n in names]
    total = sum(p)
    p = [v / total for v in p]
    out, seen = [], set()
    for i in rng.choice(len(names), size=count * 3, p=p):
        q = table[names[i]](rng, subject)
        if q and q[1] not in seen:
            seen.add(q[1])
            out.append(q)
            if len(out) == count:
                break
    return out
