"""Which runs follow from a config, and what a bad one is told."""

import copy
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from spelt_out import spelt_out, unsaid

from ebmpipe import catalogue as catalogue_module
from ebmpipe import config as config_module
from ebmpipe.config import EvaluationConfig, RunConfig, SamplingConfig
from ebmpipe.planning import ConfigError, Plan, Run, check_results, merged

ROOT = Path(__file__).parents[2]
SCHEMAS = ROOT / "workflow/schemas"
SCHEMA, CATALOGUE = (json.loads((SCHEMAS / name).read_text()) for name in ("config.schema.json", "catalogue.json"))
CONFIGS = sorted([*ROOT.glob("config/**/*.yaml"), *ROOT.glob("tests/workflow/*.yaml")])


default = spelt_out


def plan(config):
    return Plan(config, SCHEMA, CATALOGUE)


def test_schema_and_catalogue_are_up_to_date():
    for name, text in catalogue_module.texts().items():
        assert (ROOT / name).read_text() == text, f"{name} is stale: run `ebmpipe schema`"


def test_the_reference_has_every_key_and_every_name():
    sections = dict(re.findall(r"^##+ (.+)\n((?:(?!##).*\n)*)", (ROOT / "config/README.md").read_text(), re.MULTILINE))
    models = {model.__name__: model for model in config_module.Model.__subclasses__() if model.__module__ == "ebmpipe.config"}
    models = {name: model.model_fields for name, model in models.items() if name not in ("RunConfig", "KindDefaults")}
    assert {"WorkflowConfig", "DatasetConfig", "OptimiserConfig", "KernelConfig"} <= set(models)
    inherited = set(config_module.MethodConfig.model_fields)
    models |= {name: set(entry["schema"]["properties"]) - inherited for name, entry in CATALOGUE["methods"].items()}
    models |= {name: entry["schema"]["properties"] for name, entry in (CATALOGUE["networks"] | CATALOGUE["samplers"]).items()}
    models |= {"Data sets": CATALOGUE["datasets"], "Metrics": CATALOGUE["metrics"], "Feature networks": CATALOGUE["features"]}
    for section, keys in models.items():
        for key in keys:
            assert f"| `{key}` |" in sections[section], (section, key)
    assert "`learning_rate` | number, > 0" in sections["OptimiserConfig"] and "`step_size` | number, > 0" in sections["ula"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_config_of_the_project_is_valid(path):
    made = plan(yaml.safe_load(path.read_text()))
    assert made.runs
    for run in made.runs:
        RunConfig.model_validate(made.run_settings(run))
    for dataset in made.datasets:
        SamplingConfig.model_validate(made.sampling_settings(dataset))
        EvaluationConfig.model_validate(made.evaluation_settings(dataset))


def test_the_default_compares_every_method_on_eight_gaussians_or_on_ising_on_two_seeds():
    made = plan(default())
    of_densities = {name for name, entry in CATALOGUE["methods"].items() if "density" in entry["kinds"]}
    # Of the fields of particle dynamics the leading ones are there, and of generators alone `vae`; full.yaml has all.
    assert of_densities - set(made.labels["eight_gaussians"]) == {"pd_gamma", "pd_delta", "pd_stein", "generator_abp"}
    assert set(made.labels["ising"]) >= {name for name, entry in CATALOGUE["methods"].items() if "binary" in entry["kinds"]}
    assert len(made.seeds["eight_gaussians"]) == 2


def test_planning_imports_no_torch():
    code = "import ebmpipe.planning, ebmpipe.cli, sys; assert not {'torch', 'pandas', 'matplotlib', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_method_has_the_same_network_and_budget():
    made = plan(default())
    settings = [made.run_settings(Run("eight_gaussians", label, 0)) for label in made.labels["eight_gaussians"]]
    for key in ("network", "gradient_evaluations"):
        assert len({json.dumps(s[key], sort_keys=True) for s in settings}) == 1


def test_what_is_not_said_is_as_the_package_says():
    bare, spelt_out = plan(unsaid()), plan(default())
    assert "defaults" not in unsaid() and default()["defaults"]["images"]["settings"]["dsm"] == {"sigma": 0.3}
    assert bare.runs == spelt_out.runs
    for run in bare.runs:
        assert bare.run_settings(run) == spelt_out.run_settings(run)
    for dataset in bare.datasets:
        assert bare.sampling_settings(dataset) == spelt_out.sampling_settings(dataset)
    # An older catalogue, without any of it, gives the same plan to a config that says all.
    older = copy.deepcopy(CATALOGUE)
    for method in older["methods"].values():
        method["settings_by_kind"] = {}
    for dataset in older["datasets"].values():
        dataset["starting_point"] = {}
    for kind in older["defaults"]["kinds"].values():
        kind |= {"gradient_evaluations": 1, "sampling": SamplingConfig().model_dump(mode="json")}
    assert [Plan(default(), SCHEMA, older).run_settings(run) for run in bare.runs] == [bare.run_settings(run) for run in bare.runs]


def test_what_is_said_wins_over_what_the_package_says():
    config = unsaid()
    config["methods"]["pcd"] = {"settings": {"chains": 500, "kernel": {"settings": {"step_size": 0.1}}}}
    config["methods"]["own_kernel"] = {"method": "pcd", "settings": {"kernel": {"name": "mala", "settings": {"step_size": 0.3}}}}
    config["defaults"] = {"images": {"gradient_evaluations": 3_000_000, "network": {"settings": {"depth": 3}}, "sampling": {"n": 5}}}
    config["datasets"]["digits"]["labels"] += ["own_kernel"]
    made = plan(config)
    settings = made.run_settings(Run("digits", "pcd", 0))
    assert settings["settings"]["chains"] == 500 and settings["settings"]["data_noise"] == 0.3
    assert settings["settings"]["kernel"] == {"name": "ula", "settings": {"step_size": 0.1}}, "images' own but for what was said"
    assert settings["gradient_evaluations"] == 3_000_000
    assert settings["network"]["settings"] | {"width": 256, "depth": 3} == settings["network"]["settings"], "the width is that of digits"
    assert made.sampling_settings("digits")["n"] == 5 and made.sampling_settings("digits")["denoise"]
    other = made.run_settings(Run("digits", "own_kernel", 0))["settings"]
    assert other["kernel"] == {"name": "mala", "settings": {"step_size": 0.3}} and other["data_noise"] == 0.3
    assert made.run_settings(Run("eight_gaussians", "pcd", 0))["settings"]["data_noise"] == 0, "what is of images is of no density"


def test_a_default_of_a_kind_reaches_the_runs_on_that_kind_only():
    newer = copy.deepcopy(CATALOGUE)
    newer["methods"]["dsm"]["settings_by_kind"]["images"]["sigma"] = 0.4
    before, after = plan(unsaid()), Plan(unsaid(), SCHEMA, newer)
    changed = {(run.dataset, run.label) for run in before.runs if before.run_settings(run) != after.run_settings(run)}
    assert changed == {("digits", "dsm")}


def test_a_change_reaches_only_the_runs_it_concerns():
    before, config = plan(default()), default()
    config["methods"]["pcd"] = {"settings": {"steps": 7}}
    after = plan(config)
    changed = {run for run in before.runs if before.run_settings(run) != after.run_settings(run)}
    assert {run.label for run in changed} == {"pcd"}
    config = default()
    config["seeds"] = [0, 1, 2]
    assert set(plan(config).runs) >= set(before.runs)
    config["datasets"]["digits"]["sampling"] = {"steps": 3}
    assert all(plan(config).run_settings(run) == before.run_settings(run) for run in before.runs)


def test_a_revision_or_default_is_part_of_a_run():
    newer = copy.deepcopy(CATALOGUE)
    newer["methods"]["pcd"]["revision"] += 1
    newer["methods"]["nce"]["defaults"]["ratio"] += 1
    before, after = plan(default()), Plan(default(), SCHEMA, newer)
    changed = {run.label for run in before.runs if before.run_settings(run) != after.run_settings(run)}
    assert changed == {"pcd", "nce", "jem"}, "jem is a label of pcd"


def test_members_of_the_users_own_are_named_by_import_path(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("revision = 1")
    monkeypatch.syspath_prepend(str(tmp_path))
    config = default()
    config["methods"]["own"] = {"method": "mine:Method", "settings": {"anything": 1}}
    config["datasets"], config["compositions"] = {"eight_gaussians": {"network": {"name": "mine:Network", "settings": {"size": 3}}}}, {}
    settings = plan(config).run_settings(Run("eight_gaussians", "own", 0))
    assert settings["network"] == {"name": "mine:Network", "settings": {"size": 3}}
    before = settings["revisions"]["source:mine"]
    (tmp_path / "mine.py").write_text("revision = 2")
    assert plan(config).run_settings(Run("eight_gaussians", "own", 0))["revisions"]["source:mine"] != before


def test_settings_are_laid_over_each_other():
    config = default()
    config["methods"]["slow"] = {"method": "pcd", "settings": {"steps": 3, "optimiser": {"learning_rate": 0.1}}}
    config["datasets"]["eight_gaussians"] = {"settings": {"slow": {"steps": 4}}}
    settings = plan(config).run_settings(Run("eight_gaussians", "slow", 0))["settings"]
    assert settings["steps"] == 4
    assert settings["optimiser"]["learning_rate"] == 0.1
    assert settings["optimiser"]["schedule"] == "cosine"


def test_a_member_of_another_name_replaces_the_old_one_whole():
    assert merged({"k": {"name": "a", "settings": {"x": 1}}}, {"k": {"name": "b", "settings": {"y": 2}}}) == {
        "k": {"name": "b", "settings": {"y": 2}}
    }
    assert merged({"k": {"name": "a", "x": 1}}, {"k": {"x": 2}}) == {"k": {"name": "a", "x": 2}}


def hidden(dataset, below, above):
    """A mistake in the defaults of a kind that the data set's own settings hide."""
    return lambda c: c.update(defaults={"density": below}, datasets={dataset: above})


def kernel(name, **settings):
    return {"kernel": {"name": name, "settings": settings}}


BAD = [
    (
        hidden("two_moons", {"network": {"name": "mlp", "settings": {"width": 0}}}, {"network": {"settings": {"width": 5}}}),
        "width: 0 is below",
    ),
    (hidden("two_moons", {"network": {"name": "mpl"}}, {"network": {"name": "mlp"}}), r"defaults\.density\.network\.name: 'mpl'.*'mlp'"),
    (
        hidden("two_moons", {"network": {"settings": {"gain": "x"}}}, {"network": {"settings": {"gain": 2}}}),
        r"defaults\.density\.network.*gain",
    ),
    (
        hidden("two_moons", {"sampling": kernel("ula", step_size=-1)}, {"sampling": kernel("ula", step_size=0.1)}),
        r"defaults\.density\.sampling\.kernel\.settings\.step_size: -1",
    ),
    (
        hidden("two_moons", {"settings": {"pcd": kernel("ula", stepsize=1)}}, {"settings": {"pcd": kernel("mala", step_size=0.1)}}),
        r"defaults\.density\.settings\.pcd\.kernel\.settings: 'stepsize'.*Did you mean 'step_size'",
    ),
    (lambda c: c.update(sede=[1]), r"'sede'.*Did you mean 'seeds'"),
    (lambda c: c["datasets"].update(eight_gausians={}), r"datasets: 'eight_gausians'.*Did you mean 'eight_gaussians'"),
    (lambda c: c["methods"].update(pdc={}), r"methods\.pdc: 'pdc'.*Did you mean 'pcd'"),
    (lambda c: c["methods"].update(mine={"method": "nope"}), r"methods\.mine\.method: 'nope' is unknown.*Valid: "),
    (lambda c: c["methods"]["pcd"].update(settings={"stepz": 3}), r"methods\.pcd\.settings.*'stepz'.*Did you mean 'steps'"),
    (lambda c: c["methods"]["pcd"].update(settings={"steps": 0}), r"methods\.pcd\.settings.*steps.*minimum"),
    (lambda c: c["methods"]["pcd"].update(settings={"kernel": {"name": "ulla"}}), r"kernel\.name: 'ulla'.*Did you mean 'ula'"),
    (lambda c: c["methods"]["pcd"].update(settings={"kernel": {"name": "mala", "settings": {"stepsize": 1}}}), r"Did you mean 'step_size'"),
    (lambda c: c["datasets"].update(digits={"labels": ["nada"]}), r"datasets\.digits\.labels: 'nada'"),
    (lambda c: c["datasets"].update(digits={"settings": {"pdc": {}}}), r"datasets\.digits\.settings: 'pdc'.*Did you mean 'pcd'"),
    (lambda c: c["methods"].pop("nce"), r"defaults\.density\.settings: 'nce' is unknown"),
    (lambda c: c["methods"].pop("dsm"), r"datasets\.digits\.labels: 'dsm' is unknown"),
    (lambda c: c["datasets"].update(digits={"network": {"name": "mpl"}}), r"network\.name: 'mpl'.*Did you mean 'mlp'"),
    (lambda c: c["datasets"].update(digits={"sampling": {"step": 3}}), r"sampling: 'step'.*Did you mean 'steps'"),
    (lambda c: c["datasets"].update(digits={"evaluation": {"metrics": ["nmd"]}}), r"evaluation\.metrics: 'nmd'"),
    (lambda c: c.update(seeds=[-1]), r"seeds\.0: -1"),
    (lambda c: c.update(seeds=[0, 0]), r"seeds: \[0, 0\] has non-unique"),
    (lambda c: c["datasets"].update(digits={"seeds": [1, 1]}), r"datasets\.digits\.seeds.*non-unique"),
    (lambda c: c["methods"].update(DSM={"method": "dsm"}), r"methods: 'DSM' is no id: lower-case"),
    (lambda c: c["datasets"].update({"my-set": {}}), r"datasets: 'my-set' is no id"),
    (lambda c: c["methods"]["pcd"].update(settings={"kernel": {"name": "ula", "settings": {"step_size": -1}}}), r"step_size: -1"),
    (lambda c: c["methods"]["pcd"].update(settings={"kernel": {"name": "ula", "settings": {}}}), r"'step_size' is a required"),
    (lambda c: c["methods"]["pcd"].update(settings={"kernel": {"name": "hmc"}}), r"'step_size' is a required"),
    (lambda c: c["methods"]["pcd"].update(settings={"optimiser": {"betas": [0.9, 5]}}), r"betas\.1: 5"),
    (lambda c: c["methods"].update(mine={"method": "nowhere_at_all:Mine"}), r"methods\.mine\.method: there is no module 'nowhere_at_all'"),
    (lambda c: c["datasets"].update(digits={"labels": []}), r"datasets\.digits\.labels: must not be empty"),
    (lambda c: c["datasets"].update(digits={"labels": ["dsm", "dsm"]}), r"datasets\.digits\.labels.*non-unique"),
    (
        lambda c: c["datasets"]["digits"].update(settings={"nce": {}}),
        r"digits\.settings: 'nce' does not run on digits, only data, noise, pcd",
    ),
    (lambda c: c["defaults"]["images"]["settings"].update(nce={}), r"defaults\.images\.settings: 'nce' runs on no data set of this kind"),
    (lambda c: c["datasets"].update(eight_gaussians={"network": {"name": "conv"}}), r"'conv' takes images; eight_gaussians is density"),
    (lambda c: c.update(results="~/here"), r"results: '~/here' cannot be the folder"),
    (lambda c: c.update(results="{seed}"), r"results: '\{seed\}' cannot be the folder"),
    (lambda c: c["methods"].update({"pcd ": {"method": "pcd"}}), r"methods: the key 'pcd ' has blanks around it"),
    (lambda c: c["methods"].update({True: {}}), r"the key true is not text.*YAML reads on, off, yes and no as true and false"),
    (lambda c: c["defaults"]["density"].update(gradient_evaluations="1e6"), r"gradient_evaluations: expected an integer.*write 1000000"),
    (
        lambda c: c["methods"]["pcd"].update(settings={"data_noise": "1e-3"}),
        r"data_noise: expected a number, got text '1e-3'; write 1\.0e-3",
    ),
    (lambda c: c["methods"]["pcd"].update(settings={"data_noise": True}), r"data_noise: expected a number, got true"),
    (lambda c: c["datasets"]["digits"].update(labels="pcd"), r"labels: expected a list or nothing.*write \[pcd\]"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_a_bad_config_is_told_what_is_wrong(change, message):
    config = default()
    change(config)
    with pytest.raises(ConfigError, match=message):
        plan(config)


def test_a_setting_is_blamed_on_the_layer_that_it_came_from():
    def blamed(change):
        config = default()
        change(config)
        with pytest.raises(ConfigError) as caught:
            plan(config)
        assert str(caught.value).startswith(".".join(caught.value.key[:-1]))
        return ".".join(caught.value.key)

    assert blamed(lambda c: c["defaults"]["density"]["sampling"].update(stepz=1)) == "defaults.density.sampling.stepz"
    assert blamed(lambda c: c["datasets"]["digits"]["sampling"].update(stepz=1)) == "datasets.digits.sampling.stepz"
    assert blamed(lambda c: c["defaults"]["density"]["settings"].update(pcd={"steps": 0})) == "defaults.density.settings.pcd.steps"
    assert blamed(lambda c: c["datasets"]["digits"].update(settings={"pcd": {"steps": 0}})) == "datasets.digits.settings.pcd.steps"
    assert blamed(lambda c: c["methods"].update(pcd={"settings": {"steps": 0}})) == "methods.pcd.settings.steps"
    # Hidden by a later layer, a mistake is still one.
    hidden = {"settings": {"kernel": 7}}
    assert blamed(lambda c: c["methods"].update(pcd=hidden)) == "methods.pcd.settings.kernel"
    # The name of a kernel from one layer, and settings that it does not know from another.
    wide = {"kernel": {"settings": {"noise_scal": 1}}}
    assert blamed(lambda c: c["methods"].update(pcd={"settings": wide})) == "methods.pcd.settings.kernel.settings.noise_scal"
    network = {"settings": {"widht": 1}}
    assert blamed(lambda c: c["defaults"]["density"].update(network=network)) == "defaults.density.network.settings.widht"
    assert blamed(lambda c: c["datasets"].update(eight_gaussians={"network": network})) == "datasets.eight_gaussians.network.settings.widht"
    # What no run uses is checked too: the defaults of a kind without data sets, a label that runs nowhere.
    assert blamed(lambda c: c["defaults"].update(vectors={"sampling": {"stepz": 1}})) == "defaults.vectors.sampling.stepz"

    def unused(config):
        config["datasets"] = {"digits": {"labels": ["dsm", "pcd"]}}
        config["defaults"] = {"images": {"settings": {}}}
        config["methods"]["nce"] = {"settings": {"ratoi": 1}}

    assert blamed(unused) == "methods.nce.settings.ratoi"


def test_nothing_after_a_key_is_an_empty_mapping():
    bare = {"methods": {"pcd": None, "dsm": {"settings": None, "requires": None}}, "datasets": {"two_moons": None}, "defaults": None}
    empty = {"methods": {"pcd": {}, "dsm": {}}, "datasets": {"two_moons": {}}}
    assert [plan(bare).run_settings(run) for run in plan(bare).runs] == [plan(empty).run_settings(run) for run in plan(empty).runs]
    with pytest.raises(ConfigError, match="methods: expected a mapping, got nothing"):
        plan({"methods": None, "datasets": {"two_moons": {}}})


def test_a_method_is_not_asked_for_data_that_it_does_not_take():
    catalogue = copy.deepcopy(CATALOGUE)
    catalogue["methods"]["nce"]["kinds"] = ["density"]
    config = default() | {"defaults": {}, "compositions": {}}
    config["datasets"] = {"eight_gaussians": {}, "digits": {}}
    made = Plan(config, SCHEMA, catalogue)
    assert "nce" in made.labels["eight_gaussians"] and "nce" not in made.labels["digits"]
    wrong = [
        (
            {"datasets": {"digits": {"labels": ["dsm", "nce"]}}},
            "datasets.digits.labels: 'nce' is nce, which takes density; digits is images",
        ),
        ({"defaults": {"images": {"labels": ["nce"]}}}, "defaults.images.labels: 'nce' is nce, which takes density; digits is images"),
        ({"defaults": {"images": {"settings": {"nce": {}}}}}, "defaults.images.settings: 'nce' takes density, not images"),
        ({"datasets": {"digits": {"settings": {"nce": {}}}}}, "datasets.digits.settings: 'nce' does not run on digits, only data"),
        ({"methods": {"nce": {}}}, "datasets.digits: none of the labels can run on it: nce do not take images"),
    ]
    for change, message in wrong:
        with pytest.raises(ConfigError) as caught:
            Plan(config | change, SCHEMA, catalogue)
        assert str(caught.value).startswith(message)


def test_a_label_that_trains_a_classifier_runs_where_there_are_labels_of_classes():
    jem = {"method": "pcd", "settings": {"cross_entropy": 1.0}}
    methods = {"pcd": {}, "jem": jem}
    made = plan({"methods": methods, "datasets": {"two_moons": {}, "digits": {}}})
    assert made.labels == {"two_moons": ["pcd"], "digits": ["pcd", "jem"]}
    assert made.run_settings(Run("digits", "jem", 0))["settings"]["cross_entropy"] == 1.0
    # Off on one data set, or on for a kind: the last word counts.
    off = {"settings": {"jem": {"cross_entropy": None}}}
    assert plan({"methods": methods, "datasets": {"two_moons": off}}).labels["two_moons"] == ["pcd", "jem"]
    by_kind = {"images": {"settings": {"pcd": {"cross_entropy": 2.0}}}}
    assert plan({"methods": {"pcd": {}}, "defaults": by_kind, "datasets": {"two_moons": {}, "digits": {}}}).labels["two_moons"] == ["pcd"]
    lacks = r"'jem' trains a classifier \(cross_entropy is set\), and two_moons has no labels of classes"
    wrong = [
        ({"two_moons": {"labels": ["pcd", "jem"]}}, rf"datasets\.two_moons\.labels: {lacks}", ("datasets", "two_moons", "labels", 1)),
        (
            {"two_moons": {"settings": {"jem": {"steps": 3}}}},
            rf"two_moons\.settings: {lacks}",
            ("datasets", "two_moons", "settings", "jem"),
        ),
    ]
    for datasets, message, key in wrong:
        with pytest.raises(ConfigError, match=message) as caught:
            plan({"methods": methods, "datasets": datasets})
        assert caught.value.key == key
    with pytest.raises(ConfigError, match=rf"two_moons: none of the labels can run on it: {lacks}"):
        plan({"methods": {"jem": jem}, "datasets": {"two_moons": {}}})
    on_images = {name: entry for name, entry in CATALOGUE["methods"].items() if "images" in entry["kinds"]}
    for name in (name for name, entry in on_images.items() if "cross_entropy" not in entry["defaults"]):
        with pytest.raises(ConfigError, match="'cross_entropy'"):
            plan({"methods": {name: {"settings": {"cross_entropy": 1.0}}}, "datasets": {"digits": {}}})


MOONS = {"methods": {"pcd": {}, "dsm": {}}, "datasets": {"two_moons": {}, "eight_gaussians": {"seeds": [1, 2]}, "digits": {}}}


def test_compositions_are_of_runs_that_there_are():
    given = {"both": {"of": ["two_moons/pcd", "eight_gaussians/dsm"], "by": "difference", "weight": 0.1}}
    made = plan(MOONS | {"seeds": [0, 1], "compositions": given})
    assert made.compositions == {"both": given["both"] | {"seeds": [1]}}, "the seeds that both have"
    assert "compositions" in made.overview_figures() and "compositions" not in plan(MOONS).overview_figures()
    assert "one_gradient" in plan(MOONS).overview_figures(), "theorems need no run"
    SamplingConfig.model_validate(made.composition_sampling())
    assert {"composing", "metric:mmd", "sampler:mala"} <= set(made.composition_revisions())
    wrong = [
        ({"of": ["two_moons/pcd", "to_moons/pcd"]}, r"compositions\.both\.of: 'to_moons/pcd'.*Did you mean 'two_moons/pcd'", ("of", 1)),
        ({"of": ["two_moons/pdc", "two_moons/pcd"]}, r"compositions\.both\.of: 'two_moons/pdc'.*Did you mean 'two_moons/pcd'", ("of", 0)),
        ({"of": ["two_moons/pcd", "digits/pcd"]}, r"only densities in the plane are composed; digits is images", ("of", 1)),
        ({"of": ["two_moons/pcd"]}, r"compositions\.both\.of", None),
        ({"of": ["two_moons", "eight_gaussians"]}, r"compositions\.both\.of", None),
        ({"by": "sum"}, r"compositions\.both\.by: 'sum'", None),
        ({"weight": 0}, r"compositions\.both\.weight: 0", None),
        ({"by": "mixture", "weight": 1.5}, r"both\.weight: in a mixture it is the share of the second law, below 1, not 1\.5", ("weight",)),
        ({"weigth": 1}, r"compositions\.both: 'weigth'.*Did you mean 'weight'", None),
    ]
    for change, message, key in wrong:
        with pytest.raises(ConfigError, match=message) as caught:
            plan(MOONS | {"seeds": [0, 1], "compositions": {"both": given["both"] | change}})
        assert key is None or caught.value.key == ("compositions", "both", *key)
    with pytest.raises(ConfigError, match=r"compositions\.both: two_moons/pcd and eight_gaussians/dsm have no seed in common"):
        plan(MOONS | {"seeds": [0], "compositions": given})


def test_the_figure_of_classifiers_is_drawn_where_there_are_some():
    made = plan({"methods": {"pcd": {}}, "datasets": {"digits": {}}})
    assert "calibration" not in made.figures("digits") and "samples" in made.figures("digits")
    assert "calibration" in plan({"methods": {"pcd": {"settings": {"cross_entropy": 1}}}, "datasets": {"digits": {}}}).figures("digits")
    assert "calibration" in plan(default()).figures("digits")


def test_the_figure_of_interpolation_is_planned_where_a_label_has_a_latent_space():
    methods = {"pcd": {}, "flow": {}, "tilt": {"method": "neural_transport", "requires": {"backbone": "flow"}}}
    made = plan({"methods": methods, "datasets": {"rings": {}, "two_moons": {"labels": ["pcd", "flow"]}}})
    assert "interpolation" in made.figures("rings") and "interpolation" not in made.figures("two_moons")


def test_figures_of_generators_are_drawn_where_there_is_one():
    methods = {"pcd": {}, "vae": {}, "dual_mcmc": {}}
    labels = {"rings": ["pcd", "dual_mcmc"], "two_moons": ["pcd", "vae"], "pinwheel": ["pcd"]}
    made = plan({"methods": methods, "datasets": {name: {"labels": found} for name, found in labels.items()}})
    there = {name: {"reconstruction", "sample_revision"} & set(made.figures(name)) for name in labels}
    assert there == {"rings": {"reconstruction", "sample_revision"}, "two_moons": {"reconstruction"}, "pinwheel": set()}


def test_published_numbers_are_asked_for_where_they_are_of_what_is_measured():
    """Likelihoods of weights in training only where these are written down."""
    methods = {"pcd": {}}
    assert plan({"methods": methods, "datasets": {"eight_gaussians": {}, "rings": {}}}).published == []
    assert plan({"methods": methods, "datasets": {"eight_gaussians": {"watch": True}}}).published == ["eight_gaussians"]
    assert plan({"methods": methods, "datasets": {"cifar10": {}, "mnist": {}}}).published == ["cifar10"]


def test_kernels_in_latent_space_are_checked_as_others_are():
    made = plan(
        {"methods": {"pcd": {}}, "datasets": {"rings": {"long_run": {"latent_kernels": [{"name": "nuts", "settings": {"step_size": 1}}]}}}}
    )
    assert made.long_run_settings("rings")["latent_kernels"][0]["settings"] == {"step_size": 1}
    assert "sampler:nuts" in made.long_run_revisions("rings")
    for wrong in ({"name": "hcm"}, {"name": "hmc", "settings": {"step": 1}}):
        with pytest.raises(ConfigError, match="latent_kernels"):
            plan({"methods": {"pcd": {}}, "datasets": {"rings": {"long_run": {"latent_kernels": [wrong]}}}})


def test_labels_can_be_left_without_long_runs():
    methods = {"flow": {}, "pcd": {}, "cd": {}}

    def made(labels):
        return plan({"methods": methods, "datasets": {"rings": {"labels": ["flow", "pcd"], "long_run": {"labels": labels}}}})

    assert [made(["pcd"]).runs_long("rings", label) for label in ("flow", "pcd")] == [False, True]
    assert made(None).runs_long("rings", "flow") and made(["pcd"]).runs_long("rings")
    assert not made(["cd"]).runs_long("rings") and not made([]).runs_long("rings")
    # Chains of those that have them are not made anew when others are left out.
    assert made(["pcd"]).long_run_settings("rings") == made(None).long_run_settings("rings")
    with pytest.raises(ConfigError, match=r"'pdc' is unknown\. Did you mean 'pcd'"):
        made(["pdc"])


def test_the_figure_of_likelihoods_is_planned_where_they_are_watched():
    made = plan({"methods": {"pcd": {}}, "datasets": {"two_moons": {"watch": True}, "rings": {}, "digits": {}}})
    assert ["likelihood_curves" in made.figures(name) for name in made.datasets] == [True, False, False]
    assert set(made.figures("two_moons")) == {*made.figures("rings"), "likelihood_curves"}


@pytest.mark.parametrize(("results", "works"), [("new/deep", True), (".", True), ("file", False), ("file/below", False)])
def test_a_folder_of_results_that_cannot_be_made_is_refused(tmp_path, monkeypatch, results, works):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    made = plan(default() | {"results": results})
    if works:
        check_results(made)
    else:
        with pytest.raises(ConfigError, match=f"results: {results} cannot be written .*Not a directory"):
            check_results(made)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_raw_files_that_are_nowhere(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("EBMPIPE_DATA_DIR", raising=False)
    config = {"methods": {"dsm": {}}, "raw_data": "/nowhere", "datasets": {"mnist": {}, "digits": {}}}
    # What can be downloaded will be, unless it is optional.
    assert plan(config).left_out == {}
    config["datasets"]["mnist"] = {"optional": True}
    assert "/nowhere/mnist" in plan(config).left_out["mnist"] and "`ebmpipe prepare --dataset mnist` downloads" in plan(config).notices[0]
    here = tmp_path / "ebmpipe" / CATALOGUE["datasets"]["mnist"]["raw_folders"][0]
    here.mkdir(parents=True)
    for file in CATALOGUE["datasets"]["mnist"]["raw_choices"][0]:
        (here / f"{file}.gz").touch()
    assert plan(config).left_out == {}
    catalogue = copy.deepcopy(CATALOGUE)
    catalogue["datasets"]["mnist"] |= {"downloads": False, "raw_choices": [["elsewhere"]]}
    config["datasets"]["mnist"] = {}
    with pytest.raises(ConfigError, match=r"datasets\.mnist: elsewhere is in none of /nowhere.*optional: true"):
        Plan(config, SCHEMA, catalogue)


def test_stages_have_revisions():
    newer = copy.deepcopy(CATALOGUE)
    for name in ("sampling_revision", "evaluation_revision"):
        newer[name] += 1
    before, after = plan(default()), Plan(default(), SCHEMA, newer)
    assert before.sampling_revisions("digits") != after.sampling_revisions("digits")
    assert before.evaluation_revisions("digits") != after.evaluation_revisions("digits")
    assert all(before.run_settings(run) == after.run_settings(run) for run in before.runs)
