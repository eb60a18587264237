"""Safety in lm_eval's runs: replies as values, rates with intervals, paired comparisons of two runs."""
