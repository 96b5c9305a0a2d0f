"""The contestants: every library trains and runs the same networks, written as its own users would.

Each lives alone in a process of its own (workers.py) and offers
    fit(steps) -> loss      train on `steps` minibatches, shuffled, with loss and accuracy counted
    forms() -> {name: call} the ways to run the network on images, each on an array of NHWC
Data is float32 NHWC in [0, 1] and int64 labels; what a library wants it in is arranged beforehand.
ONNX Runtime and OpenVINO only predict.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from networks import keras_layers, set_torch_weights, torch_layers
from presets import Preset

Form = Callable[[Any], Any]
CONTESTANTS: dict[str, tuple[str, Callable[..., Any]]] = {}
"""Name on the command line -> (name in tables, class)."""

OURS = "nanocnn"
DEFAULT = ("nanocnn", "torch", "torch-cl", "keras", "keras-nojit")
PREDICTORS = ("onnxruntime", "onnxruntime-1", "openvino", "openvino-1")
"""Those without `fit`."""

AVX2 = "nanocnn-avx2"
HELD = {AVX2: "avx2"}
"""Contestants whose process is limited to an instruction set, whatever --isa says."""

NOT_HELD = ("onnxruntime", "onnxruntime-1")
"""Those that nothing limits: ONNX Runtime looks at the processor alone."""


class Task(NamedTuple):
    """What a contestant gets: network, data, images per step, threads.

    weights  of the whole network, in Keras's order and shapes; () for the library's own
    folder   for files; shared by all contestants
    expected predictions of the first images
    """

    preset: Preset
    x: Any
    y: Any
    batch: int
    threads: int
    weights: Sequence[Any] = ()
    folder: Path = Path()
    expected: Any = ()


def contestant(name: str, title: str, **settings: Any) -> Callable[[type], type]:
    """Enter a class under `name`; `settings` go to its constructor, after the task."""

    def enter(cls: type) -> type:
        CONTESTANTS[name] = (title, lambda task: cls(task, **settings))
        return cls

    return enter


def title(name: str) -> str:
    return CONTESTANTS[name][0]


@contestant(OURS, "nanocnn")
@contestant(AVX2, "nanocnn, limited to AVX2")
@contestant("nanocnn-reference", "nanocnn (reference, NumPy)", kernels="reference")
class Nanocnn:
    def __init__(self, task: Task, kernels: str = "fast") -> None:
        import nanocnn

        nanocnn.set_num_threads(task.threads)
        self.x, self.y, self.batch = task.x, task.y, task.batch
        layers = keras_layers(task.preset.layers, nanocnn)
        self.model = nanocnn.Sequential(layers, seed=0, kernels=kernels)
        if task.weights:
            self.model.set_weights(task.weights)
        adam = task.preset.optimizer == "adam"
        optimizer = nanocnn.Adam(1e-3) if adam else nanocnn.RMSprop(1e-3)
        self.model.compile(
            optimizer=optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"]
        )

    def fit(self, steps: int) -> float:
        n = steps * self.batch
        history = self.model.fit(self.x[:n], self.y[:n], batch_size=self.batch, verbose=0)
        return float(history.history["loss"][-1])

    def forms(self) -> dict[str, Form]:
        return {"predict": lambda x: self.model.predict(x, batch_size=len(x))}


@contestant("keras", "Keras on TensorFlow")
@contestant("keras-nojit", "Keras on TensorFlow, no XLA", jit=False)
class Keras:
    """`jit` "auto" is Keras's default: XLA wherever the model allows it."""

    def __init__(self, task: Task, jit: Any = "auto") -> None:
        import tensorflow

        tensorflow.config.threading.set_intra_op_parallelism_threads(task.threads)
        tensorflow.config.threading.set_inter_op_parallelism_threads(task.threads)
        import keras

        self.tensorflow, self.jit = tensorflow, jit == "auto"
        self.x, self.y, self.batch = task.x, task.y, task.batch
        keras.utils.set_random_seed(0)
        self.model = keras.Sequential(keras_layers(task.preset.layers, keras.layers))
        if task.weights:
            self.model.set_weights(task.weights)
        optimizers = {"adam": keras.optimizers.Adam, "rmsprop": keras.optimizers.RMSprop}
        self.model.compile(
            optimizer=optimizers[task.preset.optimizer](1e-3),
            loss="sparse_categorical_crossentropy",
            metrics=["accuracy"],
            jit_compile=jit,
        )

    def fit(self, steps: int) -> float:
        n = steps * self.batch
        history = self.model.fit(self.x[:n], self.y[:n], batch_size=self.batch, verbose=0)
        return float(history.history["loss"][-1])

    def forms(self) -> dict[str, Form]:
        call = self.tensorflow.function(
            lambda x: self.model(x, training=False), jit_compile=self.jit
        )
        return {
            "predict": lambda x: self.model.predict(x, batch_size=len(x), verbose=0),
            "compiled call": lambda x: call(self.tensorflow.constant(x)).numpy(),
        }


@contestant("torch", "PyTorch NCHW")
@contestant("torch-cl", "PyTorch channels-last, fused Adam", channels_last=True)
@contestant("torch-compile", "torch.compile, channels-last", channels_last=True, compiled=True)
class Torch:
    """Plain eager training loop; no DataLoader (it is slower), no waiting for numbers in a step."""

    def __init__(self, task: Task, channels_last: bool = False, compiled: bool = False) -> None:
        import torch

        torch.set_num_threads(task.threads)
        torch.set_num_interop_threads(1)
        torch.manual_seed(0)
        self.torch, self.batch = torch, task.batch
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.x, self.y = self.tensor(task.x), torch.from_numpy(task.y)
        *layers, _ = torch_layers(task.preset.layers, torch.nn)  # the loss includes the softmax
        self.model = torch.nn.Sequential(*layers)
        if task.weights:
            set_torch_weights(self.model, task.weights, task.preset.shape, torch)
        self.model.to(memory_format=self.format)
        if task.preset.optimizer == "adam":
            self.optimizer = torch.optim.Adam(
                self.model.parameters(), 1e-3, fused=channels_last or None
            )
        else:
            self.optimizer = torch.optim.RMSprop(self.model.parameters(), 1e-3, alpha=0.9, eps=1e-7)
        self.call = torch.compile(self.model) if compiled else self.model

    def tensor(self, x: Any) -> Any:
        return self.torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(memory_format=self.format)

    def fit(self, steps: int) -> float:
        torch = self.torch
        self.model.train()
        total, correct = torch.zeros(()), torch.zeros((), dtype=torch.long)
        for rows in torch.randperm(steps * self.batch).split(self.batch):
            target = self.y[rows]
            self.optimizer.zero_grad(set_to_none=True)
            logits = self.call(self.x[rows])
            loss = torch.nn.functional.cross_entropy(logits, target)
            loss.backward()
            self.optimizer.step()
            total += loss.detach()
            correct += (logits.detach().argmax(1) == target).sum()
        self.accuracy = int(correct) / (steps * self.batch)
        return float(total) / steps

    def forms(self) -> dict[str, Form]:
        self.model.eval()

        def call(x: Any) -> Any:
            with self.torch.inference_mode():
                return self.call(self.tensor(x)).softmax(1).numpy()

        return {"call": call}


class OnnxPeer:
    """A library that runs PyTorch's ONNX file of the network, compiled for each batch size.

    The fixed size is what its users give it for speed. Images are NHWC; for one channel the change
    to NCHW copies nothing.
    """

    package: str

    def __init__(self, task: Task, threads: int | None = None) -> None:
        self.threads = threads or task.threads
        self.shape = task.preset.shape
        self.library = import_module(self.package)
        self.file = task.folder / "network.onnx"
        if not self.file.exists():  # by another process, so that PyTorch is not loaded in this one
            with ProcessPoolExecutor(1, get_context("spawn")) as exporter:
                exporter.submit(export, task.preset, task.weights, self.file).result()
        self.compiled = cache(self.compile)

    def forms(self) -> dict[str, Form]:
        return {"call": lambda x: self.compiled(len(x))(x.transpose(0, 3, 1, 2))}

    def compile(self, batch: int) -> Form:
        """The network for `batch` images, as a function of an array NCHW."""
        raise NotImplementedError


def export(preset: Preset, weights: Sequence[Any], file: Path) -> None:
    """Write the network in inference as ONNX, with PyTorch's exporter."""
    import onnx  # noqa: F401  (the exporter needs both)
    import onnxscript  # noqa: F401
    import torch

    network = torch.nn.Sequential(*torch_layers(preset.layers, torch.nn))
    set_torch_weights(network, weights, preset.shape, torch)
    H, W, C = preset.shape
    torch.onnx.export(
        network.eval(), (torch.zeros(2, C, H, W),), file, input_names=["x"], output_names=["y"],
        dynamic_shapes=({0: torch.export.Dim("N")},), external_data=False, verbose=False,
    )  # fmt: skip


@contestant("onnxruntime", "ONNX Runtime")
@contestant("onnxruntime-1", "ONNX Runtime, 1 thread", threads=1)
class OnnxRuntime(OnnxPeer):
    package = "onnxruntime"

    def compile(self, batch: int) -> Form:
        import numpy as np

        options = self.library.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        options.add_free_dimension_override_by_name("N", batch)
        session = self.library.InferenceSession(
            self.file, options, providers=["CPUExecutionProvider"]
        )
        return lambda x: session.run(None, {"x": np.ascontiguousarray(x)})[0]


@contestant("openvino", "OpenVINO")
@contestant("openvino-1", "OpenVINO, 1 thread", threads=1)
class OpenVino(OnnxPeer):
    """In float32 as all others: by default OpenVINO takes bfloat16 where the processor has it."""

    package = "openvino"

    def compile(self, batch: int) -> Form:
        import numpy as np

        H, W, C = self.shape
        model = self.library.convert_model(self.file)
        model.reshape([batch, C, H, W])
        settings = {
            "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": self.threads,
            "PERFORMANCE_HINT": "LATENCY",
        }  # fmt: skip
        compiled = self.library.Core().compile_model(model, "CPU", settings)
        request = compiled.create_infer_request()
        infer = partial(request.infer, share_inputs=True)
        return lambda x: infer({0: np.ascontiguousarray(x)})[0]
