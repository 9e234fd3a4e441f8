package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionv1alpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// maxFiles bounds how many files a worker may name.
const maxFiles = 10000

// reflect asks a worker for the descriptors, through the front. The front routes
// by service, and reflection is one of its own: so it is told the pool.
func (a *app) reflect(ctx context.Context, front *link, service protoreflect.FullName, pool string) (*schema, error) {
	if pool == "" {
		if pool = a.poolOf(ctx, string(service)); pool != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "snakepit-pool", pool)
		}
	}
	files, err := fetch(ctx, service, v1(front))
	if hasNone(err) {
		files, err = fetch(ctx, service, v1alpha(front))
	}
	const hint = "describe the messages with --proto FILE or --descriptor-set FILE"
	switch {
	case err == nil:
	case front.unreachable(err) != nil:
		return nil, front.unreachable(err)
	case hasNone(err):
		return nil, fail(exitFailed, hint, "cannot call %s: its server has no reflection", service)
	case isMissing(err):
		return nil, fail(exitNotFound, "is it the right pool? name one with --pool, or "+hint, "cannot call %s: %w", service, err)
	default:
		f := refusal(fmt.Sprintf("ask for the messages of %s by reflection", service), err, nil, newSchema(&protoregistry.Files{}, ""))
		if f.hint == "" {
			f.hint = hint
		}
		return nil, f
	}
	linked, err := linkFiles(files)
	if err != nil {
		return nil, fail(exitFailed, hint, "cannot use what the server's reflection says of %s: %w", service, err)
	}
	return newSchema(linked, "the server"), nil
}

// missing is the server's word that it does not have what was asked for.
type missing struct{ message string }

func (m *missing) Error() string { return "the server does not know it: " + m.message }

// hasNone says whether the server has no such version of reflection. The front's
// own refusals (no pool for it) may have the same code.
func hasNone(err error) bool {
	return status.Code(err) == codes.Unimplemented && errorInfo(status.Convert(err)) == nil
}

func isMissing(err error) bool {
	var m *missing
	return errors.As(err, &m)
}

// asker asks one question of one version of reflection.
type asker func(*reflectionv1.ServerReflectionRequest) (*reflectionv1.ServerReflectionResponse, error)

// fetch gets the file with the service, and all it imports.
func fetch(ctx context.Context, service protoreflect.FullName, open func(context.Context) (asker, error)) ([]*descriptorpb.FileDescriptorProto, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the stream
	ask, err := open(ctx)
	if err != nil {
		return nil, err
	}
	var files []*descriptorpb.FileDescriptorProto
	asked := map[string]bool{}
	have := map[string]bool{}
	queue := []*reflectionv1.ServerReflectionRequest{{MessageRequest: &reflectionv1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: string(service)}}}
	for len(queue) > 0 {
		reply, err := ask(queue[0])
		if err != nil {
			return nil, err
		}
		queue = queue[1:]
		if e := reply.GetErrorResponse(); e != nil {
			if codes.Code(e.GetErrorCode()) == codes.NotFound { //nolint:gosec // a code of gRPC
				return nil, &missing{e.GetErrorMessage()}
			}
			return nil, status.Error(codes.Code(e.GetErrorCode()), e.GetErrorMessage()) //nolint:gosec // a code of gRPC
		}
		for _, data := range reply.GetFileDescriptorResponse().GetFileDescriptorProto() {
			f := &descriptorpb.FileDescriptorProto{}
			if err := proto.Unmarshal(data, f); err != nil {
				return nil, status.Errorf(codes.Internal, "cannot read a descriptor: %v", err)
			}
			if have[f.GetName()] {
				continue
			}
			have[f.GetName()] = true
			files = append(files, f)
		}
		for _, f := range files {
			for _, dep := range f.GetDependency() {
				if have[dep] || asked[dep] {
					continue
				}
				asked[dep] = true
				queue = append(queue, &reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_FileByFilename{FileByFilename: dep}})
			}
		}
		if len(files)+len(queue) > maxFiles {
			return nil, status.Errorf(codes.ResourceExhausted, "the server names more than %d files", maxFiles)
		}
	}
	return files, nil
}

func v1(conn grpc.ClientConnInterface) func(context.Context) (asker, error) {
	return func(ctx context.Context) (asker, error) {
		s, err := reflectionv1.NewServerReflectionClient(conn).ServerReflectionInfo(ctx)
		if err != nil {
			return nil, err
		}
		return func(q *reflectionv1.ServerReflectionRequest) (*reflectionv1.ServerReflectionResponse, error) {
			if err := s.Send(q); err != nil && !errors.Is(err, io.EOF) { // EOF: Recv has the reason
				return nil, err
			}
			return s.Recv()
		}, nil
	}
}

// v1alpha has the same messages under older names: they are carried over as bytes.
func v1alpha(conn grpc.ClientConnInterface) func(context.Context) (asker, error) {
	return func(ctx context.Context) (asker, error) {
		s, err := reflectionv1alpha.NewServerReflectionClient(conn).ServerReflectionInfo(ctx)
		if err != nil {
			return nil, err
		}
		return func(q *reflectionv1.ServerReflectionRequest) (*reflectionv1.ServerReflectionResponse, error) {
			old := &reflectionv1alpha.ServerReflectionRequest{} //nolint:staticcheck // see above
			if err := carry(q, old); err != nil {
				return nil, err
			}
			if err := s.Send(old); err != nil && !errors.Is(err, io.EOF) {
				return nil, err
			}
			reply, err := s.Recv()
			if err != nil {
				return nil, err
			}
			out := &reflectionv1.ServerReflectionResponse{}
			return out, carry(reply, out)
		}, nil
	}
}

func carry(from, to proto.Message) error {
	data, err := proto.Marshal(from)
	if err != nil {
		return fmt.Errorf("cannot translate reflection: %w", err)
	}
	if err := proto.Unmarshal(data, to); err != nil {
		return fmt.Errorf("cannot translate reflection: %w", err)
	}
	return nil
}
