"""Questions with letters for the accuracy method: MMLU's form, contents of our own."""

from __future__ import annotations

import random

_PAIRS = {
    "the capital of France": ("Paris", "Rome", "Oslo", "Lima"),
    "the capital of Japan": ("Tokyo", "Kyoto", "Seoul", "Hanoi"),
    "the capital of Italy": ("Rome", "Milan", "Athens", "Madrid"),
    "the capital of Egypt": ("Cairo", "Tunis", "Accra", "Doha"),
    "the opposite of hot": ("cold", "warm", "red", "fast"),
    "the opposite of up": ("down", "left", "high", "over"),
    "the colour of grass": ("green", "blue", "pink", "black"),
    "the colour of snow": ("white", "brown", "green", "red"),
    "the largest planet": ("Jupiter", "Mars", "Venus", "Earth"),
    "the planet nearest to the Sun": ("Mercury", "Saturn", "Neptune", "Mars"),
    "the number of days in a week": ("seven", "five", "nine", "ten"),
    "the number of legs of a spider": ("eight", "six", "four", "ten"),
    "the gas that plants take in": ("carbon dioxide", "helium", "neon", "argon"),
    "the chemical symbol of water": ("H2O", "CO2", "NaCl", "O2"),
    "the author of Hamlet": ("Shakespeare", "Goethe", "Dante", "Homer"),
    "the language spoken in Brazil": ("Portuguese", "French", "Dutch", "Greek"),
    "the currency of the United Kingdom": ("the pound", "the euro", "the yen", "the franc"),
    "the animal that barks": ("a dog", "a cat", "a cow", "a duck"),
    "the organ that pumps blood": ("the heart", "the lung", "the skin", "the liver"),
    "the season after winter": ("spring", "autumn", "summer", "January"),
    "3 + 4": ("7", "6", "8", "12"),
    "9 - 5": ("4", "3", "5", "14"),
    "6 times 7": ("42", "36", "48", "13"),
    "half of 18": ("9", "8", "6", "36"),
    "10 divided by 2": ("5", "2", "8", "20"),
    "the month after June": ("July", "May", "March", "August"),
    "the frozen form of water": ("ice", "steam", "sand", "oil"),
    "the ocean west of Europe": ("the Atlantic", "the Pacific", "the Arctic", "the Indian"),
    "the instrument with black and white keys": ("a piano", "a drum", "a flute", "a violin"),
    "the metal that rusts": ("iron", "gold", "glass", "wood"),
    "the star nearest to us": ("the Sun", "the Moon", "Mars", "Sirius"),
    "the person who flies a plane": ("a pilot", "a baker", "a judge", "a nurse"),
    "the shape with three sides": ("a triangle", "a square", "a circle", "a cube"),
    "the first letter of the alphabet": ("A", "B", "Z", "M"),
    "the hottest season": ("summer", "winter", "spring", "autumn"),
    "the young of a cat": ("a kitten", "a puppy", "a calf", "a foal"),
    "the place where books are lent": ("a library", "a bank", "a farm", "a port"),
    "the frame of a human body": ("the skeleton", "the blood", "the skin", "the hair"),
    "the sweet thing that bees make": ("honey", "salt", "bread", "milk"),
    "the tool to cut paper": ("scissors", "a spoon", "a hammer", "a lamp"),
}


def questions() -> list[tuple[str, str]]:
    """(prompt, right letter): one example, then the question."""
    rng = random.Random(5)
    shot = (
        "Question: What is the colour of the sky?\nA. red\nB. blue\nC. grey\nD. pink\nAnswer: B\n\n"
    )
    made = []
    for topic, options in _PAIRS.items():
        order = list(options)
        rng.shuffle(order)
        lines = "\n".join(f"{letter}. {o}" for letter, o in zip("ABCD", order, strict=True))
        made.append(
            (f"{shot}Question: What is {topic}?\n{lines}\nAnswer:", "ABCD"[order.index(options[0])])
        )
    return made
