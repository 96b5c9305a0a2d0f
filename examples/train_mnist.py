"""Train a convolutional network on MNIST, from the IDX files to saved model and pictures.

python examples/train_mnist.py                      a small network, in about a minute
python examples/train_mnist.py --model lenet        or dropout, two-block: see nanocnn/presets.py
python examples/train_mnist.py --help
"""

import shlex
import sys
from argparse import ArgumentParser
from pathlib import Path

from nanocnn import ModelCheckpoint
from nanocnn.data import mnist
from nanocnn.presets import add_options, begin, check_steps, draw, labels_for


def main() -> int:
    parser = ArgumentParser(description="Train a convolutional network on MNIST.")
    add_options(parser)
    options = parser.parse_args()

    # A new network (its layers are listed in nanocnn/presets.py), or the one of the last epoch.
    # Options that are wrong end the program here, before any work.
    run = begin(options)
    model = run.model

    # Images are uint8 (N,28,28), labels uint8 (N,). The model scales images by 1/255 itself.
    (x_train, y_train), (x_test, y_test) = mnist.load(options.data)
    model.summary()
    check_steps(run, len(x_train), options.batch_size)

    # Labels stay class numbers or become one-hot rows, as the preset's loss wants them.
    y_train, y_true = labels_for(model, y_train), labels_for(model, y_test)
    checkpoints = ModelCheckpoint(run.checkpoint)
    try:
        history = model.fit(
            x_train,
            y_train,
            batch_size=options.batch_size,
            epochs=run.epochs,
            validation_data=(x_test, y_true),
            callbacks=[checkpoints],
            initial_epoch=model.progress.get("epoch", 0),
        )
    except KeyboardInterrupt:
        again = [arg for arg in sys.argv if arg != "--resume"]
        if options.resume or checkpoints.saved:
            print(f"to go on: python {shlex.join(again)} --resume")
        return 130  # what shells expect of a program that was interrupted

    loss, accuracy = model.evaluate(x_test, y_true)
    print(f"test loss {loss:.4f}, test accuracy {accuracy:.2%}")

    model.save(run.file)  # Keras opens it too
    pictures = draw(model, history, x_test, y_test, run.file.parent, options.show)
    written = (run.file, run.checkpoint, *pictures)
    print(f"in {run.file.parent}: {', '.join(path.name for path in written)}")

    if options.require_accuracy is not None and accuracy < options.require_accuracy:
        print(f"test accuracy {accuracy:.4f} is below {options.require_accuracy}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except (OSError, ValueError) as error:  # bad input: the message says what and where
        print(f"{Path(__file__).name}: {error}", file=sys.stderr)
        sys.exit(2)
