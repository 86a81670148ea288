"""Other right answers."""

import torch


def count_image_tokens(size, patch, shuffle, tiles):
    return sum(1 for _ in range(0, size, patch * shuffle) for _ in range(0, size, patch * shuffle)) * tiles


def pixel_shuffle(seen, factor):
    pictures, patches, width = seen.shape
    side = int(patches**0.5 + 0.5)
    grid = seen.transpose(1, 2).reshape(pictures, width, side, side)
    columns = torch.nn.functional.unfold(grid, kernel_size=factor, stride=factor)  # by number in the vector first
    columns = columns.view(pictures, width, factor * factor, -1)
    return columns.permute(0, 3, 2, 1).flatten(2)


ALTERNATIVES = {"vlm_from_parts/turtle": lambda: count_image_tokens, "vlm_from_parts/dog": lambda: pixel_shuffle}
MUTANTS = {"vlm_from_parts/dog": (("grid = seen.reshape", "grid = abs(seen).reshape"),)}
