rule sample:
    input:
        config=f"{RUN}/config.json",
        model=f"{RUN}/model.safetensors",
        data=f"{DATA}/data.safetensors",
    output:
        samples=f"{RUN}/samples.safetensors",
    log:
        f"{RESULTS}/logs/sample/{{dataset}}/{{label}}/seed{{seed}}.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=240,
        gpu=1,
    params:
        results=results_folder,
        settings=stage_setting(PLAN.sampling_settings),
        revisions=stage_setting(PLAN.sampling_revisions),
    shell:
        "ebmpipe sample --dataset {wildcards.dataset} --label {wildcards.label} --seed {wildcards.seed}"
        " --settings {params.settings:q} --results {params.results:q} > {log:q} 2>&1"
