"""Rendered pages and screenshots, shown whole and without the patches that repeat a neighbour's pixels.

Tokens and times of `distinct` beside `none` on a checkpoint whose tower takes pictures of any size (Qwen2.5-VL). Needs
Pillow and a cluster that serves such a checkpoint; random weights do, since neither figure depends on their values:

    secateur synth --preset qwen2.5-vl-3b --dtype bf16 --out /tmp/qwen-vl
    secateur up --model /tmp/qwen-vl --max-context 8192 &
    python3 benches/pictures/screens.py --url http://127.0.0.1:8080 --rounds 3

Each picture is asked about with both methods in turn; from round to round one pixel of it changes, so that nothing is found
in a cache. `--save DIR` writes the pictures and asks nobody.
"""

import argparse
import base64
import io
import json
import pathlib
import statistics
import urllib.request

from PIL import Image, ImageDraw, ImageFont

TEXT = pathlib.Path(__file__).resolve().parents[2] / "models" / "smollm2" / "eval" / "text"
PAPER, INK, GREY, BLUE = (255, 255, 255), (20, 20, 20), (236, 238, 241), (26, 99, 196)


def words():
    """The words of the suite's public-domain prose, over and over."""
    paragraphs = "\n".join(path.read_text() for path in sorted(TEXT.glob("*.txt"))).split()
    while True:
        yield from paragraphs


def write(draw, box, size, source, spacing=1.4, colour=INK):
    """Fills a box with lines of words."""
    font = ImageFont.load_default(size)
    left, top, right, bottom = box
    while top + size < bottom:
        line = next(source)
        while draw.textlength(line, font) < (right - left) * 0.85:
            line += " " + next(source)
        draw.text((left, top), line, colour, font)
        top += int(size * spacing)


def canvas(size, colour=PAPER):
    """An empty picture, its pen, and words to write on it."""
    image = Image.new("RGB", size, colour)
    return image, ImageDraw.Draw(image), words()


def page():
    """A page of print, A4 at 110 dots an inch."""
    image, draw, source = canvas((924, 1308))
    write(draw, (100, 110, 600, 145), 28, source)
    write(draw, (100, 190, 824, 640), 17, source)
    write(draw, (100, 690, 824, 1180), 17, source)
    return image


def form():
    """A page with a heading and fields to fill in."""
    image, draw, source = canvas((924, 1308))
    write(draw, (100, 90, 500, 130), 30, source)
    for row in range(9):
        top = 190 + row * 110
        write(draw, (100, top, 300, top + 20), 16, source)
        draw.rectangle((340, top - 8, 824, top + 34), outline=INK, width=2)
    return image


def editor():
    """A code editor, 1280 x 800, with a side bar."""
    image, draw, source = canvas((1280, 800), (30, 31, 38))
    draw.rectangle((0, 0, 220, 800), fill=(40, 42, 50))
    for row in range(16):
        draw.text((18, 40 + row * 26), next(source), (190, 192, 200), ImageFont.load_default(15))
    for row in range(26):
        indent = (row * 7 % 4) * 28
        line = " ".join(next(source) for _ in range(2 + row * 5 % 7))
        draw.text((260 + indent, 40 + row * 26), line, (214, 216, 224), ImageFont.load_default(16))
    return image


def web():
    """A web page, 1280 x 800: a bar, a column of text, cards."""
    image, draw, source = canvas((1280, 800))
    draw.rectangle((0, 0, 1280, 64), fill=BLUE)
    write(draw, (40, 20, 420, 48), 22, source, colour=PAPER)
    write(draw, (120, 120, 760, 420), 18, source)
    for card in range(3):
        left = 120 + card * 360
        draw.rounded_rectangle((left, 480, left + 320, 700), 12, fill=GREY)
        write(draw, (left + 24, 510, left + 300, 660), 16, source)
    return image


def slide():
    """A slide, 1280 x 720: a title and four points."""
    image, draw, source = canvas((1280, 720))
    write(draw, (90, 80, 900, 130), 44, source)
    for point in range(4):
        write(draw, (120, 220 + point * 100, 900, 260 + point * 100), 28, source)
    return image


def photo():
    """What a camera sees has no two equal patches: gradients with noise."""
    noise = Image.effect_noise((896, 672), 24)
    shade = Image.radial_gradient("L").resize((896, 672))
    return Image.merge("RGB", (Image.blend(noise, shade, 0.7), shade, noise))


PICTURES = {picture.__name__: picture for picture in (page, form, editor, web, slide, photo)}


def asked(url, image, method):
    """The receipt of one question about a picture."""
    encoded = io.BytesIO()
    image.save(encoded, "PNG")
    picture = "data:image/png;base64," + base64.b64encode(encoded.getvalue()).decode()
    body = {
        "messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": picture}}, {"type": "text", "text": "What is written here?"}]}],
        "max_tokens": 1, "temperature": 0, "secateur": {"visual": {"method": method}},
    }
    request = urllib.request.Request(
        url + "/v1/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=900) as answer:
        return json.load(answer)["secateur"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=list(PICTURES), default=list(PICTURES))
    parser.add_argument("--save", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.save:
        arguments.save.mkdir(parents=True, exist_ok=True)
        for name in arguments.only:
            PICTURES[name]().save(arguments.save / f"{name}.png")
        return
    print("| picture | pixels | tokens | without repeats | share | first token, s | without repeats | times faster |")
    print("|---|---|---|---|---|---|---|---|")
    for name in arguments.only:
        image = PICTURES[name]()
        seconds, tokens = {"none": [], "distinct": []}, {}
        for round in range(arguments.rounds):
            # A corner pixel: another digest, the same tokens.
            image.putpixel((0, 0), (round, round, round))
            for method in seconds:
                receipt = asked(arguments.url, image, method)
                seconds[method].append(receipt["timing"]["ttft_ms"] / 1e3)
                tokens[method] = receipt["visual"]["tokens_after"]
        ratios = sorted(whole / part for whole, part in zip(seconds["none"], seconds["distinct"]))
        median = {method: statistics.median(times) for method, times in seconds.items()}
        print(
            f"| {name} | {image.width} x {image.height} | {tokens['none']} | {tokens['distinct']} "
            f"| {tokens['distinct'] / tokens['none']:.0%} | {median['none']:.2f} | {median['distinct']:.2f} "
            f"| {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) |", flush=True)


if __name__ == "__main__":
    main()
