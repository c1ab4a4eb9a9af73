"""Facts in text, small talk, and what the model was not taught.

A text case is a list of notes with filler sentences between them and questions about the notes. Keys and values come
from pools of common words, so that nothing can be answered without finding the note.
"""

import string

from questions import UNKNOWN, pick

KEYS = """harbour library garden castle bridge tower market museum station bakery school hospital temple farm mill
cellar attic kitchen office theatre stable chapel palace prison village island valley forest mountain lake river cave
boat train wagon clock piano mirror lamp carpet chest cabinet safe vault gate fountain well barn tavern hotel shop
bank court factory mine quarry camp fort lighthouse windmill greenhouse workshop studio cottage mansion""".split()

VALUES = """lantern apple silver thunder candle marble falcon cotton pepper velvet copper ginger meadow walnut anchor
feather honey cactus dragon ember fossil guitar hammer iron jasmine kettle lemon magnet needle olive pearl quartz
ribbon saddle tulip umbrella violin whistle yarn zebra acorn basket cherry daisy engine flute grape helmet ivory
jacket kite ladder mango nutmeg onion pillow rocket sugar ticket button""".split()

NAMES = """Anna Boris Clara David Elena Felix Greta Hugo Irene Jonas Karla Liam Maria Nora Oscar Paula Quentin Rosa
Simon Tessa Ulrich Vera Walter Xenia Yusuf Zoe""".split()

RELATIONS = {"password": VALUES, "symbol": VALUES, "owner": NAMES}

_NOUNS = """morning road sky wind rain snow grass field wall door window street table chair bread soup tea coat hat
dog cat horse bird cloud sun moon path stone tree leaf flower""".split()
_ADJECTIVES = """quiet dry cold warm bright dark soft heavy empty clean old new tall narrow wet gentle slow grey
pleasant ordinary""".split()
_PEOPLE = "children farmers travellers neighbours visitors workers students sailors".split()
_VERBS = "walked waited talked rested worked sang slept laughed stood played".split()
_ADVERBS = "slowly quietly happily together early late again often".split()
_PREPOSITIONS = "near behind beside under past along".split()


def filler(rng):
    """One sentence that answers nothing."""
    n, a = lambda: pick(rng, _NOUNS), lambda: pick(rng, _ADJECTIVES)
    kind = int(rng.integers(5))
    if kind == 0:
        return f"The {n()} was {a()} and the {n()} was {a()}."
    if kind == 1:
        return f"The {pick(rng, _PEOPLE)} {pick(rng, _VERBS)} {pick(rng, _ADVERBS)} {pick(rng, _PREPOSITIONS)} the {n()}."
    if kind == 2:
        return f"There was a {a()} {n()} {pick(rng, _PREPOSITIONS)} the {a()} {n()}."
    if kind == 3:
        return f"Some {pick(rng, _PEOPLE)} {pick(rng, _VERBS)} while the {n()} was {a()}."
    return f"It was a {a()} day with a {a()} {n()}."


def note(relation, key, value):
    return f"Note: the {relation} of the {key} is {value}."


def ask_note(rng, relation, key):
    who = "Who" if relation == "owner" else "What"
    return pick(rng, [f"{who} is the {relation} of the {key}?", f"Tell me the {relation} of the {key}."])


def facts(rng, count, relations=None):
    """`count` different (relation, key, value); a key may come back under another relation."""
    relations = relations or list(RELATIONS)
    pairs = [(r, k) for r in relations for k in KEYS]
    chosen = rng.permutation(len(pairs))[:count]
    return [(*pairs[i], pick(rng, RELATIONS[pairs[i][0]])) for i in chosen]


def absent_note(rng, known):
    """A question in a note's form whose note is not there; half of them share a key or relation with one."""
    have = {(r, k) for r, k, _ in known}
    while True:
        r, k = pick(rng, list(RELATIONS)), pick(rng, KEYS)
        if known and rng.random() < 0.3:
            k = pick(rng, known)[1]
        if (r, k) not in have:
            return "unknown_note", ask_note(rng, r, k), UNKNOWN


# === small talk and the unknown ===

GREETINGS = ["Hello.", "Hello!", "Hi.", "Hi!", "Good morning.", "Hello there.", "Hello", "Hi"]
THANKS = ["Thank you.", "Thanks.", "Thank you!", "Thanks!", "Thank you very much."]
ABOUT = ["What can you do?", "Who are you?", "Help.", "What are you?", "How can you help me?"]
HELLO = "Hello! Ask me about a picture or a note."
WELCOME = "You are welcome."
ABLE = "I answer questions about pictures and notes."

_TOPICS = """France Japan Mars Rome London history music football chess physics politics love money time war peace
poetry bread cheese rice soup cars ships rockets planets atoms rivers mountains kings queens animals elephants whales
computers numbers history weather winter summer paintings languages stars gold law medicine mathematics philosophy
Africa Europe Peru Egypt Madrid Shakespeare Einstein Napoleon dinosaurs volcanoes insects tennis opera dance""".split()

_UNKNOWN = """What is the capital of {}?|Who wrote about {}?|How far is {}?|When did {} begin?|Why is {} important?
What is {} plus {}?|Which {} is the best?|Tell me a story about {}.|Translate {} into {}.|What do you think about {}?
How do I cook {}?|Where can I buy {}?|Who invented {}?|How old is {}?|What does {} mean?|Explain {} to me.
Is {} bigger than {}?|Who won the {} match yesterday?|How much does {} cost?|What time is it in {}?
Write a poem about {}.|What is the weather in {}?|Do you like {}?|Can you sing about {}?|How many {} live in {}?
Why do people study {}?|Where is {}?|Who is the president of {}?|What is the population of {}?|Give me advice on {}.
Sum up {} for me.|What happened to {} last year?|Is it true that {} is {}?|Say something about {}."""
UNKNOWN_FORMS = [t.strip() for t in _UNKNOWN.replace("\n", "|").split("|") if t.strip()]


def topic(rng):
    """A subject: a known word, a number, or letters never seen before (what a tokenizer meets in the wild)."""
    u = rng.random()
    if u < 0.5:
        return pick(rng, _TOPICS)
    if u < 0.6:
        return str(int(rng.integers(1, 1000)))
    if u < 0.7:
        return pick(rng, _NOUNS + VALUES + KEYS)
    letters = "".join(pick(rng, string.ascii_lowercase) for _ in range(int(rng.integers(3, 9))))
    return letters.capitalize() if rng.random() < 0.4 else letters


def unknown(rng):
    form = pick(rng, UNKNOWN_FORMS)
    return "unknown", form.format(*(topic(rng) for _ in range(form.count("{}")))), UNKNOWN


def small_talk(rng):
    return pick(
        rng,
        [
            ("greeting", pick(rng, GREETINGS), HELLO),
            ("thanks", pick(rng, THANKS), WELCOME),
            ("about", pick(rng, ABOUT), ABLE),
        ],
    )
