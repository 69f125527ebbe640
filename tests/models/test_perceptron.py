"""The multilayer perceptron learns what it should."""
import numpy as np

from dlcore.models import mlp


def test_shapes_and_layers():
    model = mlp((4, 5), [16, 8], 3, dropout=0.1, output_activation="softmax")
    assert [type(layer).__name__ for layer in model.layers] == ["Flatten", "Dense", "Dropout", "Dense", "Dropout",
                                                                "Dense"]
    assert model.count_params() == 20 * 16 + 16 + 16 * 8 + 8 + 8 * 3 + 3
    assert model.predict(np.zeros((2, 4, 5), np.float32)).shape == (2, 3)


def test_learns_a_curve():
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, (512, 1)).astype(np.float32)
    model = mlp((1,), [32, 32], 1, activation="tanh", kernel_initializer="glorot_uniform")
    model.compile("adam", "mse")
    model.optimizer.learning_rate = 0.01
    model.fit(x, np.sin(2 * x), epochs=60, verbose=0)
    assert model.evaluate(x, np.sin(2 * x)) < 0.01
