rule train:
    input:
        data=f"{DATA}/data.safetensors",
        card=f"{DATA}/card.json",
        required=required_models,
    output:
        config=f"{RUN}/config.json",
        model=f"{RUN}/model.safetensors",
        history=f"{RUN}/history.csv",
        ledger=f"{RUN}/run.json",
    log:
        f"{RESULTS}/logs/train/{{dataset}}/{{label}}/seed{{seed}}.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=1440,
        gpu=1,
    params:
        results=results_folder,
        method=run_setting("method"),
        settings=run_setting("settings"),
        network=run_setting("network"),
        length=how_long,
        watch=watch_option,
        requires=run_setting("requires"),
        revisions=run_setting("revisions"),
    shell:
        "ebmpipe train --dataset {wildcards.dataset} --label {wildcards.label} --seed {wildcards.seed}"
        " --method {params.method:q} --settings {params.settings:q} --network {params.network:q}"
        " {params.length} {params.watch} --requires {params.requires:q} --revisions {params.revisions:q}"
        " --no-picture --results {params.results:q} > {log:q} 2>&1"
