import importlib.util
import subprocess
import sys
from pathlib import Path

import yaml
from snakemake.logging import logger

from ebmpipe.checking import ConfigError
from ebmpipe.config_files import located, read_config
from ebmpipe.validating import make_plan as planned

GIVEN = workflow.config_settings.configfiles or [Path(workflow.basedir) / "config/config.yaml"]


def stop(message):
    """End with a message of ours and nothing else; a WorkflowError would add where in these files it was raised."""
    logger.error(message)
    sys.exit(1)


def lift_default_rate():
    """Take the limit of 100 jobs a second, which Snakemake has by default, off jobs of this machine: they have no need of it.

    Under a limit every round of scheduling sets a clock for another round a second later, and every job that ends while others wait adds a
    clock of its own: after 150 jobs Snakemake 9.27 has 150 threads and takes 7 % of a core, and more with every further one. A limit that was
    asked for stays, and so does that of clusters.
    """
    scheduler = workflow.scheduler
    limit = getattr(scheduler, "job_rate_limiter", None)
    if limit is not None and workflow.local_exec and (limit.max_jobs, limit.timespan) == (100, 1):
        scheduler.job_rate_limiter = None


def read_config_files():
    """The config files, with the line of every key, before Snakemake's more lenient reading."""
    try:
        return [read_config(Path(path)) for path in GIVEN]
    except ConfigError as error:
        stop(f"The config cannot be run. {error}")


def make_plan():
    """The comparison that the config asks for; a bad config ends here, before any job starts."""
    try:
        return planned(config, Path(workflow.basedir))
    except ConfigError as error:
        stop(f"The config cannot be run. {located(error, CONFIG_FILES, workflow.config_settings.config)}")


def check_runs():
    """Let a process of its own make every run's method, untrained: what only their code knows of the config is said before any job."""
    if importlib.util.find_spec("torch") is None:
        logger.warning("torch is not installed beside snakemake, so what only the code of a method knows of the config is left to the jobs")
        return
    command = [sys.executable, "-m", "ebmpipe.cli", "check", "-", "--project", workflow.basedir]
    done = subprocess.run(command, input=yaml.safe_dump(config, sort_keys=False), capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().removeprefix("ebmpipe: ")
        if done.returncode < 0:
            said = f"Making its methods was ended by signal {-done.returncode}: is there enough memory for its networks? {said}"
        names = ", ".join(file.name for file in CONFIG_FILES)
        stop(f"The config ({names}) cannot be run. {said}")


CONFIG_FILES = read_config_files()

# A config given with --configfile stands alone; it is not laid over the default one.
if not workflow.config_settings.configfiles:

    configfile: str(GIVEN[0])


PLAN = make_plan()
PLAN.export_folders()
for name in PLAN.catalogue["figures"]:
    if not (caption := Path(workflow.basedir) / f"workflow/report/{name}.rst").is_file():
        stop(f"The figure {name!r} has no caption: write one or two sentences into {caption}")
for notice in PLAN.notices:
    logger.warning(notice)
