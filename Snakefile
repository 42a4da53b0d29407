from pathlib import Path

from snakemake.utils import min_version

min_version("9.8")


# A config given with --configfile stands alone; it is not laid over the default one.
if not workflow.config_settings.configfiles:

    configfile: str(Path(workflow.basedir) / "config/config.yaml")


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/sample.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/report.smk"


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
