"""Networks and properties in the verification competition's files: ONNX and VNN-LIB."""
