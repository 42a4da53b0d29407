rule evaluate:
    input:
        features=features_of,
        base=base_of,
        foreign=foreign_of,
        config=f"{RUN}/config.json",
        model=f"{RUN}/model.safetensors",
        samples=f"{RUN}/samples.safetensors",
        long_run=long_run_of,
        data=f"{DATA}/data.safetensors",
    output:
        metrics=f"{RUN}/metrics.json",
        arrays=f"{RUN}/arrays.npz",
    log:
        f"{RESULTS}/logs/evaluate/{{dataset}}/{{label}}/seed{{seed}}.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=240,
        gpu=1,
    params:
        results=results_folder,
        settings=stage_setting(PLAN.evaluation_settings),
        revisions=stage_setting(PLAN.evaluation_revisions),
    shell:
        "ebmpipe evaluate --dataset {wildcards.dataset} --label {wildcards.label} --seed {wildcards.seed}"
        " --settings {params.settings:q} --results {params.results:q} > {log:q} 2>&1"
