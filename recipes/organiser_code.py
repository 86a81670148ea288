"""Fine-tune the adapter that writes code: the recipe of `recipes.organiser_tools`, with its traces as code actions."""

from recipes.organiser_tools import main

if __name__ == "__main__":
    main("code")
