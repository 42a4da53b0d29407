# Two trained energies made into one: no training, so that a composition costs its chains and its integrals.


rule compose:
    input:
        data=composed_data,
        models=composed_models,
    output:
        config=f"{COMPOSITION}/config.json",
        samples=f"{COMPOSITION}/samples.safetensors",
        metrics=f"{COMPOSITION}/metrics.json",
        arrays=f"{COMPOSITION}/arrays.npz",
        ledger=f"{COMPOSITION}/composition.json",
    log:
        f"{RESULTS}/logs/compose/{{composition}}/seed{{seed}}.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=1,
    params:
        results=results_folder,
        how=composition_options,
        sampling=compact(PLAN.composition_sampling()),
        revisions=compact(PLAN.composition_revisions()),
    shell:
        "ebmpipe compose {wildcards.composition} {params.how} --seed {wildcards.seed}"
        " --sampling {params.sampling:q} --results {params.results:q} > {log:q} 2>&1"


rule collect_compositions:
    input:
        composition_files("composition.json"),
    output:
        report(
            f"{RESULTS}/tables/compositions.csv",
            caption=caption("table_compositions"),
            category="Compositions",
            labels={"table": "every number"},
        ),
    log:
        f"{RESULTS}/logs/collect_compositions.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        results=results_folder,
        compositions=COMPOSITIONS,
    shell:
        "ebmpipe collect-compositions --compositions {params.compositions:q} --results {params.results:q} > {log:q} 2>&1"


use rule overview_figure as compositions_figure with:
    input:
        table=f"{RESULTS}/tables/compositions.csv",
        samples=composition_files("samples.safetensors"),
        arrays=composition_files("arrays.npz"),
    wildcard_constraints:
        figure="compositions",


ruleorder: compositions_figure > overview_figure
