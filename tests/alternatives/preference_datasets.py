"""Other right answers, and wrong ones that once passed."""


def preferences(pairs, least):
    by_grade = (sorted([(a, first), (b, second)], key=lambda graded: -graded[0]) for first, a, second, b in pairs)
    return [[better[1], worse[1]] for better, worse in by_grade if better[0] - worse[0] >= least]


def asked_both_ways(judge, texts, sure):
    kept = []
    for place, text in enumerate(texts):
        for other in texts[place + 1 :]:
            for chosen, rejected in ((text, other), (other, text)):
                chances = judge(chosen, rejected), 1 - judge(rejected, chosen)
                if all(chance > 0.5 for chance in chances) and sum(chances) >= 2 * sure:
                    kept.append((chosen, rejected))
    return kept


def sorted_pairs(pairs, least):
    return sorted(tuple(pair) for pair in preferences(pairs, least))


def distance_of_sizes(pairs, least):
    kept = [pair for pair in pairs if abs(abs(pair[1]) - abs(pair[3])) >= least]
    return [(first, second) if a > b else (second, first) for first, a, second, b in kept]


ALTERNATIVES = {
    "preference_datasets/turtle": lambda: preferences,
    "preference_datasets/dog": lambda: asked_both_ways,
}
MUTANTS = {
    "preference_datasets/dog": (
        ("mean >= sure and min(first, second) > 0.5", "min(first, second) > 0.5"),
        ("if mean >= sure and", "if mean > sure and"),
        ("min(first, second) > 0.5", "min(first, second) > 0.505"),
        ("max(first, second) < 0.5", "max(first, second) < 0.495"),
        ("max(first, second) < 0.5", "first < 0.5"),
    ),
}
REFUSED = {
    "preference_datasets/turtle": (
        ("sorted", lambda: sorted_pairs, "yours are sorted"),
        ("distance of sizes", lambda: distance_of_sizes, "With least = 2, [('p', -1, 'o', 1)"),
    ),
}
