package main

import (
	"context"
	"errors"
	"io"
	"math"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
)

// The bare proxy: what a stream proxy on grpc-go costs at least. It knows no pools,
// no leases and no errors of its own. Buffers and collector are tuned like the
// daemon's, so that what is left is the difference in work.

type raw struct{ data mem.BufferSlice }

type rawCodec struct{}

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(*raw)
	if !ok {
		return nil, errors.New("not a raw message")
	}
	m.data.Ref()
	return m.data, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*raw)
	if !ok {
		return errors.New("not a raw message")
	}
	data.Ref()
	m.data = data
	return nil
}

func (rawCodec) Name() string { return "proto" }

func dialRaw(address string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+address, append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(), grpc.WithIdleTimeout(0), grpc.WithAuthority("localhost"),
		grpc.WithReadBufferSize(64 << 10), grpc.WithWriteBufferSize(64 << 10),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{}), grpc.MaxCallRecvMsgSize(math.MaxInt32), grpc.MaxCallSendMsgSize(math.MaxInt32)),
	}, opts...)...)
}

func rawServer(handler grpc.StreamHandler) *grpc.Server {
	return grpc.NewServer(grpc.ForceServerCodecV2(rawCodec{}), grpc.UnknownServiceHandler(handler),
		grpc.MaxRecvMsgSize(math.MaxInt32), grpc.MaxSendMsgSize(math.MaxInt32),
		grpc.ReadBufferSize(64<<10), grpc.WriteBufferSize(64<<10))
}

func bareProxy(backend string) (*grpc.Server, error) {
	conn, err := dialRaw(backend)
	if err != nil {
		return nil, err
	}
	return rawServer(func(_ any, up grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(up)
		in, _ := metadata.FromIncomingContext(up.Context())
		ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(up.Context(), in))
		defer cancel()
		down, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
		if err != nil {
			return err
		}
		go func() {
			var m raw
			for {
				if err := up.RecvMsg(&m); err != nil {
					if errors.Is(err, io.EOF) {
						_ = down.CloseSend()
					}
					return
				}
				err := down.SendMsg(&m)
				m.data.Free()
				if err != nil {
					return
				}
			}
		}()
		var m raw
		for first := true; ; first = false {
			if err := down.RecvMsg(&m); err != nil {
				up.SetTrailer(down.Trailer())
				if errors.Is(err, io.EOF) {
					return nil
				}
				return err
			}
			if first {
				header, _ := down.Header()
				_ = up.SetHeader(header)
			}
			err := up.SendMsg(&m)
			m.data.Free()
			if err != nil {
				return err
			}
		}
	}), nil
}

func echo(_ any, s grpc.ServerStream) error {
	var m raw
	for {
		if err := s.RecvMsg(&m); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		err := s.SendMsg(&m)
		m.data.Free()
		if err != nil {
			return err
		}
	}
}
