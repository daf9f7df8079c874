"""A small pipeline with a parameter of each type, a loop, a condition and an exit handler, compiled in a second.

Without postponed annotations: KFP reads the real ones.
"""

from pathlib import Path

from kfp import compiler, dsl


@dsl.component(base_image="python:3.11")
def train(model: str, epochs: int) -> str:
    return f"{model} {epochs}"


@dsl.component(base_image="python:3.11")
def gate(rules: dict) -> bool:
    return bool(rules)


@dsl.component(base_image="python:3.11")
def deploy(storage: str) -> None:
    print(storage)


@dsl.component(base_image="python:3.11")
def refuse(storage: str) -> None:
    print(storage)


@dsl.component(base_image="python:3.11")
def notify(storage: str) -> None:
    print(storage)


@dsl.pipeline(name="small")
def small(
    storage: str,
    epochs: int = 3,
    rate: float = 0.1,
    fast: bool = False,
    models: list = ["a", "b"],  # noqa: B006 - KFP's way to say the default
    rules: dict = {"min": 0.5},  # noqa: B006
    recipe: str = "quick",
) -> None:
    with dsl.ExitHandler(notify(storage=storage)):
        with dsl.ParallelFor(models) as model:
            train(model=model, epochs=epochs)
        decided = gate(rules=rules)
        with dsl.If(decided.output == True):  # noqa: E712
            deploy(storage=storage)
        with dsl.Else():
            refuse(storage=storage)


def compile_small(out: Path) -> Path:
    """Write the compiled pipeline to ``out``."""
    compiler.Compiler().compile(small, str(out))
    return out
