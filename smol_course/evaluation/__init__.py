"""Module 4: the evaluation suite and its shipped reports, lighteval and lm-eval without the Hub, one's own labels."""
