"""What lm_eval's runs say about safety: replies as values, rates with intervals, two runs in pairs."""
