rule long_run:
    input:
        classifier=classifier_of,
        config=f"{RUN}/config.json",
        model=f"{RUN}/model.safetensors",
        data=f"{DATA}/data.safetensors",
    output:
        record=f"{RUN}/long_run.safetensors",
    log:
        f"{RESULTS}/logs/long_run/{{dataset}}/{{label}}/seed{{seed}}.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=240,
        gpu=1,
    params:
        results=results_folder,
        settings=stage_setting(PLAN.long_run_settings),
        revisions=stage_setting(PLAN.long_run_revisions),
    shell:
        "ebmpipe long-run --dataset {wildcards.dataset} --label {wildcards.label} --seed {wildcards.seed}"
        " --settings {params.settings:q} --results {params.results:q} > {log:q} 2>&1"
