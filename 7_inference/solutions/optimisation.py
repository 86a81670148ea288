"""Reference answers to the exercises of the notebook optimisation.

`hint(...)` in the notebook gives less away.
"""

# 🐢 How large is the cache?


def cache_bytes(layers, kv_heads, head_size, tokens, rows, bytes_each):
    """Return how many bytes the keys and values of these texts take."""
    return 2 * layers * kv_heads * head_size * tokens * rows * bytes_each  # 2: a key and a value


# 🐕 Check the guesses


def accepted(guesses, wanted):
    """Return the tokens that are written after one pass over the guesses."""
    right = 0
    while right < len(guesses) and guesses[right] == wanted[right]:
        right += 1
    # Up to here the model has read exactly what is written, so its next token holds.
    return guesses[:right] + [wanted[right]]


# 🦁 An inbox overnight


def example_results():
    """Return an EXAMPLE OF THE FORM, NOT A MEASUREMENT: its numbers are made up."""
    return {
        "baseline_tokens_per_second": [100.0, 98.0, 101.0],  # made up: the notebook's quickest engine
        "my_tokens_per_second": [260.0, 255.0, 250.0],  # made up: run in turn with those
        "test_messages": 306,
        "lost": 4,  # made up: right with the notebook's engine, wrong with mine
        "won": 3,  # made up: the other way round
        "chosen_on": ["dev-0001", "dev-0002"],  # really: all messages on which you compared settings
    }


ANSWERS = {
    "optimisation/turtle": lambda: cache_bytes,
    "optimisation/dog": lambda: accepted,
    "optimisation/lion": example_results,
}
