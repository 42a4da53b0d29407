rule prepare:
    output:
        data=f"{DATA}/data.safetensors",
        card=f"{DATA}/card.json",
    log:
        f"{RESULTS}/logs/prepare/{{dataset}}.log",
    wildcard_constraints:
        dataset=f"(?!(?:{own_data()})/)[a-z][a-z0-9_]*",
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


# Data of the user's own: made again where their files or how they are read have changed, not where they were only moved.
rule prepare_own:
    output:
        data=f"{DATA}/data.safetensors",
        card=f"{DATA}/card.json",
    log:
        f"{RESULTS}/logs/prepare/{{dataset}}.log",
    wildcard_constraints:
        dataset=own_data(),
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=1440,
    params:
        results=results_folder,
        revision=data_revision,
        settings=stage_setting(PLAN.own_settings),
        content=stage_setting(PLAN.own_content),
    shell:
        "ebmpipe prepare --dataset {wildcards.dataset} --settings {params.settings:q}" " --results {params.results:q} > {log:q} 2>&1"


rule features:
    input:
        data=f"{DATA}/data.safetensors",
        card=f"{DATA}/card.json",
    output:
        weights=f"{FEATURES}/{{extractor}}.safetensors",
        card=f"{FEATURES}/{{extractor}}.json",
    log:
        f"{RESULTS}/logs/features/{{dataset}}/{{extractor}}.log",
    wildcard_constraints:
        extractor=extractors(published=False),
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        results=results_folder,
        revision=features_revision,
    shell:
        "ebmpipe features --dataset {wildcards.dataset} --network {wildcards.extractor} --results {params.results:q}" " > {log:q} 2>&1"


# Its weights stay where they are; the card holds their checksum.
use rule features as published_features with:
    output:
        card=f"{FEATURES}/{{extractor}}.json",
    wildcard_constraints:
        extractor=extractors(published=True),


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
