"""Train a convolutional network on MNIST: from the data files to a saved model and pictures.

python examples/train_mnist.py                      a small network, in about a minute
python examples/train_mnist.py --model lenet        or dropout, two-block: see nanocnn/presets.py
mpiexec -n 4 python examples/train_mnist.py         one model on four processes
python examples/train_mnist.py --help
"""

import sys
from argparse import ArgumentParser

from nanocnn import ModelCheckpoint, Sequential
from nanocnn.cli import program, training
from nanocnn.data import mnist
from nanocnn.presets import PRESETS, callbacks, labels_for


def build(name, seed=0, kernels="fast", optimizer=None):
    """A new network, compiled. nanocnn/presets.py lists its layers; put your own here instead."""
    preset = PRESETS[name]
    model = Sequential(preset.layers(), seed=seed, kernels=kernels, name=name)
    model.compile(optimizer or preset.optimizer, loss=preset.loss, metrics=["accuracy"])
    return model


def main() -> int:
    parser = ArgumentParser(description="Train a convolutional network on MNIST.")
    training.add_options(parser)
    options = parser.parse_args()

    # Check the options, then build the network or, with --resume, load the last checkpoint.
    run = training.begin(options, build)
    model = run.model

    # Images are uint8 (N,28,28), labels uint8 (N,). The model scales images by 1/255 itself.
    (x_train, y_train), (x_test, y_test) = mnist.load(options.data)
    model.summary()
    training.check_steps(model, len(x_train), options.batch_size, run.epochs)

    # Labels stay class numbers or become one-hot rows, depending on the loss.
    y_train, y_true = labels_for(model, y_train), labels_for(model, y_test)
    with training.resume_hint(model, "python", sys.argv[0]):
        history = model.fit(
            x_train,
            y_train,
            batch_size=options.batch_size,
            epochs=run.epochs,
            validation_data=(x_test, y_true),
            callbacks=[*callbacks(model, run.epochs), ModelCheckpoint(run.checkpoint)],
            initial_epoch=model.progress.get("epoch", 0),
            shards=options.shards,
        )
    if not training.writes_results():  # one of several processes: the first one does the rest
        return 0

    loss, accuracy = model.evaluate(x_test, y_true)
    print(f"test loss {loss:.4f}, test accuracy {accuracy:.2%}")

    model.save(run.file)  # Keras can open it
    pictures = training.draw(model, history, x_test, y_test, run.file.parent, options.show)
    return training.end(run, pictures, accuracy, options.require_accuracy)


if __name__ == "__main__":
    sys.exit(program.run(main, "train_mnist.py"))
