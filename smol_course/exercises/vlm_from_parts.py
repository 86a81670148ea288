"""The exercises of the notebook vlm_from_parts: how many tokens a picture takes, and pixel shuffle.

The judges look at numbers and shapes only; they know no model.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from smol_course.exercises import Exercise, call, compared, expect, planted

if TYPE_CHECKING:
    from torch import Tensor

# --- 🐢 How many tokens? ------------------------------------------------------------------------------------

# Pixels of a tile's side, of a patch's side, patches of a token's side, tiles: ours, SmolVLM's, Idefics3's, and one
# picture of a fourth kind.
_MODELS = ((80, 8, 2, 1), (512, 16, 4, 17), (364, 14, 2, 5), (384, 16, 3, 1))


def _count(size: int, patch: int, shuffle: int, tiles: int) -> int:
    return tiles * (size // patch // shuffle) ** 2


_COUNT_MISTAKES: dict[str, Callable[[int, int, int, int], float]] = {
    "These are the patches: the shuffle makes fewer tokens of them.": lambda size, patch, shuffle, tiles: (
        tiles * (size // patch) ** 2
    ),
    "This counts along one side: a picture has as many rows as columns.": lambda size, patch, shuffle, tiles: (
        tiles * (size // patch // shuffle)
    ),
    "A token takes shuffle patches along *both* sides: divide by its square.": lambda size, patch, shuffle, tiles: (
        tiles * (size // patch) ** 2 // shuffle
    ),
    "The tiles are missing: each has tokens of its own.": lambda size, patch, shuffle, tiles: (
        (size // patch // shuffle) ** 2
    ),
    "Each tile is square, but tiles are just counted: do not square their number.": (
        lambda size, patch, shuffle, tiles: (tiles * (size // patch) // shuffle) ** 2
    ),
    "These are pixels for each token, not tokens.": lambda size, patch, shuffle, tiles: (patch * shuffle) ** 2,
    "The shuffle makes fewer tokens, not more: divide by it.": lambda size, patch, shuffle, tiles: (
        tiles * (size // patch * shuffle) ** 2
    ),
    "The patches are forgotten: a token is patch · shuffle pixels wide.": lambda size, patch, shuffle, tiles: (
        tiles * (size // shuffle) ** 2
    ),
}


def _judge_count(answer: Any) -> str | None:
    values = []
    for case in _MODELS:
        count = call(answer, *case)
        if type(count) is float and count.is_integer():
            return f"{count} is a number with a fraction, even if that is zero: divide with //."
        values.append(expect(count, int, "what count_image_tokens returns"))
    wanted = [_count(*case) for case in _MODELS]

    def say(place: int) -> str:
        size, patch, shuffle, tiles = _MODELS[place]
        description = f"{tiles} tile{'s' if tiles > 1 else ''} of {size} pixels, patches of {patch}, shuffle {shuffle}"
        return f"For {description} it should be {wanted[place]}, but yours is {_short(values[place])}."

    return compared(values, wanted, _MODELS, _COUNT_MISTAKES, say)


def _short(number: int) -> str:
    return str(number) if abs(number) < 10**12 else "a number of more than twelve digits"


_TURTLE = Exercise(
    id="vlm_from_parts/turtle",
    level="🐢",
    title="How many tokens?",
    goal="Count the tokens that a picture takes in the sequence.",
    minutes=5,
    judge=_judge_count,
    hints=(
        "First along one side: how many patches, and how many tokens does the shuffle make of them?",
        "`size // patch` patches along a side; every `shuffle` of them become one token.",
        "Square it, for rows and columns, and multiply by the number of tiles.",
    ),
    wrong=(
        *planted(_COUNT_MISTAKES),
        (
            "a float",
            lambda: lambda size, patch, shuffle, tiles: tiles * (size / patch / shuffle) ** 2,
            "divide with //",
        ),
    ),
)


# --- 🐕 Pixel shuffle ---------------------------------------------------------------------------------------

# Pictures, patches along a side, width, factor.
_SHAPES = ((1, 4, 1, 2), (2, 6, 3, 2), (2, 6, 2, 3))


def _grids() -> "list[tuple[Tensor, int]]":
    """Patches whose numbers tell where they come from, and the factor."""
    import torch

    grids = []
    for pictures, along, width, factor in _SHAPES:
        count = pictures * along * along * width
        grids.append((torch.arange(-5.0, count - 5).view(pictures, along * along, width), factor))
    return grids


def _shuffle(seen: "Tensor", factor: int) -> "Tensor":
    """Pixel shuffle, cell by cell."""
    import torch

    pictures, patches, width = seen.shape
    along = round(patches**0.5)
    grid = seen.reshape(pictures, along, along, width)
    cells = [
        grid[:, row : row + factor, column : column + factor].reshape(pictures, -1)
        for row in range(0, along, factor)
        for column in range(0, along, factor)
    ]
    return torch.stack(cells, 1)  # (pictures, tokens, width · factor²)


def _judge_shuffle(answer: Any) -> str | None:
    import torch

    grids, values = _grids(), []
    for seen, factor in grids:
        copied = seen.clone()
        tokens = expect(call(answer, copied, factor), torch.Tensor, "what pixel_shuffle returns")
        wanted = _shuffle(seen, factor)
        if tokens.shape != wanted.shape:
            return _shape_mistake(tuple(tokens.shape), tuple(wanted.shape), tuple(seen.shape), factor)
        values.append(tokens.detach().double().clone())
        if not torch.equal(copied, seen):
            return "Your function changed the tensor that it was given: work on a copy."
    return _order_mistake(values, grids)


def _shape_mistake(found: tuple[int, ...], wanted: tuple[int, ...], seen: tuple[int, ...], factor: int) -> str:
    pictures, patches, width = seen
    if found == (pictures, patches // factor**2, width):
        return "The vectors have kept their width: put those of a token side by side instead of mixing them into one."
    if found == (pictures, patches // factor, width * factor):
        return "Only neighbours in a row were joined: a token takes factor patches along both sides."
    if found[:1] != wanted[:1]:
        return (
            f"{pictures} pictures went in, but the shape {found} of what came out begins with another number: "
            "keep the pictures apart, the first dimension stays as it is."
        )
    return f"Patches of shape {seen} with factor {factor} should give {wanted}, but yours is {found}."


def _order_mistake(values: list["Tensor"], grids: "list[tuple[Tensor, int]]") -> str | None:
    """Name the mistake that leads to these tokens in all cases, or return None if there is none."""
    import torch

    for message, make in {"": _shuffle, **_wrong_orders()}.items():
        if all(torch.equal(tokens, make(*grid).double()) for tokens, grid in zip(values, grids, strict=True)):
            return message or None
    tokens, (seen, factor) = next(
        (tokens, grid)
        for tokens, grid in zip(values, grids, strict=True)
        if not torch.equal(tokens, _shuffle(*grid).double())
    )
    place = (tokens != _shuffle(seen, factor).double()).nonzero()[0].tolist()
    return (
        f"The shape is right. For patches of shape {tuple(seen.shape)} and factor {factor}, the first number in the "
        f"wrong place is at {place}: compare with the 4 × 4 grid above."
    )


def _wrong_orders() -> dict[str, Any]:
    """Functions like `pixel_shuffle` that go wrong in a known way, by the message that names each."""

    def axes(seen: "Tensor", factor: int, order: tuple[int, ...]) -> "Tensor":
        pictures, patches, width = seen.shape
        along = round(patches**0.5) // factor
        grid = seen.reshape(pictures, along, factor, along, factor, width)
        return grid.permute(order).reshape(pictures, along * along, factor * factor * width)

    def flat(seen: "Tensor", factor: int) -> "Tensor":
        return seen.reshape(len(seen), seen.shape[1] // factor**2, -1)

    return {
        "This joins patches that follow each other in the list, across a row: a token is a square of them.": flat,
        "The tokens come column by column: they go row by row.": lambda s, f: axes(s, f, (0, 3, 1, 2, 4, 5)),
        "Inside a token the patches come column by column: they go row by row.": lambda s, f: axes(
            s, f, (0, 1, 3, 4, 2, 5)
        ),
        "Inside a token the numbers are sorted by place in the vector: each patch's vector stays together.": (
            lambda s, f: axes(s, f, (0, 1, 3, 5, 2, 4))
        ),
    }


def _ordered(number: int) -> Any:
    """A function that makes the wrong order of that number."""
    return lambda: list(_wrong_orders().values())[number]


def _averaged(seen: "Tensor", factor: int) -> "Tensor":
    pictures, patches, width = seen.shape
    return _shuffle(seen, factor).view(pictures, patches // factor**2, factor**2, width).mean(2)


def _in_rows(seen: "Tensor", factor: int) -> "Tensor":
    return seen.reshape(len(seen), seen.shape[1] // factor, -1)


def _all_pictures(seen: "Tensor", factor: int) -> "Tensor":
    return _shuffle(seen, factor).flatten(0, 1)[None].expand(len(seen) + 1, -1, -1)


def _in_place(seen: "Tensor", factor: int) -> "Tensor":
    tokens = _shuffle(seen, factor)
    seen.zero_()
    return tokens


_DOG = Exercise(
    id="vlm_from_parts/dog",
    level="🐕",
    title="Pixel shuffle",
    goal="Build pixel shuffle: fewer tokens, each with the vectors of a square of patches.",
    minutes=20,
    judge=_judge_shuffle,
    needs=("torch",),
    hints=(
        "Make the picture a grid again: as many rows and columns of patches as the root of their number.",
        "`seen.reshape(pictures, side, side, width)` is that grid. Split each side in two: which token, "
        "and where in the token. Six dimensions: "
        "(pictures, token row, row inside, token column, column inside, width).",
        "`permute` brings what belongs to one token to the end: token row and token column first, then row inside, "
        "column inside, width. Then `reshape` joins the last three.",
    ),
    wrong=(
        ("flat", _ordered(0), "across a row"),
        ("columns of tokens", _ordered(1), "The tokens come column by column"),
        ("columns inside", _ordered(2), "Inside a token the patches come column by column"),
        ("channels first", _ordered(3), "each patch's vector stays together"),
        (
            "turned round",
            lambda: lambda seen, factor: _shuffle(seen, factor).flip(1),
            "the first number in the wrong place",
        ),
        ("averaged", lambda: _averaged, "kept their width"),
        ("rows only", lambda: _in_rows, "Only neighbours in a row"),
        ("pictures mixed", lambda: _all_pictures, "keep the pictures apart"),
        ("changes its input", lambda: _in_place, "changed the tensor"),
        (
            "a list",
            lambda: lambda seen, factor: _shuffle(seen, factor).tolist(),
            "what pixel_shuffle returns should be a tensor, but it is a list",
        ),
    ),
)

EXERCISES = (_TURTLE, _DOG)
