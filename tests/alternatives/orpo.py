"""Other right answers, and wrong ones that were once named wrongly."""

import math

import numpy as np
import torch


def odds_ratio_term(p_chosen, p_rejected):
    chosen, rejected = torch.tensor(p_chosen), torch.tensor(p_rejected)
    return -torch.nn.functional.logsigmoid(torch.logit(chosen) - torch.logit(rejected))


def log_odds_ratio(log_chosen, log_rejected):
    def log_odds(x):  # log p - log(1 - p), the latter as the logarithm of -expm1(x)
        return x - np.log(-np.expm1(np.float64(x)))

    return log_odds(log_chosen) - log_odds(log_rejected)


def odds_of_one_only(p_chosen, p_rejected):  # with p = 0.5, odds and 1 - p hide this
    return math.log1p(p_rejected / (1 - p_rejected) / p_chosen)


ALTERNATIVES = {"orpo/turtle": lambda: odds_ratio_term, "orpo/dog": lambda: log_odds_ratio}
REFUSED = {
    "orpo/turtle": (("one without odds", lambda: odds_of_one_only, "For 0.5 and 0.2 the term should be 0.2231"),)
}
