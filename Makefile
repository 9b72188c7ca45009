# Every command sets up what it needs. `make` alone shows them all.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
PY := .venv/bin/python
RUN := .venv/run-$(shell sha256sum requirements.lock 2>/dev/null | cut -c1-12)
DEV := .venv/dev-$(shell sha256sum requirements-dev.lock 2>/dev/null | cut -c1-12)
# The tests of one module stay together in one process. Most of end-to-end tests is waiting: more processes than cores.
PYTEST := $(PY) -m pytest --dist loadgroup --no-loadscope-reorder --durations 10 --durations-min 1 $(PYTEST_ARGS)
PIP := $(PY) -m pip install -qq --disable-pip-version-check --require-hashes -r
export PYTHONUNBUFFERED := 1
# Tests run as where Python keeps bytecode, its default; and pytest rewrites its assertions once, not in every process.
unexport PYTHONDONTWRITEBYTECODE
ifneq ($(wildcard .env),)
include .env
export
endif

.PHONY: help up watch demo test dashboard logs status down test-unit test-integration test-rest test-all load redrive sweep pause resume new-kind model chaos bench cost destroy outputs check fmt clean walkthrough lock plan-aws deploy-aws drift-aws destroy-aws localstack-image doctor debug invoke

##@ Every day
up: $(RUN) ## start a local AWS and deploy to it (TARGET=embedded or localstack)
	@$(PY) -m bootstrap up
watch: $(RUN) ## run each file of lambdas/ a moment after it is saved, beside `make up` (Ctrl-C ends)
	@$(PY) -m scripts.watch
demo: $(RUN) $(if $(PNG),$(DEV)) ## run 100 tasks to their ends and account for each (COUNT= CONCURRENCY= FAILURE_RATE= SVG=file PNG=file …)
	@$(PY) -m scripts.demo
test: $(DEV) ## unit, contract and end-to-end tests on the embedded AWS; no Docker, no browser
	@echo "Testing units, contracts, and tasks end to end on the embedded AWS"
	@$(PYTEST) -n 6 --on embedded tests/unit tests/contract tests/integration
dashboard: $(RUN) ## open the page of the stack, with its key; prints the address where there is no display (TARGET=aws)
	@$(PY) -m scripts.dashboard $(if $(filter aws,$(TARGET)),--target aws)
logs: $(RUN) ## what the functions say (SINCE=10m TASK=id FN=process-task LEVEL=WARNING FOLLOW=1 JSON=1 TARGET=aws)
	@$(PY) -m scripts.logs $(if $(filter aws,$(TARGET)),--target aws)
status: $(RUN) ## what runs, what is deployed, how much waits
	@$(PY) -m bootstrap status
down: $(RUN) ## stop the local AWS, keep its data
	@$(PY) -m bootstrap down

##@ AWS
plan-aws: $(RUN) ## show account, region and what deploy-aws would change (AWS_PROFILE= AWS_REGION= STAGE=)
	@$(PY) -m bootstrap plan-aws
deploy-aws: $(RUN) ## show account, region and plan, ask, deploy (YES=1 or PLAN=digest; REPLACE=tables, queues, buckets, keys that may go)
	@$(PY) -m bootstrap deploy-aws $(if $(YES),--yes) $(if $(PLAN),--plan $(PLAN)) $(if $(REPLACE),--replace $(REPLACE))
drift-aws: $(RUN) ## compare what is deployed with what is there, property by property
	@$(PY) -m bootstrap drift-aws
destroy-aws: $(RUN) ## delete the app stack (YES=1); the data only with DATA=delete (CONFIRM=stage)
	@$(PY) -m bootstrap destroy-aws $(if $(YES),--yes) $(if $(DATA),--data $(DATA)) $(if $(CONFIRM),--confirm $(CONFIRM))

##@ More
test-unit: $(DEV) ## only the tests that need nothing running (TESTS=file)
	@$(PYTEST) -n 3 $(or $(TESTS),tests/unit)
test-integration: $(DEV) ## tasks end to end on the embedded AWS and on LocalStack by testcontainers (TESTS=file REQUIRE_LOCALSTACK=1)
	@echo "Testing tasks end to end on the embedded AWS and on LocalStack"
	@$(PYTEST) -n 6 $(or $(TESTS),tests/integration)
test-rest: $(DEV) ## what `make test` leaves out: LocalStack, a browser, the inner loop, doctor, fuzz, chaos, AWS stand-ins
	@echo "Testing what \`make test\` leaves out: LocalStack, the browser, every command"
	@$(PYTEST) -n 4 --rest tests
test-all: test test-rest ## every test, on both local AWSs and in a browser
load: $(RUN) ## load test of the running stack (COUNT=100 CONCURRENCY=1)
	@url=$$($(PY) -m bootstrap outputs --url) && $(PY) -m scripts.load_test "$$url" $(or $(COUNT),100) $(or $(CONCURRENCY),1)
redrive: $(RUN) ## replay dead tasks (KIND= ERROR= SINCE=2h UNTIL= TASK=id RATE=10 DRY_RUN=1)
	@$(PY) -m scripts.redrive
sweep: $(RUN) ## heal now what the queue has lost, instead of within a minute (TARGET=aws)
	@$(PY) -m bootstrap sweep $(if $(filter aws,$(TARGET)),--target aws)
pause: $(RUN) ## work on no more tasks; they are accepted and wait (TARGET=aws)
	@$(PY) -m bootstrap pause $(if $(filter aws,$(TARGET)),--target aws)
resume: $(RUN) ## work on tasks again after `make pause` (TARGET=aws)
	@$(PY) -m bootstrap resume $(if $(filter aws,$(TARGET)),--target aws)
new-kind: $(RUN) ## write a new kind of task, its unit test and its end-to-end test (NAME=resize-image)
	@$(PY) -m scripts.new_kind "$(NAME)"
model: $(DEV) ## explore every state in large bounds, then drop each term of each condition (most of an hour)
	@$(PY) -m tests.model
	@$(PY) -m tests.mutation --model
chaos: $(DEV) ## many tasks while everything breaks, each accounted for (COUNT=2000 SEED= CONCURRENCY=8)
	@$(PY) -m tests.chaos
bench: $(DEV) ## this project, the original design and Celery on SQS side by side (RUNS=3 QUICK=1 REPORT=folder)
	@$(PY) -m tests.benchmarks
cost: $(RUN) ## what a month on AWS would cost, counted here (TASKS_PER_MONTH=1000000 FAILURE_RATE=0.3 REGION=eu-west-1)
	@$(PY) -m scripts.cost $(if $(TASKS_PER_MONTH),--tasks-per-month $(TASKS_PER_MONTH)) $(if $(FAILURE_RATE),--failure-rate $(FAILURE_RATE)) $(if $(REGION),--region $(REGION))
outputs: $(RUN) ## API URL, key, table, queues
	@$(PY) -m bootstrap outputs
destroy: $(RUN) ## delete both stacks from the local AWS, data included
	@$(PY) -m bootstrap destroy
check: $(DEV) ## what CI checks: lint, format, types, templates, policies, secrets, compose file
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@$(PY) -m mypy --config-file docker/localstack/plugin/pyproject.toml docker/localstack/plugin/src
	@.venv/bin/cfn-lint bootstrap/storage.yaml bootstrap/app.yaml
	@$(PY) -m bootstrap preflight
	@$(PY) -m scripts.security
	@.venv/bin/actionlint
	@if docker compose version >/dev/null 2>&1; then docker compose config --quiet; else echo "docker compose is not here: docker-compose.yml not checked"; fi
fmt: $(DEV) ## format the code and fix what can be fixed
	@$(PY) -m ruff format . && $(PY) -m ruff check --fix .
debug: $(RUN) ## attach a debugger to a function while its queue or API triggers it (FN=process_task DEBUG_PORT=5678)
	@$(PY) -m scripts.debug
invoke: $(RUN) ## call one function with an event, show answer and log (FN=process_task EVENT=events/process_task.json)
	@$(PY) -m scripts.invoke
doctor: $(RUN) ## probe the local AWS: where it differs from AWS, and what that means here (ONLY=)
	@$(PY) -m bootstrap doctor $(if $(ONLY),--only $(ONLY))
localstack-image: ## build our own LocalStack image: no registry, no docker.sock (TEST=1 runs its tests)
	@$(PYTHON) scripts/localstack_image.py $(if $(TEST),--test)
lock: $(DEV) ## resolve the lock files anew from pyproject.toml
	@$(PY) -m scripts.lock
walkthrough: $(RUN) ## do what README and docs say, in a fresh clone of what is committed (TARGET=localstack)
	@$(PY) -m scripts.walkthrough
clean: $(RUN) ## stop the local AWS and forget everything local
	@$(PY) -m bootstrap clean
help: ## this page
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n\033[1m%s\033[0m\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  \033[36m%-17s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; this is %s. Type: make PYTHON=python3.12 …" % sys.version.split()[0])'
	@$(PYTHON) -m venv .venv
# The `tasks` command, from any folder; of a venv it is the interpreter that counts, not where it is typed.
.venv/bin/tasks: Makefile | $(PY)
	@printf '#!/bin/sh\nTASKS_TYPED="$$0" PYTHONPATH="%s" exec "%s/$(PY)" -P -m scripts.tasks "$$@"\n' "$(CURDIR)" "$(CURDIR)" > $@ && chmod +x $@
$(RUN): | $(PY) .venv/bin/tasks
	@echo "Installing what the commands need (once)" && $(PIP) requirements.lock && touch $@
$(DEV): $(RUN)
	@echo "Installing what the tests need (once)" && $(PIP) requirements-dev.lock && touch $@
