"""What Keras does not do right, or at all, under `tf.distribute`, and where this project does it instead.

Nothing here patches Keras. `tests/training/test_upstream.py` runs stock Keras and fails on the day one of these is
mended, so that the detour can go.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Workaround:
    """One of them.

    Attributes:
        what: What fails in Keras, as seen in 3.15.1 with TensorFlow 2.21.
        instead: What is done here.
        report: The report upstream, or what to search for there.
    """

    what: str
    instead: str
    report: str


WORKAROUNDS = {
    "steps_per_execution": Workaround(
        what="fit with steps_per_execution > 1 and two replicas fails: 'must feed a value for placeholder'",
        instead="TensorFlowEngine.step takes several batches in one graph call (TrainConfig.steps_per_call)",
        report="https://github.com/keras-team/keras/issues/19246",
    ),
    "gradient_accumulation": Workaround(
        what="gradient_accumulation_steps with two replicas fails: merge_call inside a condition",
        instead="micro-batches inside one step, in both engines (TrainConfig.micro_batches)",
        report="https://github.com/keras-team/keras/issues/20582",
    ),
    "multiworker_fit": Workaround(
        what="fit under MultiWorkerMirroredStrategy fails while it builds the model",
        instead="the engine calls strategy.run itself, on batches that each process gathers",
        report="https://github.com/keras-team/keras/issues/20585",
    ),
    "clipping": Workaround(
        what="global_clipnorm clips every replica's own gradient before they are added: not what one device does",
        instead="gradients are reduced, then clipped (zoo.training.engine.clip_by_global_norm), in both engines",
        report="keras/src/optimizers/base_optimizer.py, _clip_gradients is called before _backend_update_step",
    ),
    "weighted_mean": Workaround(
        what="each replica divides by its own weights, so a batch whose rows weigh differently has another mean",
        instead="every shard's loss counts by its share of the whole batch's weight",
        report="keras/src/losses/loss.py, reduce_values",
    ),
}
