"""What may be configured: pydantic models, free of torch. The JSON schema of the workflow's config is generated from them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from ebmpipe.budget import LENGTHS
from ebmpipe.spec import Kind

#: Ids of labels and data sets: they become folder names and wildcards.
Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Decay = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]

Side = Annotated[int, Field(ge=1, le=4096)]

#: Paths that survive the shell, a Makefile and Snakemake's wildcards.
FOLDER = r"""^[^~{}'"\\$\n][^{}'"\\$\n]*$"""

DISTINCT: JsonDict = {"uniqueItems": True}


class Model(BaseModel):
    """Base of every configuration model: unknown keys are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class KernelConfig(Model):
    """A Markov kernel and its settings."""

    name: str = Field("ula", description="id of a sampler")
    settings: dict[str, int | float | bool | None] = Field(
        {}, description="the kernel's constructor arguments, in data units; every kernel but gibbs needs its step_size"
    )


class NetworkConfig(Model):
    """An energy network and its settings."""

    name: str = Field("mlp", description="id of a network")
    settings: dict[str, Any] = Field({}, description="the network's own settings; defaults where absent")


class FlowConfig(Model):
    """A normalising flow and its settings."""

    name: str = Field("affine", description="id of a flow")
    settings: dict[str, Any] = Field({}, description="the flow's own settings; defaults where absent")


class OptimiserConfig(Model):
    """Adam (Kingma & Ba 2015), its learning-rate schedule, clipping and the weight average."""

    learning_rate: float = Field(2e-3, gt=0, le=100, description="step size at its peak")
    betas: tuple[Decay, Decay] = Field((0.5, 0.99), description="decay of the first and second moment")
    epsilon: float = Field(1e-8, gt=0, description="added to the root of the second moment")
    weight_decay: float = Field(0.0, ge=0, description="L2 penalty on the weights, added to the gradient")
    schedule: Literal["cosine", "constant"] = Field("cosine", description="cosine decay to zero over the run, or none")
    warmup: int = Field(0, ge=0, description="updates of linear warm-up")
    sgd_after: float = Field(1.0, ge=0, le=1, description="fraction of the run from which on plain gradient descent takes Adam's place")
    sgd_learning_rate: float = Field(1e-2, gt=0, le=100, description="its learning rate at its peak, under the same schedule")
    gradient_clip: float | None = Field(None, gt=0, description="largest Euclidean norm of the gradient; null: no clipping")
    average_decay: float = Field(0.999, ge=0, lt=1, description="decay of the average of the weights, which is what is evaluated")
    loss_bound: float = Field(1e6, gt=0, description="a loss beyond this in absolute value ends the run as diverged")
    gradient_bound: float = Field(1e8, gt=0, description="so does a gradient whose Euclidean norm, before clipping, is beyond this")
    energy_bound: float = Field(1e8, gt=0, description="so does an energy of an example or negative sample beyond this, in nats")


class MethodConfig(Model):
    """Settings that every training method has."""

    batch_size: int = Field(256, ge=1, description="examples per update")
    data_noise: float = Field(
        0.0,
        ge=0,
        description="standard deviation of Gaussian noise added to each example, in model space; the model is then of smoothed data",
    )
    energy_penalty: float = Field(
        0.0,
        ge=0,
        description="factor on the mean square of the energies less the base's over all examples of an update; bounds their scale",
    )
    spectral_norm: float | None = Field(
        None, gt=0, description="spectral norm that each weight matrix of the network is divided down or up to; null: free weights"
    )
    support: Literal["space", "box"] = Field(
        "space",
        description="where the energy is defined: everywhere, on a Gaussian base, or on the box [-1, 1] of images, on a uniform base",
    )
    optimiser: OptimiserConfig = Field(OptimiserConfig(), description="how the energy network is updated")


class RunConfig(Model):
    """All that determines one training run: what config.json holds."""

    dataset: Identifier = Field(description="id of the data set")
    label: Identifier = Field(description="name of the run's row in the tables")
    method: str = Field(description="id of the training method, or module:Class")
    seed: Seed = Field(0, description="root of every random stream of the run")
    network: NetworkConfig | None = Field(None, description="the energy network, the same for every method; null: that of the kind of data")
    settings: dict[str, Any] = Field({}, description="the method's own settings")
    gradient_evaluations: int | None = Field(
        10_000_000,
        ge=1,
        description="training budget: evaluations of the energy's gradient, in x or in the weights, for one example; null where updates "
        "are given",
    )
    updates: int | None = Field(None, ge=1, description="updates to train for, whatever they cost, in place of a budget")
    training_flops: int | None = Field(
        None, ge=1, description="floating-point operations to train for, by what the first update takes, in place of a budget"
    )
    watch: bool = Field(False, description="whether rows of the history also have the likelihood, in the plane")
    requires: dict[str, Identifier] = Field({}, description="role -> label of the run, on the same data and seed, that this one builds on")
    revisions: dict[str, int] = Field({}, description="revisions of the members that the run uses")

    @model_validator(mode="before")
    @classmethod
    def _one_length(cls, given: Any) -> Any:
        """A run is as long as one of `LENGTHS` says: another one leaves no budget to spend, not even that of the default."""
        if not isinstance(given, dict):
            return given
        said = {key: given[key] for key in LENGTHS if given.get(key) is not None}
        if len(said) > 1:
            raise ValueError(
                f"{' and '.join(f'{key} = {value}' for key, value in said.items())} each say how long to train: give one of them"
            )
        if not said:
            return {key: value for key, value in given.items() if key != "gradient_evaluations"}
        return given if "gradient_evaluations" in said else {**given, "gradient_evaluations": None}


class SamplingConfig(Model):
    """Fresh samples: long chains, the same for every method, from the broad Gaussian base or, of an energy that tilts another law, from
    that law. What a method's own sampler draws stands beside them, as the source `own`."""

    n: int = Field(5000, ge=1, description="samples per source")
    steps: int = Field(500, ge=1, description="steps of each chain")
    kernel: KernelConfig = Field(KernelConfig(name="mala", settings={"step_size": 0.3}), description="the Markov kernel")
    adaptation_steps: int = Field(
        0,
        ge=0,
        description="steps of dual averaging of the kernel's step size before the chains start; 0: the step size stays as given",
    )
    denoise: bool = Field(
        False,
        description="end with x - σ²∇E(x), the mean of the clean example given x, if the data were smoothed by noise σ (Miyasawa 1961)",
    )
    energy_bound: float = Field(1e8, gt=0, description="a sample whose energy is beyond this in absolute value ends the run as diverged")


class LongRunConfig(Model):
    """Long runs from over-dispersed starts: how the chains of every method's energy mix, under the same kernels, and what becomes of energy
    and samples on the way."""

    kernels: list[KernelConfig] = Field(
        [
            KernelConfig(name="mala", settings={"step_size": 0.3}),
            KernelConfig(name="hmc", settings={"step_size": 0.3, "leapfrog_steps": 3, "jitter": 0.5}),
        ],
        min_length=1,
        description="kernels, each with a step size found for each energy from the one given; bare metric ids and the frames are of the "
        "first, the others are `metric@name`",
    )
    latent_kernels: list[KernelConfig] = Field(
        [KernelConfig(name="hmc", settings={"step_size": 0.3, "leapfrog_steps": 3, "jitter": 0.5})],
        description="kernels that move further chains in latent space, where the energy tilts a flow, and are judged in data space; "
        "their ids are `metric@latent_name`",
    )
    labels: list[str] | None = Field(None, description="labels whose runs have them, in a workflow; null: all")
    chains: int = Field(128, ge=4, description="chains of each kernel")
    steps: int = Field(
        2000,
        ge=20,
        description="gradient evaluations of each chain, the same for every kernel: mala takes as many steps, hmc with L leapfrog steps an "
        "L-th of them",
    )
    adaptation_steps: int = Field(
        300, ge=1, description="steps that each kernel's step size is found in, on chains of their own that start likewise"
    )
    adaptation: Literal["acceptance", "ess"] = Field(
        "acceptance",
        description="what the step size is to come to: the acceptance that suits the kernel, by dual averaging; or the largest bulk "
        "effective sample size, of step sizes a factor of 2 apart that are tried for as many steps each. Kernels that accept everything, "
        "as ula does, have the latter",
    )
    dispersion: float = Field(
        2.0,
        ge=1,
        description="standard deviation of the starts in units of the Gaussian base's, which is itself 1.5 of the data's, and 1 where one "
        "is learned, and of the latent Gaussian; on a box starts are uniform",
    )
    warm_up: float = Field(0.5, ge=0, lt=1, description="share of every chain that mixing is not judged by")
    draws: int = Field(1000, ge=8, description="most draws of each chain that mixing is judged by, evenly spaced over the rest")
    classifier: str | None = Field(
        None,
        description="feature network whose classes are watched on images as the modes are on densities; null: the first of "
        "`evaluation.features` that was trained on the labels, if there is one",
    )
    denoise: bool = Field(False, description="frames end with the jump x - σ²∇E(x), as samples do, if the data were smoothed by noise σ")
    energy_bound: float = Field(1e8, gt=0, description="chains whose energy is beyond this in absolute value have diverged")


#: Where samples of a run can come from; see `ebmpipe.sampling.draw`.
Source = Literal["fresh", "own", "generated", "noisy", "noisy_own", "persistent"]


class PartitionConfig(Model):
    """How log Z is estimated where it cannot be integrated, and checked where it can: annealed importance sampling both ways, sequential
    Monte Carlo, importance sampling."""

    base: Literal["own", "flow", "shortest"] = Field(
        "own",
        description="where annealing begins: at the law that the energy tilts (Gaussian, or uniform on a box), at a flow fitted to the "
        "data, or at that of both from which a pilot finds the shorter path; what tilts a flow of its own is annealed to in that flow's "
        "latent space unless this is `flow`",
    )
    base_noise: float = Field(0.0, ge=0, description="standard deviation of Gaussian noise on the data that the flow is fitted to")
    kernel: Literal["hmc", "mala"] = Field("hmc", description="the transitions between levels")
    step_size: float = Field(0.3, gt=0, description="of the kernel, in data units: where its search at every level starts")
    leapfrog_steps: int = Field(3, ge=1, description="of HMC")
    repeats: int = Field(32, ge=2, description="independent estimates, whose spread is the standard error")
    chains: int = Field(64, ge=2, description="chains of each")
    pilot_chains: int = Field(512, ge=16, description="chains that find levels and step sizes, and enter no estimate")
    variance: float = Field(0.1, gt=0, description="variance of the logarithm of a weight that is aimed at, in nats²")
    fewest_levels: int = Field(20, ge=1, description="fewest levels")
    most_levels: int = Field(1000, ge=1, description="most levels, whatever the variance")
    warm_up: int = Field(20, ge=0, description="transitions of the model's samples before they start the way back")
    resample_below: float = Field(
        0.5, ge=0, le=1, description="sequential Monte Carlo resamples where a smaller share of the chains is effective"
    )
    widest: float = Field(
        0.02, gt=0, description="bits per dimension that a bracket may be wide; of a wider one likelihoods are intervals, not numbers"
    )


class RestorationConfig(Model):
    """How test examples are denoised and completed: chains of the energy's law given what was observed."""

    n: int = Field(64, ge=2, description="test examples to restore, the first of a fixed order")
    noise: float = Field(
        0.6,
        gt=0,
        description="standard deviation τ of the Gaussian noise to be taken off, in model space; more than the energy's own",
    )
    missing: Literal["centre", "lower"] = Field(
        "centre",
        description="what is missing of an image: the middle square of half its side, or the lower half; in the plane x₂ is",
    )
    kernel: Literal["mala", "hmc"] = Field("mala", description="what moves the chains")
    step_size: float = Field(0.2, gt=0, description="of the kernel, in data units: where its adaptation starts")
    leapfrog_steps: int = Field(3, ge=1, description="of HMC")
    chains: int = Field(8, ge=2, description="chains for each example, whose mean estimates that of the conditional law")
    candidates: int = Field(16, ge=1, description="draws of the likelihood, or of the base, that the start of each chain is chosen among")
    adaptation_steps: int = Field(60, ge=0, description="steps of dual averaging of the step size at the start of every chain; 0: as given")
    steps: int = Field(300, ge=2, description="steps that follow, of which the first half warms up")
    draws: int = Field(10, ge=1, description="draws of every chain, evenly spaced along the second half, that enter the mean")


class EvaluationConfig(Model):
    """What is measured."""

    source: Source = Field(
        "fresh",
        description="the samples that bare metric ids are about, the same for every method: fresh, own (of a method's own sampler), "
        "generated (of a generator, where the own sampler revises its samples), "
        "persistent (chains of training), noisy or noisy_own (fresh or own ones before the denoising jump); others are `metric@source`",
    )
    metrics: list[str] | None = Field(None, description="families of metrics; null: every one that applies")
    features: list[str] | None = Field(
        None,
        json_schema_extra=DISTINCT,
        description=(
            "feature networks of images, the first being the one that precision, recall, density and coverage are computed in; "
            "null: `lenet` of labelled images, else `autoencoder`, and `inception` where its weights are at hand"
        ),
    )
    grid: int = Field(200, ge=20, description="points per side of the density pictures")
    partition: PartitionConfig = Field(PartitionConfig(), description="how log Z is estimated")
    out_of_distribution: list[str] | None = Field(
        None,
        json_schema_extra=DISTINCT,
        description=(
            "what the energy is to tell from the test split: `noise`, on images `constant`, and other data sets of the same kind; null: "
            "`noise`, on images `constant`, `photos` and the config's other image data sets, in the plane two other densities"
        ),
    )
    restoration: RestorationConfig = Field(RestorationConfig(), description="how examples are denoised and completed")


class KindDefaults(Model):
    """Where every method starts on one kind of data. A method's own settings by kind are `Method.settings_by_kind`."""

    gradient_evaluations: int = Field(10_000_000, ge=1, description="training budget")
    network: NetworkConfig = Field(description="the energy network")
    sampling: SamplingConfig = Field(SamplingConfig(), description="fresh samples")
    long_run: LongRunConfig = Field(LongRunConfig(), description="long runs and mixing")
    evaluation: EvaluationConfig = Field(EvaluationConfig(), description="what is measured")


#: What holds on each kind of data where nothing else is said. In the plane, data have structure much finer than their extent: a SiLU
#: network on standardised inputs needs many updates to leave the smooth solutions it starts among, and the gain spares it those. Image
#: methods model data smoothed by noise, and samples end with the jump that takes it off again. A Boltzmann machine is
#: the law of binary data that interact in pairs; its chains take a hundred sweeps of sixteen coordinates.
KINDS: dict[Kind, KindDefaults] = {
    "density": KindDefaults(
        gradient_evaluations=6_000_000,
        network=NetworkConfig(name="mlp", settings={"width": 128, "depth": 2, "gain": 6.0}),
        sampling=SamplingConfig(n=10_000, kernel=KernelConfig(name="mala", settings={"step_size": 0.25})),
        long_run=LongRunConfig(chains=256, draws=500),
        evaluation=EvaluationConfig(
            partition=PartitionConfig(chains=128),
            restoration=RestorationConfig(n=256, noise=0.5, candidates=64, chains=32, adaptation_steps=30, steps=40, draws=4),
        ),
    ),
    "vectors": KindDefaults(network=NetworkConfig(name="mlp", settings={"width": 256, "depth": 2})),
    "images": KindDefaults(
        gradient_evaluations=2_500_000,
        network=NetworkConfig(name="conv", settings={"widths": [32, 64, 128]}),
        sampling=SamplingConfig(n=1000, steps=1000, kernel=KernelConfig(name="mala", settings={"step_size": 0.2}), denoise=True),
        long_run=LongRunConfig(chains=64, draws=250, denoise=True),
        evaluation=EvaluationConfig(
            partition=PartitionConfig(base="shortest", base_noise=0.3, chains=32, variance=0.5),
            restoration=RestorationConfig(chains=4, steps=200),
        ),
    ),
    "binary": KindDefaults(
        network=NetworkConfig(name="boltzmann"),
        sampling=SamplingConfig(steps=1600, kernel=KernelConfig(name="gibbs")),
    ),
}


class LabelConfig(Model):
    """One row of the comparison: a method under a name, with settings that differ from its defaults."""

    method: str | None = Field(None, description="id of the method, or module:Class; the label itself if absent")
    settings: dict[str, Any] = Field({}, description="settings of the method, on every data set")
    requires: dict[str, Identifier] = Field({}, description="role -> label of a run that this one builds on, e.g. backbone: flow")


class FilesConfig(Model):
    """The user's own data: a folder of images (png, jpg, webp, bmp, gif, tif), or one .npy, .npz or .csv of vectors, one per row."""

    path: str = Field(
        min_length=1, description="the folder or file; ~ is the home folder, and a relative path starts where the workflow runs"
    )
    size: Side | tuple[Side, Side] | None = Field(
        None,
        description="of images, height and width in pixels, one number or both: the largest middle part of these proportions is shrunk to "
        "this; null: all must have the size of the first, and are stored pixel for pixel",
    )
    colour: Literal["grey", "rgb"] | None = Field(
        None, description="what images are turned into; null: all must be what the first is, and are stored as they are"
    )
    labels: bool | None = Field(
        None, description="whether sub-folders of images are classes; null: if there are several, and no image lies outside of them"
    )
    array: str | None = Field(None, description="of an .npz that holds several arrays, which")
    scaling: Literal["standardise", "none"] | None = Field(
        None,
        description="of vectors: null or standardise: every coordinate less its mean, divided by its standard deviation over the training "
        "examples, both of which the card states; none: values as they are",
    )
    validation: float = Field(0.1, gt=0, description="examples held out for validation: below 1 a fraction of all, else their number")
    test: float = Field(0.1, gt=0, description="examples held out for testing, likewise")


class DatasetConfig(Model):
    """How the comparison runs on one data set (or, under defaults, on one kind of data). What is absent takes the kind's value."""

    files: FilesConfig | None = Field(None, description="data of one's own, under an id that is none of the data sets below")
    optional: bool = Field(False, description="leave the data set out, with a notice, where its raw files are not at hand")
    labels: list[Identifier] | None = Field(
        None,
        min_length=1,
        json_schema_extra=DISTINCT,
        description="rows to run here; null: every one whose method takes this kind of data, or lack of labels",
    )
    seeds: list[Seed] | None = Field(None, min_length=1, json_schema_extra=DISTINCT, description="seeds here; null: the workflow's")
    gradient_evaluations: int | None = Field(None, ge=1, description="training budget of every method, in gradient evaluations")
    updates: int | None = Field(
        None,
        ge=1,
        description="train every method for so many updates, whatever they cost, in place of spending `gradient_evaluations`; a data "
        "set's wins over what defaults say of either",
    )
    training_flops: int | None = Field(
        None,
        ge=1,
        description="train every method for so many floating-point operations, of matrix products and convolutions, by what its first "
        "update takes, in place of spending `gradient_evaluations`; without those of runs that it builds on",
    )
    watch: bool = Field(
        False,
        description="on densities: every row of history.csv also has the log-likelihood of the validation split and the MMD² of the "
        "chains of training, at a cost that no number counts; adds a figure and a table of them",
    )
    network: NetworkConfig | None = Field(None, description="the energy network of every method")
    sampling: dict[str, Any] = Field({}, description="fresh samples; see SamplingConfig")
    long_run: dict[str, Any] = Field({}, description="long runs and mixing; see LongRunConfig")
    evaluation: dict[str, Any] = Field({}, description="what is measured; see EvaluationConfig")
    settings: dict[Identifier, dict[str, Any]] = Field({}, description="label -> settings of its method on this data set")


#: How the chains of a composition are drawn: those of densities, and as many as metrics look at.
COMPOSITION_SAMPLING = SamplingConfig(n=4000, kernel=KernelConfig(name="mala", settings={"step_size": 0.25}))
#: A run of the comparison, on each of its seeds.
PART = r"^[a-z][a-z0-9_]*/[a-z][a-z0-9_]*$"


class CompositionConfig(Model):
    """A law in the plane made of two trained ones, without training; it is measured against the one made of the true densities."""

    of: list[Annotated[str, Field(pattern=PART)]] = Field(
        min_length=2, max_length=2, description="the two runs, each as data set/label; of every seed that both data sets have"
    )
    by: Literal["product", "mixture", "difference"] = Field(
        description="product: p₁ p₂^w; mixture: (1 - w) p₁ + w p₂; difference: p₁ / p₂^w; the first and last up to a constant"
    )
    weight: float | None = Field(
        None, gt=0, description="w; null: 1 in a product, 0.5 in a mixture, 0.2 in a difference, which is no law if w is too large"
    )


class WorkflowConfig(Model):
    """config.yaml."""

    results: str = Field("results", pattern=FOLDER, description="folder for everything the workflow makes")
    raw_data: str | None = Field(None, description="folder of raw data files; EBMPIPE_DATA_DIR if null")
    weights: str | None = Field(
        None, pattern=FOLDER, description="folder of published weights of feature networks; EBMPIPE_WEIGHTS_DIR if null"
    )
    seeds: list[Seed] = Field([0, 1], min_length=1, json_schema_extra=DISTINCT, description="seeds of every run")
    methods: dict[Identifier, LabelConfig] = Field(min_length=1, description="label -> what it is")
    defaults: dict[Kind, DatasetConfig] = Field({}, description="per kind of data")
    datasets: dict[Identifier, DatasetConfig] = Field(min_length=1, description="data set -> how the comparison runs on it")
    compositions: dict[Identifier, CompositionConfig] = Field({}, description="name -> two runs in the plane that are made into one law")
