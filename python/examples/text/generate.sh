#!/bin/sh
# Generate text_pb2.py and text_pb2_grpc.py from text.proto, here or in the
# folder given. On Debian: apt-get install protobuf-compiler protobuf-compiler-grpc
set -eu
out=$(realpath "${1:-$(dirname "$0")}")
cd "$(dirname "$0")"
for tool in protoc grpc_python_plugin; do
  command -v "$tool" >/dev/null || { echo "generate.sh: no $tool on PATH" >&2; exit 1; }
done
protoc -I. --python_out="$out" text.proto
protoc -I. --grpc_python_out="$out" \
  --plugin=protoc-gen-grpc_python="$(command -v grpc_python_plugin)" text.proto
