"""Train a BERT of under 4 MB on Banking77 (77 intents of bank customers), taught by a larger one.

    pip install -e ".[train]"
    python examples/banking77/train.py --teacher FOLDER      # a BERT fine-tuned on the same intents
    python examples/banking77/train.py                       # from the labels alone

Vocabulary: the teacher's, cut down to the tokens the training texts need (without a teacher: a new one). Start: the
teacher's weights, projected (shrink.py). Learned: the teacher's logits on the training texts and on varied copies of
them (augment.py), and the true labels of the originals. Test texts are used for one thing: the figure at the end.
"""

from __future__ import annotations

import argparse
import random
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from augment import augmented, neighbours
from checkpoint import DATA, read_tsv, save, score
from learn import NO_LABEL, Dataset, Recipe, fit, log, predict
from shrink import shrink
from tokenizers import Tokenizer
from transformers import BertConfig, BertForSequenceClassification
from vocabulary import encode, trained_vocabulary, trimmed_vocabulary, wordpiece

README = """# A BERT of {megabytes:.2f} MB for {intents} intents of bank customers

Written by `examples/banking77/train.py`: change that, not this.

| | |
|---|---|
| accuracy on {test} | **{accuracy:.2f}%**{teacher_score} |
| shape | {layers} layers, hidden {hidden}, {heads} heads of {head_size}, FFN {ffn}, at most {positions} tokens |
| vocabulary | {vocabulary:,} WordPiece tokens, uncased |
| parameters | {parameters:,}, stored in float16 |
| size of the folder | {size:,} bytes besides this page |

Made from {train:,} training queries of Banking77 in {minutes:.0f} minutes of processor time by

```sh
{command}
```

{story} The accuracy is that of the checkpoint as it lies here, read anew and run in float32.

Data: Banking77 by PolyAI, CC BY 4.0 (`../data/README.md`), from which this model is derived.
"""
WITH_TEACHER = (
    "Vocabulary and first weights descend from the teacher, `{name}`: its layers {layers} were projected to the "
    "smaller width. Then {passes} passes over the texts and {copies} varied copies of each, "
    "all answered by the teacher."
)
WITHOUT_TEACHER = "It learned from the labels alone: {passes} passes over the texts and {copies} varied copies of each."


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", type=Path, default=DATA, help="folder of train.tsv.gz and test.tsv.gz (default: %(default)s)")
    add("--teacher", type=Path, help="Hugging Face folder of a BERT fine-tuned on these intents (default: none)")
    add("--out", type=Path, default=DATA.parent / "model", help="where the checkpoint goes (default: %(default)s)")
    add("--seed", type=int, default=0)
    add("--hold-out", type=int, default=0, metavar="N", help="leave N training texts out and score on those")
    add("--vocab-size", type=int, default=3072)
    add(
        "--layers",
        type=int,
        nargs="+",
        default=[0, 2, 5],
        help="the teacher's layers to start from, one for each layer",
    )
    add("--hidden", type=int, default=192)
    add("--heads", type=int, default=6)
    add("--ffn", type=int, default=576)
    add("--max-tokens", type=int, default=128)
    add("--dropout", type=float, help="default: none with a teacher, 0.1 without")
    add("--copies", type=int, default=8, help="varied copies of each training text")
    add("--passes", type=int, default=5, help="passes over the texts and their copies")
    add("--batch", type=int, default=64)
    add("--lr", type=float, default=1e-3, help="learning rate at its peak")
    add("--weight-decay", type=float, default=0.01)
    add("--temperature", type=float, default=2.0, help="softening of the teacher's answers")
    add("--hard", type=float, default=0.3, help="weight of the true labels beside the teacher's answers")
    add("--threads", type=int, default=1, help="more are faster; sums may then differ in their last bits")
    add("--bfloat16", action="store_true", help="matmuls of the training in bfloat16: faster where the CPU has it")
    args = parser.parse_args()
    if args.dropout is None:
        args.dropout = 0.0 if args.teacher else 0.1
    return args


def from_labels(
    texts: Sequence[str], labels: list[int], settings: dict[str, object], args: argparse.Namespace
) -> tuple[BertForSequenceClassification, Tokenizer, Dataset]:
    """A student that starts from noise. The copies are disturbed a little only, so that their labels stay true."""
    vocabulary = trained_vocabulary(texts, args.vocab_size)
    tokenizer = wordpiece(vocabulary)
    rng = random.Random(args.seed)
    everything = list(texts)
    for _ in range(args.copies):
        everything += augmented(texts, labels, rng, {}, mix=False)
    dataset = Dataset(encode(tokenizer, everything, args.max_tokens), torch.tensor(labels * (args.copies + 1)))
    config = BertConfig(vocab_size=len(vocabulary), pad_token_id=vocabulary.index("[PAD]"), **settings)
    return BertForSequenceClassification(config), tokenizer, dataset


def from_teacher(
    texts: Sequence[str], labels: list[int], settings: dict[str, object], args: argparse.Namespace
) -> tuple[BertForSequenceClassification, Tokenizer, Dataset]:
    """A student cut out of the teacher, which answers all texts and copies."""
    teacher = BertForSequenceClassification.from_pretrained(args.teacher, dtype=torch.float32).eval()
    teacher_tokenizer = Tokenizer.from_file(str(args.teacher / "tokenizer.json"))
    names = list(settings["id2label"].values())
    if missing := sorted(set(names) - teacher.config.label2id.keys()):
        raise SystemExit(f"error: {args.teacher} was not trained on these intents: its config lacks {missing[0]!r}")
    teacher_tokenizer.no_truncation()
    teacher_tokenizer.no_padding()
    classes = [teacher.config.label2id[name] for name in names]
    vocabulary = trimmed_vocabulary(teacher_tokenizer, texts, args.vocab_size)
    tokenizer = wordpiece(vocabulary)
    teacher_ids = teacher_tokenizer.get_vocab()

    words = [token for token in vocabulary if token.isalpha() and len(token) > 1]
    vectors = teacher.get_input_embeddings().weight.detach()
    near = neighbours(words, vectors[[teacher_ids[word] for word in words]])
    rng = random.Random(args.seed)
    everything = list(texts)
    for _ in range(args.copies):
        everything += augmented(texts, labels, rng, near, mix=True)
    asked = encode(teacher_tokenizer, everything, args.max_tokens)
    answers = predict(teacher, asked, bfloat16=args.bfloat16, name="teacher")
    known = torch.tensor([*labels, *[NO_LABEL] * (len(everything) - len(labels))])
    dataset = Dataset(encode(tokenizer, everything, args.max_tokens), known, answers[:, classes])

    config = BertConfig(vocab_size=len(vocabulary), pad_token_id=vocabulary.index("[PAD]"), **settings)
    kept = [teacher_ids[token] for token in vocabulary]
    sample = asked[: len(texts) : max(1, len(texts) // 300)]
    student = shrink(teacher, config, args.layers, kept, classes, sample, torch.Generator().manual_seed(args.seed))
    return student, tokenizer, dataset


def write_readme(args: argparse.Namespace, student: BertForSequenceClassification, facts: dict[str, object]) -> None:
    """The page beside the checkpoint: figures of this run, and the command, without the paths of this machine."""
    words = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    story = WITHOUT_TEACHER
    if args.teacher:
        story = WITH_TEACHER
    name = args.teacher.name if args.teacher else ""
    page = README.format(
        layers=len(args.layers),
        hidden=args.hidden,
        heads=args.heads,
        head_size=args.hidden // args.heads,
        ffn=args.ffn,
        positions=args.max_tokens,
        vocabulary=student.config.vocab_size,
        parameters=student.num_parameters(),
        command=shlex.join(["python", "examples/banking77/train.py", *words]),
        minutes=time.process_time() / 60,
        story=story.format(name=name, layers=", ".join(map(str, args.layers)), passes=args.passes, copies=args.copies),
        **facts,
    )
    (args.out / "README.md").write_text(page, encoding="utf-8")


def main() -> None:
    """Train, save, read anew, score, and write the page about it."""
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(args.seed)

    train_names, texts = read_tsv(args.data / "train.tsv.gz")
    test_names, test_texts = read_tsv(args.data / "test.tsv.gz")
    names = sorted(set(train_names))
    test = f"the {len(test_texts):,} test queries"
    if args.hold_out:
        order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(args.seed)).tolist()
        held, rest = order[: args.hold_out], order[args.hold_out :]
        test_names, test_texts = [train_names[i] for i in held], [texts[i] for i in held]
        train_names, texts = [train_names[i] for i in rest], [texts[i] for i in rest]
        test = f"{args.hold_out:,} training queries left out"
    labels = [names.index(name) for name in train_names]
    log(f"{len(texts):,} texts of {len(names)} intents to learn from, {len(test_texts):,} to be scored on")

    settings = {
        "hidden_size": args.hidden,
        "num_hidden_layers": len(args.layers),
        "num_attention_heads": args.heads,
        "intermediate_size": args.ffn,
        "max_position_embeddings": args.max_tokens,
        "hidden_dropout_prob": args.dropout,
        "attention_probs_dropout_prob": args.dropout,
        "id2label": dict(enumerate(names)),
        "label2id": {name: i for i, name in enumerate(names)},
        "problem_type": "single_label_classification",
    }
    make = from_teacher if args.teacher else from_labels
    student, tokenizer, dataset = make(texts, labels, settings, args)
    log(f"student of {student.num_parameters():,} parameters, {student.config.vocab_size:,} tokens")
    fit(
        student,
        dataset,
        Recipe(
            passes=args.passes,
            batch=args.batch,
            lr=args.lr,
            weight_decay=args.weight_decay,
            temperature=args.temperature,
            hard=args.hard,
            seed=args.seed,
            bfloat16=args.bfloat16,
        ),
    )
    size = save(args.out, student, tokenizer)
    accuracy = score(args.out, test_texts, test_names)
    teacher_score = f" (its teacher: {score(args.teacher, test_texts, test_names):.2f}%)" if args.teacher else ""
    log(f"accuracy on {test}: {accuracy:.2f}%{teacher_score}; {size:,} bytes in {args.out}")
    facts = {
        "megabytes": size / 1e6,
        "intents": len(names),
        "test": test,
        "accuracy": accuracy,
        "teacher_score": teacher_score,
        "size": size,
        "train": len(texts),
    }
    write_readme(args, student, facts)


if __name__ == "__main__":
    main()
