"""The check command: a config planned, and every run's method made once, untrained, to hear what only its code knows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ebmpipe.checking import ConfigError, in_words
from ebmpipe.planning import Plan, Run, check_results

#: Generated files below the project's folder that a plan is made from.
SCHEMA, CATALOGUE = "workflow/schemas/config.schema.json", "workflow/schemas/catalogue.json"


def make_plan(config: dict[str, Any], project: Path) -> Plan:
    """The plan of a config, by the catalogue of a checkout.

    Raises:
        FileNotFoundError: if ``project`` is no checkout.
        ConfigError: if the config cannot be run.
    """
    if not (project / CATALOGUE).is_file():
        raise FileNotFoundError(f"{project.absolute()} is not the project's folder: there is no {CATALOGUE} in it; say --project")
    schema, catalogue = (json.loads((project / name).read_text()) for name in (SCHEMA, CATALOGUE))
    plan = Plan(config, schema, catalogue)
    check_results(plan)
    return plan


@dataclass(frozen=True)
class Checked:
    """What the runs of one label on one data set come to.

    Attributes:
        dataset: the data set.
        label: the label.
        seeds: the seeds.
        updates: updates of each run; 0 for controls.
        cost: gradient evaluations of each run; None where it is random.
        parameters: numbers that each run learns.
    """

    dataset: str
    label: str
    seeds: list[int]
    updates: int
    cost: int | None
    parameters: int


def check_runs(plan: Plan) -> Iterator[Checked]:
    """Make the method of every label on every data set, with the untrained ones it builds on, and count its updates.

    Takes nominal data of mean 0 and standard deviation 1, as nothing is prepared yet.

    Raises:
        ConfigError: if a method cannot be made, its energy does not take the data, or its budget or batches do not fit.
    """
    import torch

    from ebmpipe import registry
    from ebmpipe.budget import Budget
    from ebmpipe.config import LongRunConfig, RunConfig, SamplingConfig
    from ebmpipe.data.base import DataSet, KnownLaw
    from ebmpipe.loading import resolve
    from ebmpipe.methods.base import Method, NoEnergy, build, build_sampling_kernel
    from ebmpipe.mixing.chains import courses_of
    from ebmpipe.pricing import updates_for
    from ebmpipe.spec import DataSpec

    raw = Path(plan.raw_data) if plan.raw_data else None
    for dataset, labels in plan.labels.items():
        source = plan.source(dataset)
        entropy = 0.0 if issubclass(source, KnownLaw) else None
        spec = DataSpec(dataset, source.kind, source.shape, 0.0, 1.0, source.levels, source.classes, entropy, Path(dataset))
        built: dict[str, Method] = {}

        def new(run: Run, source: type[DataSet] = source, spec: DataSpec = spec) -> Method:
            config = resolve(RunConfig.model_validate(plan.run_settings(run)), source)
            required = {role: made(other) for role, other in plan.required(run).items()}
            return build(config.method, spec, config.settings, run.seed, network=config.network, required=required)

        def made(run: Run, built: dict[str, Method] = built) -> Method:
            if run.label not in built:
                built[run.label] = new(run)
            return built[run.label]

        for label in labels:
            run = Run(dataset, label, plan.seeds[dataset][0])
            examples, settings = source().sizes_found(raw)["train"], plan.run_settings(run)
            try:
                method = made(run)
                flops, asked = settings["training_flops"], settings["updates"]
                if flops is not None:
                    asked = updates_for(new(run), spec, flops)
                updates = Budget(method, settings["gradient_evaluations"], asked).iterations
                if updates and method.config.batch_size > examples:
                    raise ValueError(f"batch_size {method.config.batch_size} exceeds the {examples} training examples")
                with torch.no_grad():
                    method.energy(torch.zeros(2, *spec.shape))
            except NoEnergy:
                pass
            except Exception as error:
                # Whatever it is, and a member of the user's own may raise anything, it would end every job of this label.
                name = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
                raise ConfigError(f"{label} on {dataset} cannot be trained: {name}{in_words(error)}", ("methods", label)) from error
            learned = sum(parameter.numel() for parameter in method.parameters() if parameter.requires_grad)
            cost = method.gradient_evaluations_at_start * bool(updates) + updates * method.gradient_evaluations_per_step
            yield Checked(dataset, label, plan.seeds[dataset], updates, None if method.random_cost else cost, learned)
        try:
            build_sampling_kernel(SamplingConfig.model_validate(plan.sampling_settings(dataset)), source.kind)
        except ValueError as error:
            raise ConfigError(f"datasets.{dataset}.sampling.kernel: {in_words(error)}", ("datasets", dataset)) from error
        try:
            if plan.runs_long(dataset):
                courses_of(LongRunConfig.model_validate(plan.long_run_settings(dataset)))
        except ValueError as error:
            raise ConfigError(f"datasets.{dataset}.long_run: {in_words(error)}", ("datasets", dataset)) from error
        for name in plan.evaluation_settings(dataset)["metrics"] or ():
            if not registry.load("metrics", name)().applies(spec):
                text = f"datasets.{dataset}.evaluation.metrics: {name} means nothing on {dataset}, which is {spec.kind}"
                raise ConfigError(text, ("datasets", dataset))


def summary(plan: Plan, checked: list[Checked]) -> str:
    """What the config comes to, for people: data sets, their labels with updates and parameters, what is left out.

    Where the config says how many updates are made, their cost is told too.
    """
    lines = []
    for dataset, labels in plan.labels.items():
        watched = "; watched" if plan.watched(dataset) else ""
        lines.append(f"{dataset}: seeds {', '.join(map(str, plan.seeds[dataset]))}{watched}")
        priced = plan.run_settings(Run(dataset, labels[0], 0))["gradient_evaluations"] is None
        for one in checked:
            if one.dataset == dataset:
                what = f"{one.updates:9,} updates, {one.parameters:11,} parameters" if one.updates else f"{'nothing to train':>16}"
                cost = "a random number of" if one.cost is None else f"{one.cost:,}"
                lines.append(f"  {one.label:16} {what}" + f", {cost} gradient evaluations" * (priced and one.updates > 0))
    return "\n".join([*lines, *plan.notices, f"{len(plan.runs)} runs; nothing wrong was found"])
