"""Scripts of small Keras MNIST projects do under nanocnn what they do under Keras.

Only their imports are changed. Keras's answers are stored in answers.json; how they are made and
compared: see runner.py.
"""

import json
import os
import re

import pytest

from contract.runner import ANSWERS, MESSAGE, SCRIPTS, differences, run, run_keras, translated
from nanocnn import MissingExtraError

STORED = json.loads(ANSWERS.read_text())

# What a project may say: each pattern is found in a script at least. Those of nanocnn's own words
# that Keras lacks are tested elsewhere: metrics.classification_report, sklearn.
WORDS = {
    "first contact": r"""
        input_shape=\( input_dim= InputLayer\(input_shape= Input\(shape= \.build\(\(None,\ 28
        to_categorical\(\w+\) num_classes= MaxPool2D\( import\ keras$ from\ keras\ import\ layers
        keras\.datasets\.mnist\.load_data from\ keras\.(datasets|layers|models|losses)\ import
        from\ keras\.(optimizers|callbacks|metrics|utils)\ import from\ keras\.optimizers\.schedules
        keras\.(layers|models|losses|optimizers|callbacks)\.\w+ keras\.(metrics|regularizers)\.\w+
        keras\.utils\.\w+ image_data_format\(\) set_random_seed\( regularizers\.L2\(
        \bl2\(0\.001\) kernel_regularizer="l2" kernel_initializer= bias_initializer=
    """,
    "calls": r"""
        verbose=0 verbose=1 verbose=2 return_dict=True batch_size=None callbacks=\[
        callbacks=[a-z] predict_on_batch\( test_on_batch\( train_on_batch\( model\(x_test
        training=False get_layer\("f get_layer\(index= \blayer\.get_weights\(
        \.set_weights\(\[ trainable_weights non_trainable_weights \.trainable\ =\ False \.pop\(\)
        from_config\( get_config\( to_json\( model_from_json\( save_weights\( load_weights\(
        \.weights\.h5 model\.layers\[:-1\] model\.layers\[0\] steps_per_epoch= validation_steps=
        steps= yield ImageDataGenerator\( datagen\.flow\( datagen\.fit\( subset
        validation_split= validation_data= initial_epoch= class_weight=
        sample_weight= loss=cautious_loss metrics=\[error_of_zero model\.plot\( plot_model\(
        summary\(print_fn= load_model\( \.save\(.*\.h5 \.save\(.*\.keras count_params\(
        shuffle=False hist(ory)?\.history history\.epoch fit\(x_train,\ y_train,\ 32,\ 2
    """,
    "callbacks": r"""
        on_train_batch_begin on_train_batch_end on_epoch_begin on_epoch_end on_train_begin
        on_train_end on_test_begin on_test_batch_end on_test_end on_predict_begin
        on_predict_batch_end on_predict_end LearningRateScheduler\(step_decay
        LearningRateScheduler\(warm_down LambdaCallback\( CSVLogger\( TerminateOnNaN\(
        TensorBoard\( EarlyStopping\( ModelCheckpoint\( ReduceLROnPlateau\( Callback\):
        restore_best_weights= save_best_only= save_weights_only= save_freq= self\.model
        self\.params optimizer\.learning_rate\ =
    """,
    "losses, metrics, optimizers": r"""
        BinaryCrossentropy\( "binary_crossentropy" Dense\(1,\ activation="sigmoid" "mae"
        MeanAbsoluteError\( "mse" "mean_squared_error" losses\.categorical_crossentropy\b
        "categorical_crossentropy" "sparse_categorical_crossentropy" from_logits=True
        "top_k_categorical_accuracy" TopKCategoricalAccuracy\(k=
        SparseTopKCategoricalAccuracy\( "sparse_top_k_categorical_accuracy" BinaryAccuracy\(
        "binary_accuracy" Precision\( Recall\( SparseCategoricalAccuracy\( "accuracy" "acc"
        Adadelta\( Nadam\( SGD\( RMSprop\( \bAdam\( nesterov=True ExponentialDecay\( CosineDecay\(
        PiecewiseConstantDecay\(
    """,
    "layers": r"""
        ZeroPadding2D\( GlobalAveragePooling2D\( GlobalMaxPooling2D\( Reshape\( \bReLU\(
        LeakyReLU\( Softmax\( Rescaling\( Normalization\(\) \.adapt\( "elu" "leaky_relu" "gelu"
        Conv2D\( MaxPooling2D\( AveragePooling2D\( Flatten\( Dense\( Dropout\( Activation\(
        RandomRotation\( RandomTranslation\( RandomZoom\( RandomErasing\( fill_mode="constant"
        BatchNormalization\( "tanh" "sigmoid" "softmax"
    """,
}
PAIRS = [(part, word) for part, words in WORDS.items() for word in re.split(r"(?<!\\)\s+", words)]


def check(found, name):
    expected = STORED[name]
    wrong = list(differences(expected["result"], found["result"]))
    wrong += differences(expected["messages"], found["messages"], place="messages")
    assert not wrong, f"{name}:\n" + "\n".join(wrong)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_does_under_nanocnn_what_it_does_under_keras(name):
    try:
        found = run(name, "nanocnn")
    except MissingExtraError as error:
        pytest.skip(str(error))
    check(found, name)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SCRIPTS)
def test_the_stored_answers_are_those_of_the_installed_keras(name):
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # before anything imports Keras
    pytest.importorskip("keras", reason="Keras is not installed: pip install '.[parity]'")
    if name == "tensorboard_logs":
        pytest.importorskip("tensorboard", reason="Keras needs it: pip install tensorboard")
    check(run_keras(name), name)


def test_all_scripts_have_answers():
    assert len(SCRIPTS) == 42 and STORED.keys() == SCRIPTS.keys()


@pytest.mark.parametrize("part, word", [pair for pair in PAIRS if pair[1]])
def test_each_word_is_in_a_script(part, word):
    assert any(re.search(word, path.read_text(), re.M) for path in SCRIPTS.values()), part


def test_only_imports_are_changed():
    source = "import keras\nimport keras.layers as kl\nfrom keras import layers\n\nx = keras.a\n"
    assert translated(source) == (
        "import nanocnn as keras\nimport nanocnn.layers as kl\nfrom nanocnn import layers\n\n"
        "x = keras.a\n"
    )
    for path in SCRIPTS.values():
        source = path.read_text()
        changed = [
            (a, b)
            for a, b in zip(source.splitlines(), translated(source).splitlines(), strict=True)
            if a != b
        ]
        assert changed and all(a.startswith(("import keras", "from keras")) for a, _ in changed)
        assert not re.search(r"^[ \t]+(import|from) keras", source, re.M)


@pytest.mark.parametrize(
    "expected, found, place",
    [
        ({"loss": [1.0]}, {"loss": [1.001]}, "result.loss[0]"),
        ({"loss": [1.0]}, {"loss": [1.0, 2.0]}, "result.loss"),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, "result: keys"),
        ([[1, 2]], [[1, 3]], "result[0][1]"),
        ([3], [3.0], "result[0]"),
        ([True], [1], "result[0]"),
        ("Epoch 1: loss improved to 0.50", "Epoch 1: loss improved from 0.50", "result"),
        ("loss 0.50000", "loss 0.51000", "result"),
        ([float("nan")], [1.0], "result[0]"),
    ],
)
def test_differences_are_found(expected, found, place):
    assert [line for line in differences(expected, found) if line.startswith(place)]
    assert not list(differences(expected, expected))


def test_small_differences_are_none():
    pairs = [([1.0], [1.00001]), ("loss 0.50000", "loss 0.50001"), ([float("nan")],) * 2]
    assert not [line for pair in pairs for line in differences(*pair)]


def test_messages_of_callbacks_are_known_from_progress():
    assert MESSAGE.fullmatch("Epoch 4: early stopping")
    assert MESSAGE.fullmatch("Restoring model weights from the end of the best epoch: 2.")
    assert not MESSAGE.fullmatch("Epoch 1/2") and not MESSAGE.fullmatch("Epoch 1, loss 0.5")
