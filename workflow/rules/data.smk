rule prepare:
    output:
        data=f"{DATA}/data.safetensors",
        card=f"{DATA}/card.json",
    log:
        f"{RESULTS}/logs/prepare/{{dataset}}.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        results=results_folder,
        revision=data_revision,
    shell:
        "ebmpipe prepare --dataset {wildcards.dataset} --results {params.results:q}" " > {log:q} 2>&1"


rule features:
    input:
        data=f"{DATA}/data.safetensors",
        card=f"{DATA}/card.json",
    output:
        weights=f"{FEATURES}/lenet.safetensors",
        card=f"{FEATURES}/lenet.json",
    log:
        f"{RESULTS}/logs/features/{{dataset}}.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        results=results_folder,
        revision=PLAN.catalogue["features_revision"],
    shell:
        "ebmpipe features --dataset {wildcards.dataset} --results {params.results:q}" " > {log:q} 2>&1"


rule base:
    input:
        data=f"{DATA}/data.safetensors",
        card=f"{DATA}/card.json",
    output:
        weights=f"{BASE}/flow.safetensors",
        card=f"{BASE}/flow.json",
    log:
        f"{RESULTS}/logs/base/{{dataset}}.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        results=results_folder,
        noise=base_noise,
        revision=PLAN.catalogue["base_revision"],
    shell:
        "ebmpipe base --dataset {wildcards.dataset} --noise {params.noise} --results {params.results:q}" " > {log:q} 2>&1"
