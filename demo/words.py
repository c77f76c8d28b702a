"""The words that fill the slots of the demo's sentences.

Knows lists of words; refuses to know the sentences.
"""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(" ".join(part.split()) for part in text.split(","))


ITEM = _words("""
lamp, desk lamp, mug, tea cup, kettle, blanket, wool blanket, backpack, tent, chair, garden chair, table,
side table, pillow, towel, candle, vase, mirror, clock, alarm clock, basket, umbrella, raincoat, jacket,
rain jacket, scarf, hat, cap, pair of gloves, pair of boots, sweater, shirt, t-shirt, dress, bag, tote bag,
wallet, belt, water bottle, thermos, lunch box, teapot, plate, bowl, pan, frying pan, pot, knife, cutting
board, spoon set, rug, carpet, curtain, shelf, bookshelf, stool, bench, hammock, sleeping bag, camping
stove, flashlight, lantern, watering can, flower pot, bird house, picture frame, poster, notebook, pen,
puzzle, board game, toy, doll, bath mat, apron, toaster, coffee maker, mixer, radio, speaker, pair of
headphones, phone case, bike helmet, yoga mat, picnic basket, doormat, coat rack, bed sheet
""")
COLOR = _words("""
red, blue, green, black, white, yellow, brown, gray, pink, purple, orange, beige, dark blue, light green
""")
SIZE = _words("""
small, medium, large, size S, size M, size L, size XL, size 38, size 42, extra large
""")
AGO = _words("""
last week, two days ago, three days ago, yesterday, last month, a week ago, two weeks ago, on Monday, on
Friday, ten days ago, last Tuesday, a month ago, some days ago, this morning, a few weeks ago
""")
SPAN = _words("""
two days, three days, a week, two weeks, ten days, a month, five days, several days, more than a week, a
long time, days, weeks, almost a month, a few hours, an hour
""")
DAY = _words("""
Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday
""")
PERSON = _words("""
mother, father, sister, brother, mom, dad, wife, husband, friend, son, daughter, boss, neighbor, grandma,
aunt, uncle, girlfriend, boyfriend, cousin, teacher, child, partner
""")
OCCASION = _words("""
a birthday, Christmas, a wedding, the garden, the kitchen, the office, my bedroom, winter, summer, camping,
a picnic, my new flat, the bathroom, a trip, a party, the living room, everyday use, the beach, hiking
""")
NAME = _words("""
Anna, Ben, Carla, David, Emma, Felix, Grace, Hugo, Ida, Jack, Kim, Leo, Maria, Nina, Omar, Paul, Rosa, Sam,
Tom, Vera
""")
STREET = _words("""
Oak Street, Park Road, River Lane, Hill Avenue, Church Street, Station Road, Lake Drive, Garden Way, Elm
Court, King Street
""")
PLACE = _words("""
Canada, Germany, France, Spain, Italy, London, Paris, Berlin, New York, Chicago, Texas, Mexico, Japan,
Australia, Ireland, Sweden, Norway, Poland, Brazil, India, Alaska, Hawaii, Austria, Toronto, Madrid, Rome,
Tokyo, Boston, Denmark, Portugal
""")
COUNTRY = PLACE[:5] + _words("""
China, Egypt, Russia, Greece, Turkey, Kenya, Peru, Chile, Finland, Hungary, Mongolia, Thailand, Vietnam,
Nigeria, Cuba, Iceland, Argentina, Morocco, the Netherlands, South Africa, Belgium, Ukraine, Korea
""")
LANGUAGE = _words("""
Spanish, French, German, Italian, Japanese, Chinese, Latin, Russian, Dutch, Polish, Greek, Arabic, Turkish,
Swedish, Portuguese, Hindi
""")
CODE_LANGUAGE = _words("""
Python, Java, JavaScript, C, Rust, SQL, HTML, Go, Bash
""")
FOOD = _words("""
pasta, pizza, soup, a steak, rice, bread, a chocolate cake, pancakes, an omelet, lasagna, curry, fish,
potatoes, sushi, apple pie, chicken, eggs, a burger, noodles, cookies, risotto, dumplings, a salad, jam
""")
ANIMAL = _words("""
dog, cat, horse, bird, elephant, whale, spider, snake, rabbit, hamster, tiger, lion, penguin, dolphin, cow,
pig, mouse, parrot, turtle, bee, wolf, fox, bear, shark
""")
SCIENCE = _words("""
gravity, photosynthesis, quantum physics, a black hole, evolution, electricity, inflation, democracy, the
big bang, dna, a prime number, the theory of relativity, the water cycle, an atom, a neural network, machine
learning, a verb, global warming, entropy, an algorithm, osmosis, magnetism, the stock market, blockchain, a
volcano
""")
SUBJECT = _words("""
politics, football, history, chess, music, religion, philosophy, the war, climate change, astrology,
mathematics, biology, chemistry, artificial intelligence, the moon landing, ghosts, aliens, yoga, tennis,
basketball, cooking, physics, art, poetry, the economy, movies, video games, geography, medicine, law,
school, space travel, dinosaurs, economics, guitar, knitting, golf, opera, vampires, dating, marriage,
vaccines, elections, taxes, meditation
""")
FAMOUS = _words("""
Shakespeare, Mozart, Einstein, Napoleon, Cleopatra, Picasso, Beethoven, Darwin, Newton, Caesar, Marie Curie,
Lincoln, Washington, Elvis, Plato, Homer, Columbus, Galileo, Bach, Gandhi, Aristotle, Chopin, Van Gogh,
Batman, Superman, Zeus
""")
NOUN = ANIMAL + _words("""
moon, sun, star, river, mountain, tree, ocean, car, train, plane, ship, house, castle, king, queen, robot,
computer, teacher, doctor, city, island, forest, desert, dragon, ghost, flower, rose, butterfly, apple,
banana, lemon, tomato, cheese, bread, milk, sugar, salt, school, church, hospital, bridge, road, guitar,
piano, violin, drum, song, movie, book, poem, planet, rocket, engine, motor, bicycle, tractor, farmer,
soldier, pirate, knight, wizard, princess, baby, man, woman, boy, girl, heart, brain, eye, hand, foot,
dream, summer, winter, rain, snow, storm, cloud, wind, fire, water, stone, gold, silver, iron, money, bank,
war, peace, language, word, letter, number, color, sound, light, garden, window, door, roof, wall,
telephone, camera, television, satellite, telescope, microscope, volcano, earthquake, dinosaur, vampire,
unicorn, zombie, monkey, frog, duck, goose, chicken, sheep, goat, ant, fly, mushroom, potato, carrot, onion,
pepper, olive, grape, cherry, peach, coffee, tea, wine, beer, juice, ball, game, team, coach, player, race,
sport, dance, theater, museum, sofa, couch, bed, desk, fridge, oven, drill, hammer, ladder, tractor,
trampoline, skateboard, kayak, guitar, printer, keyboard, laptop, tablet, monitor, ring, necklace, bracelet,
watch, perfume, soap, shampoo, brush, razor, suitcase, kite
""")
FOREIGN = _words("""
bonjour, hola, guten tag, merci beaucoup, gracias, danke, buenos dias, como estas, wie geht es dir, ca va,
ciao bella, por favor, ich verstehe nicht, je ne sais pas, non capisco, donde esta, obrigado, bom dia, hej,
tack, dzien dobry, was kostet das, o que e isso, quiero comer, je suis, ich bin, buona sera, arigato,
konnichiwa, spasibo, merhaba, salut
""")
CODE = _words("""
SPRING15, SAVE10, WELCOME, HELLO5, SUMMER20, GIFT25, NEW10, LANE5, WINTER30, FRIEND, BONUS, TEA12
""")
SYLLABLE = _words("""
ba, be, bi, bo, bu, cra, da, dex, do, fa, fli, ga, go, gru, ha, hu, ja, jo, ka, ki, klo, la, lu, ma, mi,
mor, na, ni, no, pa, pi, plo, qua, ra, ri, ro, sa, ska, so, sta, ta, ti, tor, tu, va, vi, wa, wi, xa, yo,
za, zo, sh, th, st, ng, rk, gh
""")
SYMBOLS = (
    "!?#$%&*+-/:;<=>@[]^_{}~|\\\"'()`,.€£§°äöüéèñçßøåàêîôûæœ¿¡«»–—…“”‘’你好世界日本語привет🙂😀👍❤🎉🔥한국مرحباשלום"
)
