# The report's first screen; the workflow makes it from its own tables and figure.
report: str(Path(f"{RESULTS}/report/overview.rst").absolute())


rule collect:
    input:
        run_files("metrics.json"),
    output:
        metrics=report(
            f"{RESULTS}/tables/metrics.csv",
            caption=caption("table_metrics"),
            category="Tables",
            labels={"table": "every number"},
        ),
        summary=report(
            f"{RESULTS}/tables/summary.csv",
            caption=caption("table_summary"),
            category="Tables",
            labels={"table": "mean ± sd over seeds"},
        ),
        markdown=f"{RESULTS}/tables/summary.md",
        latex=f"{RESULTS}/tables/summary.tex",
        compute=report(
            f"{RESULTS}/tables/compute.csv",
            caption=caption("table_compute"),
            category="Tables",
            labels={"table": "cost of every run"},
        ),
        protocols=f"{RESULTS}/tables/protocols.csv",
        controls=report(
            f"{RESULTS}/tables/controls.csv",
            caption=caption("table_controls"),
            category="Tables",
            labels={"table": "controls first and last"},
        ),
        paired=report(
            f"{RESULTS}/tables/paired.csv",
            caption=caption("table_paired"),
            category="Tables",
            labels={"table": "differences, seed by seed"},
        ),
        paired_markdown=f"{RESULTS}/tables/paired.md",
    log:
        f"{RESULTS}/logs/collect.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        results=results_folder,
        runs=COMPARISON,
    shell:
        "ebmpipe collect --runs {params.runs:q} --results {params.results:q} > {log:q} 2>&1"


rule collect_trajectories:
    input:
        config=watched_files("config.json"),
        history=watched_files("history.csv"),
    output:
        table=report(
            f"{RESULTS}/tables/trajectories.csv",
            caption=caption("table_trajectories"),
            category="Tables",
            labels={"table": "likelihood while training"},
        ),
        markdown=f"{RESULTS}/tables/trajectories.md",
    log:
        f"{RESULTS}/logs/collect_trajectories.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        results=results_folder,
        runs=json.dumps(watched_comparison(), separators=(",", ":")),
    shell:
        "ebmpipe collect-trajectories --runs {params.runs:q} --results {params.results:q} > {log:q} 2>&1"


rule collect_published:
    input:
        metrics=f"{RESULTS}/tables/metrics.csv",
        trajectories=[f"{RESULTS}/tables/trajectories.csv"] * bool(watched_comparison()),
    output:
        table=report(
            f"{RESULTS}/tables/published.csv",
            caption=caption("table_published"),
            category="Tables",
            labels={"table": "beside what others have published"},
        ),
        markdown=f"{RESULTS}/tables/published.md",
    log:
        f"{RESULTS}/logs/collect_published.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        results=results_folder,
    shell:
        "ebmpipe collect-published --results {params.results:q} > {log:q} 2>&1"


rule figure:
    input:
        data=f"{DATA}/data.safetensors",
        card=f"{DATA}/card.json",
        runs=figure_inputs,
    output:
        png=report(
            f"{RESULTS}/figures/{{dataset}}/{{figure}}.png",
            caption=caption("figure"),
            category=figure_category,
            labels=figure_labels,
        ),
        pdf=f"{RESULTS}/figures/{{dataset}}/{{figure}}.pdf",
    log:
        f"{RESULTS}/logs/figures/{{dataset}}/{{figure}}.log",
    wildcard_constraints:
        dataset="(?!overview/)[a-z][a-z0-9_]*",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        results=results_folder,
        runs=comparison_of,
        labels=coloured_labels,
        out=without_suffix,
        caption=figure_caption,
    shell:
        "ebmpipe figure {wildcards.figure} --dataset {wildcards.dataset} --runs {params.runs:q} --labels {params.labels:q}"
        " --out {params.out:q} --results {params.results:q} > {log:q} 2>&1"


rule overview_figure:
    input:
        metrics=f"{RESULTS}/tables/metrics.csv",
        compute=f"{RESULTS}/tables/compute.csv",
        protocols=f"{RESULTS}/tables/protocols.csv",
    output:
        png=report(
            f"{RESULTS}/figures/overview/{{figure}}.png",
            caption=caption("figure"),
            category=figure_category,
            labels=figure_labels,
        ),
        pdf=f"{RESULTS}/figures/overview/{{figure}}.pdf",
    log:
        f"{RESULTS}/logs/figures/overview/{{figure}}.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        results=results_folder,
        runs=COMPARISON,
        labels=coloured_labels,
        out=without_suffix,
        caption=figure_caption,
    shell:
        "ebmpipe figure {wildcards.figure} --runs {params.runs:q} --labels {params.labels:q}"
        " --out {params.out:q} --results {params.results:q} > {log:q} 2>&1"


rule overview:
    input:
        metrics=f"{RESULTS}/tables/metrics.csv",
        compute=f"{RESULTS}/tables/compute.csv",
        protocols=f"{RESULTS}/tables/protocols.csv",
        picture=f"{RESULTS}/figures/overview/summary.png",
    output:
        f"{RESULTS}/report/overview.rst",
    log:
        f"{RESULTS}/logs/overview.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        results=results_folder,
    shell:
        "ebmpipe overview --results {params.results:q} > {log:q} 2>&1"
