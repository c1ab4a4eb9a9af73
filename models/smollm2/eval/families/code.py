"""Small Python functions: to write, to explain, and to run in one's head."""

from .spread import spread

# Name and arguments, what it does, and what no right solution lacks, if there is such a thing.
WRITE = [
    ("is_even(n)", "returns True if n is even and False otherwise", r"% ?2|& ?1"),
    ("factorial(n)", "returns the factorial of n", r"factorial\(|\*=?|prod"),
    ("reverse_string(s)", "returns the string s reversed", r"\[::-1\]|reversed|range|while|for"),
    ("count_vowels(s)", "returns how many vowels the string s has", r"aeiou|AEIOU|'a'|\"a\""),
    ("largest(numbers)", "returns the largest of a list of numbers without the built-in max", r"> |<"),
    ("is_prime(n)", "returns True if n is a prime number", r"% ?\w+ ?(==|!=|:|\))|all\("),
    ("fibonacci(n)", "returns a list of the first n Fibonacci numbers", r"append|\+"),
    ("celsius_to_fahrenheit(c)", "converts degrees Celsius to Fahrenheit", r"9 ?/ ?5|1\.8"),
    ("is_palindrome(s)", "returns True if s reads the same in both directions", r"\[::-1\]|reversed|while|for"),
    ("sum_of_squares(numbers)", "returns the sum of the squares of a list of numbers", r"\*\* ?2|\w+ ?\* ?\w+|pow"),
    ("remove_duplicates(items)", "returns the list without duplicates, in the same order", r"not in|dict\.fromkeys|set\("),
    ("word_count(text)", "returns a dictionary that maps each word of the text to how often it occurs", r"split\("),
    ("average(numbers)", "returns the mean of a list of numbers", r"/ ?len|mean|/ ?count"),
    ("clamp(value, low, high)", "returns the value limited to the range from low to high", r"min\(|if"),
    ("gcd(a, b)", "returns the greatest common divisor of a and b", r"%|gcd\("),
    ("flatten(lists)", "returns one flat list made of a list of lists", r"extend|for .* in .* for|\+=|append|chain|sum"),
    ("title_case(sentence)", "returns the sentence with every word starting with a capital letter", r"capitalize|title\(|upper"),
    ("count_lines(path)", "returns the number of lines of a text file", r"open\("),
    ("merge(a, b)", "merges two sorted lists into one sorted list", r"while|sorted|sort\("),
    ("binary_search(items, target)", "returns the index of target in a sorted list, or -1", r"// ?2|>> ?1|/ ?2"),
    ("leap_year(year)", "returns True if the year is a leap year", r"% ?400"),
    ("digits_sum(n)", "returns the sum of the decimal digits of n", r"str\(|% ?10"),
    ("second_largest(numbers)", "returns the second largest number of a list", r"sort|max|>"),
    ("caesar(text, shift)", "shifts every lower-case letter of the text by shift places", r"ord\(|index|alphabet"),
    ("anagrams(a, b)", "returns True if the two words are anagrams", r"sort|Counter|count"),
    ("read_json(path)", "reads a JSON file and returns its content", r"json\.load"),
    ("square_evens(numbers)", "returns the squares of the even numbers of a list, with a list comprehension", r"\[.* for .* in .* if "),
    ("invert(mapping)", "returns a dictionary with keys and values exchanged", r"items\("),
    ("longest_word(sentence)", "returns the longest word of a sentence", r"split\("),
    ("bubble_sort(items)", "sorts a list with bubble sort", r"range\("),
    ("chunks(items, size)", "returns the list cut into pieces of the given size", r"range\(|\[.*:.*\]"),
    ("transpose(matrix)", "returns the transpose of a matrix given as a list of rows", r"zip|range"),
    ("power(base, exponent)", "computes a power with a loop, without the operator **", r"\*=|\*"),
    ("safe_divide(a, b)", "returns a divided by b, or None if b is zero", r"ZeroDivisionError|== ?0|!= ?0|if"),
    ("to_binary(n)", "returns the binary digits of n as a string, without the built-in bin", r"% ?2|& ?1|format|:b"),
    ("common(a, b)", "returns the elements that are in both lists", r"in b|in a|&|intersection"),
]
EXPLAIN = [
    "def f(n):\n    return n if n < 2 else f(n - 1) + f(n - 2)",
    "def f(items):\n    return sorted(items)[len(items) // 2]",
    "def f(s):\n    return s == s[::-1]",
    "def f(a, b):\n    while b:\n        a, b = b, a % b\n    return a",
    "def f(text):\n    counts = {}\n    for letter in text:\n        counts[letter] = counts.get(letter, 0) + 1\n    return counts",
    "def f(path):\n    with open(path) as file:\n        return [line.strip() for line in file if line.strip()]",
    "def f(n):\n    return [k for k in range(2, n) if all(k % d for d in range(2, k))]",
    "def f(items):\n    if len(items) < 2:\n        return items\n    head, *tail = items\n    return f([x for x in tail if x < head]) + [head] + f([x for x in tail if x >= head])",
    "def f(words):\n    return max(words, key=len)",
    "def f(function):\n    seen = {}\n    def inner(x):\n        if x not in seen:\n            seen[x] = function(x)\n        return seen[x]\n    return inner",
    "def f(rows):\n    return [list(column) for column in zip(*rows)]",
    "def f(items, size):\n    return [items[i:i + size] for i in range(0, len(items), size)]",
    "def f(n):\n    steps = 0\n    while n != 1:\n        n = n // 2 if n % 2 == 0 else 3 * n + 1\n        steps += 1\n    return steps",
    "def f(year):\n    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)",
]
RUN = [
    ("def f(x):\n    return x * 3 + 2", "f(5)", 17),
    ("def f(a, b):\n    if a > b:\n        return a - b\n    return b - a", "f(4, 18)", 14),
    ("def f(items):\n    total = 0\n    for item in items:\n        total += item\n    return total", "f([6, 7, 8])", 21),
    ("def f(s):\n    return len(s) * 2", "f('garden')", 12),
    ("def f(items):\n    return sum(x for x in items if x > 10)", "f([4, 15, 9, 12])", 27),
    ("def f(n):\n    return sum(range(n))", "f(6)", 15),
    ("def f(s):\n    return s.upper()[:3]", "f('river')", "RIV"),
    ("def f(s):\n    return s[-1] + s[0]", "f('lamp')", "pl"),
    ("def f(d):\n    return d['b'] - d['a']", "f({'a': 11, 'b': 30})", 19),
    ("def f(words):\n    return '-'.join(words)", "f(['sun', 'moon'])", "sun-moon"),
]


def cases() -> list[dict]:
    found = []
    for head, does, needs in WRITE:
        name = head.split("(")[0]
        found.append(dict(
            prompt=f"Write a Python function {head} that {does}. Only the function, no explanation.",
            answer=rf"(?s)def {name}\(.*({needs})", match="regex", max_tokens=128, tags=["code", "write"],
        ))
    for text in EXPLAIN:
        found.append(dict(
            prompt=f"Explain in two or three sentences what this Python function does.\n\n```python\n{text}\n```",
            max_tokens=128, tags=["code", "explain"],
        ))
    for text, call, result in RUN:
        found.append(dict(
            prompt=f"What does {call} return? Explain briefly.\n\n```python\n{text}\n```",
            answer=rf"\b{result}\b", match="regex", max_tokens=128, tags=["code", "run"],
        ))
    return spread(found, lambda case: (case["tags"][1],), seed=7)
