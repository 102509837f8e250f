# roboref on a machine without a ROS distribution. On a distribution: rosdep install, colcon build (docs/installation.md).
PYTHON ?= python3
SHELL := /bin/bash
RUN := . ./env.sh &&
# Arguments: make demo ARGS="--seed 7", make bench NAME=lift, make test ARGS="-k camera".
ARGS ?=
NAME ?= pointing lift ingest e2e

.PHONY: help setup demo test bench soak lint format clean distclean

help:
	@echo 'make setup     virtual environment, ROS 2 wheels, colcon build (repeat it after a change of messages)'
	@echo 'make demo      simulated cell and refer node over DDS, one question each way   [ARGS="--seed 7 --instruction ..."]'
	@echo 'make test      every test, linters and types among them                        [ARGS="-k camera"]'
	@echo 'make bench     the benchmarks, one JSON line each                              [NAME="pointing lift ingest e2e"]'
	@echo 'make soak      half an hour of questions with faults at random                   [ROBOREF_SOAK_S=600 ROBOREF_SOAK_SEED=7]'
	@echo 'make lint      ruff (with the rules of bandit), formatting, mypy, known vulnerabilities;  make format applies the formatting'
	@echo 'make clean     removes what was built;  make distclean also the virtual environment'

setup:
	@bash setup_tools/setup.sh $(PYTHON)

demo: setup
	@$(RUN) roboref demo $(ARGS)

test: setup
	@$(RUN) bash setup_tools/test.sh $(ARGS)

bench: setup
	@$(RUN) for name in $(NAME); do roboref bench $$name --json $(ARGS) || exit; done

soak: setup
	@$(RUN) ROBOREF_SOAK_S=$${ROBOREF_SOAK_S:-1800} python -m pytest test/faults/test_faults_soak.py -s -n 0 $(ARGS)

lint: setup
	@$(RUN) status=0; ruff check || status=1; ruff format --check || status=1; mypy || status=1; python setup_tools/audit_packages.py || status=1; exit $$status

format: setup
	@$(RUN) ruff format && ruff check --fix

clean:
	rm -rf .cache/ros .cache/setup/*.log .cache/setup/underlay.stamp .cache/setup/roboref.stamp build dist *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean
	rm -rf .venv .cache/setup .cache/test_packages
