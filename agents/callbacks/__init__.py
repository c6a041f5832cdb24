"""Who is told of a play while it goes on: the contract, and a file each for TensorBoard, MLflow and Weights & Biases."""

from agents.callbacks.callback import Callback
from agents.callbacks.mlflow import MLflow
from agents.callbacks.tensorboard import TensorBoard
from agents.callbacks.weights_and_biases import WeightsAndBiases

__all__ = ["Callback", "MLflow", "TensorBoard", "WeightsAndBiases"]
