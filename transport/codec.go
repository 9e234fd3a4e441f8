package transport

import (
	"fmt"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// message is one message of a call as it came. Whoever receives one frees it;
// sending does not use it up.
type message struct{ data mem.BufferSlice }

func (m *message) free() {
	m.data.Free()
	m.data = nil
}

// codec passes a *message as it is, without a copy, and leaves everything else to
// protobuf: health is served by the same server as the calls of workers. It must
// never be registered: only servers and connections of this package force it.
type codec struct {
	name  string
	proto encoding.CodecV2
}

// newCodec has an empty name for connections to workers, so that they get the
// content type application/grpc, or what the client sent.
func newCodec(name string) codec {
	return codec{name: name, proto: encoding.GetCodecV2(proto.Name)}
}

func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(*message)
	if !ok {
		return c.proto.Marshal(v)
	}
	m.data.Ref() // grpc frees what we return
	return m.data, nil
}

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*message)
	if !ok {
		if err := c.proto.Unmarshal(data, v); err != nil {
			return fmt.Errorf("cannot read a message: %w", err)
		}
		return nil
	}
	data.Ref() // grpc frees data when we return
	m.data = data
	return nil
}

func (c codec) Name() string { return c.name }
