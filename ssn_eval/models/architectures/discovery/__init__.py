"""Find the sites of a model that the table does not know, by experiment, and prove them on the model itself.

Read first: `finding` (one model), then `attention` (what tells queries, keys and values apart) and `perceptron` (rows and columns
of the MLP). `passes` runs a layer with changed activations; `roles` is pure. No module name is known here.
"""
