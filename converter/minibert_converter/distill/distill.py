"""A distillation from end to end: teacher and texts -> student -> passes of a recipe, training among them -> file."""

from __future__ import annotations

import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

import minibert
from minibert import files
from minibert.errors import InputError
from minibert.format import write_model
from minibert.model import Model
from minibert_converter.checkpoints import checkpoint_folder, read_checkpoint
from minibert_converter.convert import check_target
from minibert_converter.distill.dataset import Dataset, Examples, make_dataset
from minibert_converter.distill.sharing import share_layers
from minibert_converter.distill.snapshot import Snapshot
from minibert_converter.distill.student import TorchNetwork
from minibert_converter.distill.teacher import Teacher
from minibert_converter.distill.training import Moment, Training
from minibert_converter.distill.variation import with_copies
from minibert_converter.export import export
from minibert_converter.matrices import float_linear
from minibert_converter.network import Network
from minibert_converter.passes.distillation import Distill
from minibert_converter.passes.embeddings.recipe import Embeddings
from minibert_converter.passes.prune.blocks import encoder_densities
from minibert_converter.passes.quantize.quantizer import quantize
from minibert_converter.progress import OnProgress, no_progress
from minibert_converter.recipe import Context, Outcome, Recipe, read_recipe, run
from minibert_converter.report import Report, make_report

#: Scores a model: figures by name.
Measure = Callable[[Model], Mapping[str, Any]]


@dataclass(frozen=True)
class Watcher:
    """Who is told how far the work is.

    Attributes:
        stage: of what comes before and after the training.
        moment: of the training, after each step.
        score: of the student as the engine would run it, after so many epochs.
    """

    stage: OnProgress = no_progress
    moment: Callable[[Moment], None] = lambda moment: None
    score: Callable[[int, Mapping[str, Any]], None] = lambda epochs, figures: None


def distill(
    teacher: str | Path,
    examples: Examples,
    out: str | Path,
    recipe: Recipe | str | Path,
    *,
    student: str | Path | None = None,
    measure: Measure | None = None,
    cache: str | Path | None = None,
    fresh: bool = False,
    threads: int | None = None,
    seconds: float | None = None,
    watcher: Watcher | None = None,
) -> tuple[Report, dict[str, Any]]:
    """Trains a student to answer as its teacher does, and writes the file that the engine runs.

    Passes of the recipe ahead of `distill` make the student out of the teacher; those behind it finish what was
    trained. While it trains, its state is kept beside `out` as OUT.training; a second call with the same arguments goes
    on from there. On one kind of processor, with one number of threads, the same arguments give the same bytes.

    Args:
        teacher: a checkpoint, fine-tuned for its task: a folder, or a name on the Hub.
        examples: texts to learn from, and their labels if they are known.
        out: the file to write, whole or not at all.
        recipe: what to do, or a TOML file that says it; one of its passes is `distill`.
        student: a checkpoint to start from, if not the teacher.
        measure: scores a model; None where there is nothing to score on.
        cache: a folder where the teacher's outputs are kept, for later epochs and other runs on the same texts.
        fresh: begin anew, even if a state was kept.
        threads: of the training; None takes torch's own choice.
        seconds: that the training may take: it passes over the texts as often as that allows, not as often as the
            recipe says. How often that was, the recipe in the file says.
        watcher: who is told how far it is.

    Returns:
        What became of each part, and the figures of the finished file ({} without `measure`).

    Raises:
        CheckpointError: a checkpoint is broken, and where.
        UnsupportedError: the checkpoint is of a kind that cannot be distilled.
        InputError: recipe or examples make no sense.
    """
    began = time.perf_counter()
    watcher = watcher or Watcher()
    chosen = recipe if isinstance(recipe, Recipe) else read_recipe(recipe)
    if [type(step) for step in chosen.passes].count(Distill) != 1:
        raise InputError("the recipe of a distillation has one pass distill: [[pass]] distill = EPOCHS")
    teacher = checkpoint_folder(teacher, progress=watcher.stage)
    student = None if student is None else checkpoint_folder(student, progress=watcher.stage)
    inputs = [each for each in (student, recipe) if isinstance(each, (str, Path))]
    target = check_target(teacher, Path(out), inputs)
    teaching = read_checkpoint(teacher, None, watcher.stage)
    learning = read_checkpoint(student or teacher, None, watcher.stage)
    for network in (teaching, learning):
        network.need_layers("distillation")
    work = {
        "recipe": chosen.to_json(),
        "teacher": _checksum(teaching),
        "student": _checksum(learning),
        "texts": zlib.crc32(repr((examples.texts, examples.labels)).encode("utf-8", "surrogatepass")),
        **({} if seconds is None else {"seconds": seconds}),
    }
    learning = replace(learning, task=teaching.task)
    state = target.with_name(target.name + ".training")
    files.check_target(state, [teacher, *inputs])
    snapshot = Snapshot(state, work)
    if fresh:
        snapshot.remove()
    kept = None if cache is None else Path(cache)
    places = {type(step): place for place, step in enumerate(chosen.passes)}
    keep_tables = places.get(Embeddings, -1) > places[Distill]
    work_with = _Work(teaching, examples, chosen.seed, snapshot, kept, measure, watcher, keep_tables, seconds)
    texts = [text if isinstance(text, str) else " ".join(text) for text in examples.texts]
    context = Context(texts, chosen.seed, chosen.folder, watcher.stage, settle=work_with.settle, train=work_with.train)
    with _settled(threads):
        passes = run(chosen, learning, context)
    config, tensors = export(learning, chosen.sparse_threshold)
    report = make_report(learning, tensors, passes, f"{len(texts):,} texts given")
    size = write_model(target, replace(config, report=report.stored_json()), tensors)
    snapshot.remove()
    figures = {} if measure is None else dict(measure(minibert.load(out)))
    return replace(report, file_bytes=size, seconds=time.perf_counter() - began), figures


def answer_ahead(
    teacher: str | Path,
    examples: Examples,
    copies: int,
    cache: Path,
    *,
    seed: int = 0,
    bfloat16: bool = False,
    threads: int | None = None,
    progress: OnProgress = no_progress,
) -> None:
    """Has the teacher answer all texts, for trainings of any students that come with the same `cache`.

    Args:
        teacher: a checkpoint.
        examples: texts to learn from.
        copies: of each text, varied, as the trainings have them.
        cache: a folder where answers and hidden states of all layers are kept.
        seed: of the trainings' recipes.
        bfloat16: whether they multiply in it.
        threads: to work with; None takes torch's own choice.
        progress: called with the stage "running the teacher".
    """
    network = read_checkpoint(teacher, None, no_progress)
    dataset = make_dataset(with_copies(examples, copies, network, seed), network, network)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with _settled(threads):
        model = TorchNetwork(network).to(device).requires_grad_(False)
        model.dtype = torch.bfloat16 if bfloat16 else torch.float32
        Teacher(model, dataset, (), tuple(range(len(network.architecture.layers) + 1)), device, cache, progress)


@contextmanager
def _settled(threads: int | None) -> Iterator[None]:
    """torch with so many threads, and where it can with the same sums each time; as it was again afterwards."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    if threads:
        torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(not torch.cuda.is_available())
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])


@dataclass(frozen=True)
class _Work:
    """What a training needs beside the student and the pass."""

    teacher: Network
    examples: Examples
    seed: int
    snapshot: Snapshot
    cache: Path | None
    measure: Measure | None
    watcher: Watcher
    keep_tables: bool  # in float32, since a later pass wants them so
    seconds: float | None = None  # that the training may take
    read: dict[tuple[int, int, str], Dataset] = field(default_factory=dict)  # by what makes them: they take a while

    def settle(self, step: Any, network: Network) -> Any:
        """A pass `distill` with as many passes over the texts as the time allows; others as they are."""
        if self.seconds is None or not isinstance(step, Distill):
            return step
        if (state := self.snapshot.read()) is not None:
            return replace(step, distill=float(state["distill"]))  # what was begun is gone on with
        pace = self._training(step, network.copy(), None).pace()
        return replace(step, distill=float(f"{max(self.seconds / pace, 0.01):.3g}"))

    def _training(self, settings: Distill, network: Network, snapshot: Snapshot | None) -> Training:
        """A training of the network, whose layers come to share what the pass says."""
        layers = _teachers_layers(network, self.teacher)
        if settings.tied_layers:
            share_layers(network, settings.tied_layers)
        return Training(
            self.teacher,
            network,
            layers,
            self._dataset(settings, network),
            settings,
            seed=self.seed,
            snapshot=snapshot,
            device="cuda" if torch.cuda.is_available() else "cpu",
            cache=self.cache,
            progress=self.watcher.stage,
        )

    def _dataset(self, settings: Distill, network: Network) -> Dataset:
        key = settings.copies, settings.max_length, network.tokenizer_json
        if key not in self.read:
            examples = with_copies(self.examples, settings.copies, self.teacher, self.seed)
            self.read[key] = make_dataset(examples, network, self.teacher, settings.max_length)
        return self.read[key]

    def train(self, settings: Distill, network: Network) -> Outcome:
        """The pass `distill`: changes the network."""
        training = self._training(settings, network, self.snapshot)
        scores: list[dict[str, Any]] = []

        def epoch_ended(epochs: int) -> None:
            if self.measure is not None:
                figures = dict(self.measure(_as_it_would_run(training.network())))
                scores.append({"epochs": epochs, **figures})
                self.watcher.score(epochs, figures)

        training.run(self.watcher.moment, epoch_ended)
        trained = training.network()
        network.tables, network.linears, network.norms = trained.tables, trained.linears, trained.norms
        densities = {network.checkpoint_name(name): part for name, part in encoder_densities(network).items()}
        errors: dict[str, float] = {}
        if settings.int8_from < 1:  # the codes it was trained with are the nearest
            tables = dict(network.tables)
            errors = dict(quantize(network, "int8", method="nearest").errors)
            if self.keep_tables:
                network.tables = tables
                errors = {name: error for name, error in errors.items() if name not in tables}
        details = {"texts": training.texts, "steps": training.steps, "density": round(training.density, 4)}
        return Outcome(errors, densities, details)


def _as_it_would_run(network: Network) -> Model:
    """A student in the middle of its training, quantized and loaded by the engine."""
    quantize(network, "int8", method="nearest")
    with tempfile.TemporaryDirectory(prefix="minibert-distill-") as folder:
        path = Path(folder) / "student.safetensors"
        write_model(path, *export(network))
        return minibert.load(path)


def _teachers_layers(student: Network, teacher: Network) -> tuple[int, ...]:
    """For each layer of the student the teacher's layer it is to be like: the one it was, or that at its height."""
    own, others = len(student.architecture.layers), len(teacher.architecture.layers)
    numbers = student.checkpoint_layers
    if own == others or (student.layer_numbers and max(numbers) < others):
        return numbers
    return tuple(max(round((number + 1) * others / own), 1) - 1 for number in range(own))


def _checksum(network: Network) -> int:
    """A number that another network hardly has."""
    value = zlib.crc32(repr((network.architecture, network.tokenizer_json)).encode())
    for name in network.linears:
        value = zlib.crc32(float_linear(network, name).weight.tobytes(), value)
    return value
