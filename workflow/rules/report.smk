rule collect:
    input:
        run_files("metrics.json"),
    output:
        every_table(),
    log:
        f"{RESULTS}/logs/collect.log",
    params:
        results=RESULTS,
        runs=compact(PLAN.table()),
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    conda:
        ENVIRONMENT
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
    params:
        results=RESULTS,
        runs=lambda wildcards: compact(PLAN.table(wildcards.dataset)),
        out=lambda wildcards, output: output.png.removesuffix(".png"),
    wildcard_constraints:
        dataset="(?!overview)[a-z][a-z0-9_]*",
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    conda:
        ENVIRONMENT
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
    params:
        results=RESULTS,
        runs=compact(PLAN.table()),
        out=lambda wildcards, output: output.png.removesuffix(".png"),
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    conda:
        ENVIRONMENT
    shell:
        "ebmpipe figure {wildcards.figure} --runs {params.runs:q} --out {params.out:q}"
        " --results {params.results:q} > {log} 2>&1"
