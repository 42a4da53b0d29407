from snakemake.utils import min_version

min_version("9.8")


include: "workflow/rules/config.smk"
include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/sample.smk"
include: "workflow/rules/long_run.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/compositions.smk"
include: "workflow/rules/theorems.smk"


# Runs before the first job of a real run, and only if there is one.
onstart:
    check_runs()
    lift_default_rate()


rule all:
    default_target: True
    input:
        every_table(),
        every_figure(),
    localrule: True


rule tables:
    input:
        every_table(),
    localrule: True


rule figures:
    input:
        every_figure(),
    localrule: True
