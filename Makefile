# Each target sets up what it needs: a Python from 3.9 to 3.12 and make are enough.
#
#   make demo            float training, quantized training, freezing and reloading on real digits
#   make test            the tests on the newest supported Paddle
#   make test-paddle26   the same tests on Paddle 2.6.2, in an environment of its own
#   make lint            ruff and mypy
#   make clean           remove both environments and what the demo wrote
#
# ARGS goes to the program that is run:  make demo ARGS="--weight dorefa --weight-bits 3"
# EXTRAS are installed too:            make test EXTRAS=demo,test,lint,deploy,inspect
# PYTHON names the interpreter to use:   make test PYTHON=/opt/python3.12/bin/python3

PYTHON ?=
ARGS ?=
EXTRAS ?= demo,test,lint
VENV := .venv
VENV26 := .venv-paddle26
DEPENDENCIES := requirements.txt pyproject.toml .ci/environment
# One for each choice of extras: what was installed with fewer is completed.
comma := ,
STAMP := .installed-$(subst $(comma),-,$(EXTRAS))

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test test-paddle26 lint clean

demo: $(VENV)/$(STAMP)
	$(VENV)/bin/python demos/mnist.py $(ARGS)

test: $(VENV)/$(STAMP)
	$(VENV)/bin/python -m pytest $(ARGS)

test-paddle26: $(VENV26)/$(STAMP)
	$(VENV26)/bin/python -m pytest $(ARGS)

lint: $(VENV)/$(STAMP)
	$(VENV)/bin/python -m ruff check .
	$(VENV)/bin/python -m mypy

clean:
	rm -rf $(VENV) $(VENV26) output

$(VENV)/$(STAMP): $(DEPENDENCIES)
	@.ci/environment $(VENV) "$(PYTHON)" $(EXTRAS)
	@touch $@

$(VENV26)/$(STAMP): $(DEPENDENCIES) requirements-paddle26.txt
	@.ci/environment $(VENV26) "$(PYTHON)" $(EXTRAS) -c requirements-paddle26.txt
	@touch $@
