"""`python -m ssn_eval.cli`, and `accelerate launch -m ssn_eval.cli` for several processes."""

from ssn_eval.cli import main

main()
