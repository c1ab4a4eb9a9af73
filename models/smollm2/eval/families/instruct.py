"""Short instructions of many kinds, as people give them. Where many replies are right, there is no answer."""

from .spread import spread

NOTE = "The meeting of the garden club takes place on 14 March at half past seven in the village hall. Martha Hill will talk about roses. Tickets cost four pounds and can be bought at the door."
ORDER = "Customer: Peter Lund. Ordered: three desk lamps and one office chair. Delivery: Friday, to 12 Station Road. Total: 248 euros."
STORM = "A heavy storm crossed the coast on Tuesday night. In the harbour two fishing boats sank, and the ferry could not sail until noon. Nobody was hurt, but more than a thousand homes were without power for several hours."
TEXT = "Penguins are birds that cannot fly. Their wings have become flippers, which make them excellent swimmers. Most of them live in the southern half of the world, where they feed on fish, krill and squid."

# The kind, the instruction, and an expression that a right reply has, or None.
CASES = [
    ("list", "List three fruits that are red.", r"(?i)apple|cherr|strawberr|raspberr|tomato|watermelon|pomegranate|cranberr"),
    ("list", "List three planets of the solar system, separated by commas.", r"(?i)mercury|venus|earth|mars|jupiter|saturn"),
    ("list", "Name three things one needs for painting a wall.", r"(?i)paint|brush|roller"),
    ("list", "List four primary school subjects.", None),
    ("list", "Name five animals that live on a farm.", r"(?i)\bcows?\b|pig|hen|chicken|sheep|horse"),
    ("list", "Give three reasons for going by train instead of by car.", None),
    ("list", "Name the four seasons in order, starting with spring.", r"(?is)spring.*summer.*(autumn|fall).*winter"),
    ("list", "List the days of the weekend.", r"(?is)saturday.*sunday"),
    ("translate", "Translate the word 'house' into Spanish. Answer with one word.", r"(?i)\bcasa\b"),
    ("translate", "Translate the word 'water' into French. Answer with one word.", r"(?i)\beau\b"),
    ("translate", "Translate 'good morning' into German.", r"(?i)guten morgen"),
    ("translate", "What is the Spanish word for 'dog'?", r"(?i)\bperro"),
    ("translate", "Translate into English: 'Bonjour, je m'appelle Marie.'", r"(?i)my name is|i'm marie|i am marie"),
    ("translate", "How do you say 'thank you' in Italian?", r"(?i)grazie"),
    ("rewrite", "Rewrite in the past tense: 'She walks to the market and buys bread.'", r"(?i)walked to the market and bought"),
    ("rewrite", "Rewrite in the past tense: 'We sing and they dance.'", r"(?i)sang.*danced"),
    ("rewrite", "Rewrite in the plural: 'The child eats an apple.'", r"(?i)children eat"),
    ("rewrite", "Write this sentence in capital letters: 'the train is late'", r"THE TRAIN IS LATE"),
    ("rewrite", "Make this sentence negative: 'The shop is open.'", r"(?i)is not open|isn't open|is closed|not open"),
    ("rewrite", "Turn this statement into a question: 'The bus leaves at noon.'", r"(?i)(does|when|what time|is|will).*\?"),
    ("rewrite", "Make this more polite: 'Give me the report now.'", r"(?i)please|could you|would you"),
    ("rewrite", "Correct the spelling: 'I recieved you're letter yesterday.'", r"(?i)received your letter"),
    ("rewrite", "Rewrite so that a child of six understands it: 'Precipitation is expected to diminish towards the evening.'", None),
    ("rewrite", "Join into one sentence: 'The dog barked. It saw a stranger.'", r"(?i)barked[^.]+stranger|stranger[^.]+barked"),
    ("odd", "Which word does not belong: apple, pear, hammer, plum?", r"(?i)hammer"),
    ("odd", "Pick the odd one out: dog, cat, horse, table.", r"(?i)(odd one|answer|is|:)\W+(\w+ ){0,3}\W*table|^\W*table"),
    ("odd", "Which one is not a colour: blue, green, seven, red? Answer with one word.", r"(?i)^\W*seven"),
    ("odd", "Which of these is not a musical instrument: piano, guitar, carpet, flute? Answer with one word.", r"(?i)^\W*carpet"),
    ("spell", "Spell the word 'garden' with a hyphen between the letters.", r"(?i)g-a-r-d-e-n"),
    ("spell", "Write the word 'light' backwards.", r"(?i)\bthgil\b"),
    ("spell", "How many letters has the word 'window'?", r"(?i)\b6\b|\bsix\b"),
    ("spell", "What is the first letter of the word 'mountain'?", r"(?i)['\"*\s]m['\"*.\s]|['\"*\s]m$|^m\b"),
    ("spell", "What is the plural of 'mouse'?", r"(?i)\bmice\b"),
    ("spell", "Give a word that rhymes with 'night'.", r"(?i)light|right|bright|sight|fight|kite|flight|tight|might|white|bite"),
    ("sort", "Sort these numbers from small to large: 42, 7, 19, 3.", r"\b3\b\D+\b7\b\D+\b19\b\D+\b42\b"),
    ("sort", "Sort these words by the alphabet: pear, apple, cherry, banana.", r"(?is)apple\W+(\d\W+)?banana\W+(\d\W+)?cherry\W+(\d\W+)?pear"),
    ("sort", "Sort from large to small: 15, 80, 33.", r"\b80\b\D+\b33\b\D+\b15\b"),
    ("sort", "Put these in the order in which they happen: lunch, breakfast, dinner.", r"(?is)breakfast\W+(\d\W+)?lunch\W+(\d\W+)?dinner"),
    ("yes-no", "Is a whale a fish? Answer with yes or no.", r"(?i)^\W*no\b"),
    ("yes-no", "Is ice colder than steam? Answer with yes or no.", r"(?i)^\W*yes\b"),
    ("yes-no", "Is 17 larger than 71? Answer with yes or no.", r"(?i)^\W*no\b"),
    ("yes-no", "Can penguins fly? Answer with yes or no.", r"(?i)^\W*no\b"),
    ("yes-no", "Is Paris the capital of France? Answer with yes or no.", r"(?i)^\W*yes\b"),
    ("yes-no", "Does the sun rise in the west? Answer with yes or no.", r"(?i)^\W*no\b"),
    ("summarise", f"Summarise in one sentence: {STORM}", r"(?i)storm"),
    ("summarise", f"Summarise in at most ten words: {TEXT}", r"(?i)penguin"),
    ("summarise", f"Give this text a short title: {STORM}", None),
    ("summarise", f"What are the two most important things that this text says? {TEXT}", None),
    ("summarise", f"Explain to a child what this text says: {TEXT}", None),
    ("extract", f"On which date is the meeting? Answer as day and month only. {NOTE}", r"(?i)14(th)?( of)? march|march 14"),
    ("extract", f"Who gives the talk? Answer with the name only. {NOTE}", r"Martha Hill"),
    ("extract", f"What does a ticket cost? {NOTE}", r"(?i)four pounds|£ ?4|\b4 pounds"),
    ("extract", f"What is the name of the customer? {ORDER}", r"Peter Lund"),
    ("extract", f"To which address is it delivered? {ORDER}", r"12 Station Road"),
    ("extract", f"How many boats sank? {STORM}", r"(?i)\btwo\b|\b2\b"),
    ("extract", f"What do penguins eat? {TEXT}", r"(?i)krill"),
    ("json", f"Reply in JSON with the keys \"customer\" and \"total\". {ORDER}", r"\"customer\": ?\"Peter Lund\""),
    ("json", f"Reply in JSON with the keys \"speaker\" and \"place\". {NOTE}", r"\"speaker\": ?\"Martha Hill\""),
    ("json", f"Reply in JSON with the keys \"animal\" and \"food\", where \"food\" is a list. {TEXT}", r"\"food\": ?\["),
    ("json", "Reply in JSON: an object with the key \"colours\" whose value is a list of three colours.", r"\"colours\": ?\["),
    ("json", "Write a JSON object for a person called Ann who is 30 years old, with the keys \"name\" and \"age\".", r"\"age\": ?\"?30"),
    ("write", "Write one sentence about the sea.", r"(?i)\b(sea|ocean|waves?)\b"),
    ("write", "Write a short birthday greeting for a colleague.", r"(?i)birthday"),
    ("write", "Write a haiku about snow.", None),
    ("write", "Write a two-line poem about a lazy cat.", r"(?i)\bcat\b"),
    ("write", "Write a sentence with the words 'river' and 'lantern'.", r"(?is)river.*lantern|lantern.*river"),
    ("write", "Invent a name for a small café by the sea.", None),
    ("write", "Write the first two sentences of a story about a lost key.", r"(?i)key"),
    ("explain", "Explain in two sentences what a library is.", r"(?i)books?"),
    ("explain", "Explain in one sentence why we need vitamins.", None),
    ("explain", "What is the opposite of 'ancient'? Answer with one word.", r"(?i)modern|new|recent|young|contemporary"),
    ("explain", "Give a synonym of 'quick'.", r"(?i)fast|rapid|swift|speedy|hasty|prompt|brisk"),
    ("explain", "What does the saying 'the early bird catches the worm' mean?", r"(?i)early|first"),
    ("explain", "Which is heavier: a kilogram of feathers or two kilograms of iron?", r"(?i)(two kilograms of|2 ?kg of|2 kilograms of|the) iron"),
]


def cases() -> list[dict]:
    found = []
    for kind, prompt, answer in CASES:
        given = dict(answer=answer, match="regex") if answer else {}
        found.append(dict(prompt=prompt, **given, max_tokens=96, tags=["instruct", kind]))
    return spread(found, lambda case: (case["tags"][1],), seed=8)
