# ort_models.py: the small model that the tests of the adapter for ONNX Runtime compute.
"""ort_models.py PATH: writes it there. x is float32 [batch, 64]; with w[i, j] =
((7 i + 3 j) mod 11 - 5) / 16, hidden = relu(x w) and y = hidden w + x. Small integers in x make
every sum exact in float32, in whatever order it is taken."""
import sys

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDTH = 64


def weights():
    rows, columns = numpy.mgrid[0:WIDTH, 0:WIDTH]
    return (((7 * rows + 3 * columns) % 11 - 5) / 16).astype(numpy.float32)


def layers():
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["product"]),
        helper.make_node("Relu", ["product"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "w"], ["sum"]),
        helper.make_node("Add", ["sum", "x"], ["y"]),
    ]
    shape = ["batch", WIDTH]
    graph = helper.make_graph(
        nodes, "layers", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(weights(), "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


if __name__ == "__main__":
    onnx.save(layers(), sys.argv[1])
