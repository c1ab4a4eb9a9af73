"""What facts are made of. Names are none of those in the texts, so that a passage says nothing of them by chance."""


def listed(text: str) -> list[str]:
    return [item.strip() for item in " ".join(text.split()).split(";")]


NAMES = """Hugo Clara Dimitri Ingrid Yusuf Marta Kenji Rosalind Tomas Priya Leopold Nadia Gustav Amara Felix Noor Bruno Sigrid
Mateo Wanda Oskar Lucinda Ravi Helga Basil Fatima Igor Paloma Stefan Zora Milan Beatriz Anton Yolanda Casper Leila Viktor Odette
Emil Salma Jonas Petra Marco Ulrike Dario Ines Hamid Gerda Lorenzo Tamara Nils Farida Rupert Dalia Kofi Astrid Pavel Esmeralda
Arturo Mina Bjorn Carmen Tariq Ludmila Simon Renata Akira Olga Vincent Selma Gregor Valentina Ibrahim Greta""".split()

SURNAMES = """Kowalski Lindgren Okafor Petrov Bauer Tanaka Moreau Haugen Silva Novak Castellan Brandt Mbeki Larsen Rossi Yamada
Fischer Delgado Virtanen Horvat Obrecht Sorensen Marchetti Dubinsky Ferreira Kaplan Nakamura Winther Zielinski Abernathy""".split()

TOWNS = """Aldermoor Brackwater Castlebury Dunmere Elmshaven Farrowdale Glenholt Harrowick Ivybridge Kestrelton
Larkspur Millhaven Northwick Oakhollow Pebbleford Quarrydale Ravensford Saltmarsh Thornbury Underhill Valewood Westergate
Yarrowby Amberley Birchwick Coldwater Driftmouth Eastcombe Foxhollow""".split()

STREETS = listed("""Mill Lane;Harbour Street;Chapel Road;Orchard Avenue;Lantern Alley;Copper Street;Willow Crescent;Baker's Row;Tanner
Street;Falcon Road;Meadow Lane;Bridge Street;Weaver's Yard;Juniper Road;Abbey Terrace;Station Street;Lime Walk;Quarry Road;Rose
Passage;Cobbler's Hill""")

COLOURS = """turquoise crimson yellow purple orange violet scarlet olive beige maroon indigo lavender emerald silver
golden pink""".split()

SHADES = "grey yellow purple striped wicker lacquered narrow oak cedar walnut iron leather velvet marble mahogany tin".split()

FURNITURE = "cupboard wardrobe bookcase dresser sideboard chest cabinet trunk drawer locker crate hamper".split()

MADE_OF = "wooden brass porcelain leather copper woollen paper ivory rusty tiny heavy painted broken folded knitted velvet".split()

THINGS = """box compass lantern kettle violin notebook telescope scarf umbrella teapot camera clock vase whistle mirror hammer
puppet globe candlestick typewriter magnet flute basket thermometer suitcase""".split()

SHOPS = listed("""bakery;pharmacy;flower shop;bicycle workshop;post office;shoe shop;bank;butcher's shop;toy shop;barber shop;
tailor's workshop;cinema;fish market;laundry;stationery shop;bookbinder's workshop""")

JOBS = listed("""carpenter;dentist;plumber;gardener;beekeeper;electrician;translator;photographer;veterinarian;glassblower;locksmith;
pilot;librarian;florist;optician;surveyor;goldsmith;welder;accountant;watchmaker""")

ANIMALS = "parrot hamster goat donkey ferret tortoise canary poodle spaniel budgie llama hedgehog goldfish beagle".split()

PETS = "Biscuit Pepper Marble Pickle Waffles Domino Ziggy Muffin Bandit Nutmeg Sprocket Juno Truffle Mango Pixel Clover".split()

DRINKS = listed("""apple juice;hot chocolate;mint tea;buttermilk;tomato juice;ginger ale;black coffee;lemonade;carrot juice;coconut
milk;barley water;iced tea;orange squash;espresso""")

INSTRUMENTS = "cello trumpet clarinet harp accordion oboe banjo saxophone mandolin trombone ukulele bassoon tuba xylophone".split()

CAKES = "lemon carrot chocolate almond cherry walnut honey ginger coconut pumpkin blueberry apricot banana raspberry".split()

TONGUES = "Portuguese Finnish Swahili Korean Hungarian Bengali Icelandic Greek Catalan Vietnamese Welsh Armenian Polish Thai".split()

SAFE_WORDS = """marigold thunder pelican saffron octopus juniper velvet cobalt avalanche walrus zephyr pomegranate lighthouse
trombone glacier hazelnut dragonfly mustard tornado caramel""".split()

TOPICS = listed("""the history of bridges;wild mushrooms;the moons of Jupiter;old sailing ships;medieval castles;alpine butterflies;
steam engines;desert plants;the art of weaving;volcanoes;famous shipwrecks;garden birds;ancient coins;deep sea fish;polar
expeditions;the care of roses""")

CONTESTS = listed("""chess tournament;rowing race;baking contest;spelling contest;pumpkin show;poetry prize;swimming race;archery
contest;quiz night;sculpture prize;skating contest;cycling race""")

SHIPS = listed("""Albatross;Northern Star;Grey Heron;Morning Tide;Sea Lark;Golden Anchor;Blue Petrel;Silver Wave;Kittiwake;
Sandpiper;Cormorant;Puffin;Stormbird""")

CARGO = listed("""oranges;timber;bicycles;coffee beans;roof tiles;frozen fish;wool blankets;olive oil;cement;pianos;glass bottles;
sugar beets""")

FOODS = "peanuts strawberries shellfish celery sesame mustard almonds kiwis lentils pineapple walnuts soya".split()

ROOMS = listed("""attic;cellar;pantry;greenhouse;workshop;boathouse;wine cellar;music room;observatory;gymnasium;conservatory;
laboratory""")

BUILDINGS = "lighthouse observatory theatre windmill aqueduct clocktower planetarium monastery brewery cathedral".split()

MONTHS = "January February March April June July August September October November December".split()

PLANS = listed("""new playground;school kitchen;summer festival;bus timetable;town archive;swimming pool;recycling plan;harbour wall;
choir concert;street lamps""")

FABRICS = "linen corduroy denim tweed silk flannel cotton cashmere suede canvas".split()

HIDES = listed("""the barometer;the flour sacks;the framed map;the oil painting;the spice rack;the grandfather clock;the coal bucket;
the fire extinguisher;the coat stand;the calendar""")
