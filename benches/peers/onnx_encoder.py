"""The encoder of `network.py` as an ONNX Runtime session; the graph is written node by node, so no exporter is needed."""

import numpy as np
import onnxruntime
from onnx import TensorProto, checker, helper, numpy_helper
from torch import nn

from network import BasicBlock


class Graph:
    """Nodes and weights in the order they are added; every method returns the name of the tensor it makes."""

    def __init__(self):
        self.nodes, self.weights = [], []

    def add(self, kind: str, *inputs: str, **attributes) -> str:
        output = f"{kind}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def weight(self, tensor) -> str:
        name = f"weight{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(tensor.detach().numpy().copy(), name))
        return name

    def conv(self, layer: nn.Conv2d, x: str) -> str:
        pads = [*layer.padding, *layer.padding]
        return self.add(
            "Conv", x, self.weight(layer.weight), kernel_shape=layer.kernel_size, strides=layer.stride, pads=pads
        )

    def norm(self, layer: nn.BatchNorm2d, x: str) -> str:
        terms = (layer.weight, layer.bias, layer.running_mean, layer.running_var)
        return self.add("BatchNormalization", x, *[self.weight(term) for term in terms], epsilon=layer.eps)

    def block(self, block: BasicBlock, x: str) -> str:
        y = self.add("Relu", self.norm(block.bn1, self.conv(block.conv1, x)))
        y = self.norm(block.bn2, self.conv(block.conv2, y))
        shortcut = x if block.downsample is None else self.norm(block.downsample[1], self.conv(block.downsample[0], x))
        return self.add("Relu", self.add("Add", y, shortcut))


def session(network: nn.Sequential, shape: tuple[int, ...], threads: int) -> onnxruntime.InferenceSession:
    """ONNX Runtime session with the weights of `network` for inputs of `shape` (n, c, p, p); output (n, 128, 1, 1)."""
    graph = Graph()
    x = graph.add("Relu", graph.norm(network[1], graph.conv(network[0], "patches")))
    x = graph.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    for stage in (network[4], network[5]):
        for block in stage:
            x = graph.block(block, x)
    x = graph.add("GlobalAveragePool", x)
    patches = helper.make_tensor_value_info("patches", TensorProto.FLOAT, shape)
    embeddings = helper.make_tensor_value_info(x, TensorProto.FLOAT, (shape[0], 128, 1, 1))
    body = helper.make_graph(graph.nodes, "encoder", [patches], [embeddings], graph.weights)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(loaded: onnxruntime.InferenceSession, patches: np.ndarray) -> np.ndarray:
    """embeddings of `patches`, (n, 128, 1, 1)"""
    return loaded.run(None, {"patches": patches})[0]
