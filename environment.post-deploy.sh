#!/usr/bin/env bash
# Snakemake runs this in the environment that `--sdm conda` has just made from environment.yml: it puts ebmpipe itself there, and beside the
# packages what requirements/no-deps.txt lists.
set -euo pipefail

if ! grep -qs '^name = "ebmpipe"' pyproject.toml; then
    echo "ebmpipe is installed from the checkout: start snakemake in its root folder when you use --sdm conda." >&2
    exit 1
fi
python -m pip install --quiet --no-deps --no-build-isolation --editable .
python -m pip install --quiet --no-deps --upgrade --target "$(python -c 'import sys; print(sys.prefix)')/no-deps" -r requirements/no-deps.txt
