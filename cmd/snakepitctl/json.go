package main

import (
	"bytes"
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// writeJSON writes one JSON object on one line.
func (a *app) writeJSON(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return fail(exitFailed, "", "cannot write JSON: %w", err)
	}
	a.printf("%s\n", line)
	return nil
}

// writeProto writes a message of the control API as one JSON object on one line,
// empty fields included, so that programs need not know the defaults.
func (a *app) writeProto(m proto.Message) error {
	line, err := compactProto(protojson.MarshalOptions{EmitDefaultValues: true}, m)
	if err != nil {
		return fail(exitFailed, "", "cannot write JSON: %w", err)
	}
	a.printf("%s\n", line)
	return nil
}

// compactProto takes out the spaces that protojson puts in at random.
func compactProto(o protojson.MarshalOptions, m proto.Message) ([]byte, error) {
	data, err := o.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("cannot turn %s into JSON: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	var b bytes.Buffer
	if err := json.Compact(&b, data); err != nil {
		return nil, fmt.Errorf("cannot turn %s into JSON: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	return b.Bytes(), nil
}
