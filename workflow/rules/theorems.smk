# What ties the methods' losses together: measured without data and without a run, so that only other losses change it.


rule theorems:
    output:
        arrays=f"{RESULTS}/theorems/theorems.npz",
        card=f"{RESULTS}/theorems/theorems.json",
    log:
        f"{RESULTS}/logs/theorems.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        results=results_folder,
        revisions=compact(PLAN.catalogue["theorems"]),
    shell:
        "ebmpipe theorems --results {params.results:q} > {log:q} 2>&1"


# It shows no run, so that no change of the comparison redraws it.
use rule overview_figure as theorems_figure with:
    input:
        rules.theorems.output,
    wildcard_constraints:
        figure="one_gradient",
    params:
        results=results_folder,
        runs="{}",
        labels=",",
        out=without_suffix,
        caption=figure_caption,


ruleorder: theorems_figure > overview_figure
