rule collect:
    input:
        run_files("metrics.json"),
    output:
        every_table(),
    log:
        f"{RESULTS}/logs/collect.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        results=RESULTS,
        runs=compact(PLAN.table()),
    shell:
        "ebmpipe collect --runs {params.runs:q} --results {params.results:q} > {log} 2>&1"


rule figure:
    input:
        tables=f"{RESULTS}/tables/metrics.csv",
        data=f"{DATA}/data.safetensors",
        runs=lambda wildcards: run_files("arrays.npz", wildcards.dataset),
    output:
        png=f"{RESULTS}/figures/{{dataset}}/{{figure}}.png",
        pdf=f"{RESULTS}/figures/{{dataset}}/{{figure}}.pdf",
    log:
        f"{RESULTS}/logs/figures/{{dataset}}/{{figure}}.log",
    wildcard_constraints:
        dataset="(?!overview)[a-z][a-z0-9_]*",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        results=RESULTS,
        runs=lambda wildcards: compact(PLAN.table(wildcards.dataset)),
        out=lambda wildcards, output: output.png.removesuffix(".png"),
    shell:
        "ebmpipe figure {wildcards.figure} --dataset {wildcards.dataset} --runs {params.runs:q}"
        " --out {params.out:q} --results {params.results:q} > {log} 2>&1"


rule overview_figure:
    input:
        every_table(),
    output:
        png=f"{RESULTS}/figures/overview/{{figure}}.png",
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
        results=RESULTS,
        runs=compact(PLAN.table()),
        out=lambda wildcards, output: output.png.removesuffix(".png"),
    shell:
        "ebmpipe figure {wildcards.figure} --runs {params.runs:q} --out {params.out:q}" " --results {params.results:q} > {log} 2>&1"
