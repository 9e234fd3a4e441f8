package main

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionv1alpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/anypb"
)

// echoFiles is test/v1/part.proto and test/v1/echo.proto, which imports it; the
// scripts have the same as text.
func echoFiles() *protoregistry.Files {
	s := func(text string) *string { return &text }
	n := func(i int32) *int32 { return &i }
	field := func(name string, number int32, kind descriptorpb.FieldDescriptorProto_Type, of string) *descriptorpb.FieldDescriptorProto {
		f := &descriptorpb.FieldDescriptorProto{Name: s(name), Number: n(number), Type: kind.Enum(), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum()}
		if of != "" {
			f.TypeName = s(of)
		}
		return f
	}
	text, bytes, message := descriptorpb.FieldDescriptorProto_TYPE_STRING, descriptorpb.FieldDescriptorProto_TYPE_BYTES, descriptorpb.FieldDescriptorProto_TYPE_MESSAGE
	method := func(name string, in, out bool) *descriptorpb.MethodDescriptorProto {
		return &descriptorpb.MethodDescriptorProto{Name: s(name), InputType: s(".test.v1.Message"), OutputType: s(".test.v1.Message"), ClientStreaming: &in, ServerStreaming: &out}
	}
	files, err := protodesc.NewFiles(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{
		{
			Name: s("test/v1/part.proto"), Package: s("test.v1"), Syntax: s("proto3"),
			MessageType: []*descriptorpb.DescriptorProto{{Name: s("Part"), Field: []*descriptorpb.FieldDescriptorProto{field("data", 1, bytes, "")}}},
		},
		{
			Name: s("test/v1/echo.proto"), Package: s("test.v1"), Syntax: s("proto3"), Dependency: []string{"test/v1/part.proto"},
			MessageType: []*descriptorpb.DescriptorProto{{Name: s("Message"), Field: []*descriptorpb.FieldDescriptorProto{
				field("text", 1, text, ""), field("part", 2, message, ".test.v1.Part"), field("seen_metadata", 3, text, ""),
			}}},
			Service: []*descriptorpb.ServiceDescriptorProto{{Name: s("Echo"), Method: []*descriptorpb.MethodDescriptorProto{
				method("Say", false, false), method("Die", false, false), method("Wait", false, false), method("NotHere", false, false),
				method("Down", false, true), method("Up", true, false), method("Both", true, true),
			}}},
		},
	}})
	if err != nil {
		panic(err)
	}
	return files
}

func fileOf(path string) protoreflect.FileDescriptor {
	f, err := echoFiles().FindFileByPath(path)
	if err != nil {
		panic(err)
	}
	return f
}

func echoFile() protoreflect.FileDescriptor { return fileOf("test/v1/echo.proto") }
func partFile() protoreflect.FileDescriptor { return fileOf("test/v1/part.proto") }

func reflectV1(s *grpc.Server, o reflection.ServerOptions) {
	reflectionv1.RegisterServerReflectionServer(s, reflection.NewServerV1(o))
}

func reflectV1Alpha(s *grpc.Server, o reflection.ServerOptions) {
	reflectionv1alpha.RegisterServerReflectionServer(s, reflection.NewServer(o))
}

// newFront is a gRPC server with the service test.v1.Echo, which refuses pools
// other than text as the front does.
func newFront(with func(*grpc.Server, reflection.ServerOptions)) *grpc.Server {
	refusePool := func(ctx context.Context) error {
		for _, name := range metadata.ValueFromIncomingContext(ctx, "snakepit-pool") {
			if name != "text" {
				return refuse(codes.NotFound, "POOL_UNKNOWN", "pool "+name+": not found")
			}
		}
		return nil
	}
	s := grpc.NewServer(
		grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
			if err := refusePool(ctx); err != nil {
				return nil, err
			}
			return h(ctx, req)
		}),
		grpc.StreamInterceptor(func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) error {
			if err := refusePool(ss.Context()); err != nil {
				return err
			}
			if len(metadata.ValueFromIncomingContext(ss.Context(), "snakepit-pool")) == 0 {
				// Reflection belongs to no pool: the command has to find out which one.
				return refuse(codes.Unimplemented, "NO_POOL", "no pool lists the service")
			}
			return h(srv, ss)
		}),
	)
	files := echoFiles()
	message, err := files.FindDescriptorByName("test.v1.Message")
	if err != nil {
		panic(err)
	}
	md, ok := message.(protoreflect.MessageDescriptor)
	if !ok {
		panic("test.v1.Message is no message")
	}
	desc := &grpc.ServiceDesc{ServiceName: "test.v1.Echo", HandlerType: (*any)(nil)}
	for name, handle := range map[string]func(context.Context, *dynamicpb.Message) (*dynamicpb.Message, error){
		"Say": say, "Die": die,
		"Wait": func(ctx context.Context, _ *dynamicpb.Message) (*dynamicpb.Message, error) {
			<-ctx.Done()
			return nil, status.FromContextError(ctx.Err()).Err()
		},
	} {
		desc.Methods = append(desc.Methods, grpc.MethodDesc{MethodName: name, Handler: func(_ any, ctx context.Context, decode func(any) error, unary grpc.UnaryServerInterceptor) (any, error) {
			in := dynamicpb.NewMessage(md)
			if err := decode(in); err != nil {
				return nil, err
			}
			return unary(ctx, in, &grpc.UnaryServerInfo{}, func(ctx context.Context, _ any) (any, error) { return handle(ctx, in) })
		}})
	}
	s.RegisterService(desc, new(any))
	if with != nil {
		with(s, reflection.ServerOptions{Services: s, DescriptorResolver: files})
	}
	return s
}

// say answers with the request, and with the metadata it saw.
func say(ctx context.Context, in *dynamicpb.Message) (*dynamicpb.Message, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	var seen []string
	for _, k := range sorted(md) {
		if strings.HasPrefix(k, "snakepit-") || strings.HasPrefix(k, "x-") {
			seen = append(seen, fmt.Sprintf("%s=%q", k, md[k]))
		}
	}
	in.Set(in.Descriptor().Fields().ByName("seen_metadata"), protoreflect.ValueOfString(strings.Join(seen, " ")))
	return in, nil
}

// die fails as the front does when a worker dies, with trailers of both kinds.
func die(ctx context.Context, _ *dynamicpb.Message) (*dynamicpb.Message, error) {
	if err := grpc.SetTrailer(ctx, metadata.Pairs("x-trace", "abc", "x-raw-bin", "\x00\xff")); err != nil {
		return nil, err
	}
	st, err := status.New(codes.Unavailable, "worker text-0-2 died: killed by SIGKILL\x1b[2J").WithDetails(
		&errdetails.ErrorInfo{Domain: "snakepitd", Reason: "WORKER_DIED", Metadata: map[string]string{"pool": "text", "worker": "text-0-2"}},
		&errdetails.RetryInfo{},
	)
	if err != nil {
		return nil, err
	}
	p := st.Proto()
	p.Details = append(p.Details, &anypb.Any{TypeUrl: "type.googleapis.com/stranger.v1.Detail", Value: []byte{8, 1}})
	return nil, status.ErrorProto(p)
}
