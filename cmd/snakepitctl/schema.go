package main

import (
	"context"
	"errors"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"
)

// schemaOptions say where descriptors come from.
type schemaOptions struct{ sets, protos, imports []string }

// schema is the services and messages of a call. It resolves messages in Any and
// extensions: first its own, then those linked in (well-known types, error details).
type schema struct {
	files *protoregistry.Files
	types *dynamicpb.Types
	from  string // for messages
}

func newSchema(files *protoregistry.Files, from string) *schema {
	return &schema{files: files, types: dynamicpb.NewTypes(files), from: from}
}

// schema reads the descriptors. ctx has the metadata of the call.
func (a *app) schema(ctx context.Context, front *link, service protoreflect.FullName, o callOptions) (*schema, error) {
	switch {
	case len(o.schema.sets) > 0:
		return readSets(o.schema.sets)
	case len(o.schema.protos) > 0:
		return compileProtos(ctx, o.schema.protos, o.schema.imports)
	case len(o.schema.imports) > 0:
		return nil, fail(exitUsage, "name the .proto file with --proto", "cannot use --import-path without --proto")
	}
	return a.reflect(ctx, front, service, o.pool)
}

// method finds a unary method.
func (s *schema) method(service protoreflect.FullName, name protoreflect.Name) (protoreflect.MethodDescriptor, error) {
	d, err := s.files.FindDescriptorByName(service)
	sd, ok := d.(protoreflect.ServiceDescriptor)
	if err != nil || !ok {
		return nil, fail(exitNotFound, s.list("services", s.services()), "cannot call %s/%s: %s has no service %s", service, name, s.from, service)
	}
	m := sd.Methods().ByName(name)
	if m == nil {
		var names []string
		for i := range sd.Methods().Len() {
			names = append(names, string(sd.Methods().Get(i).Name()))
		}
		return nil, fail(exitNotFound, s.list("methods", names), "cannot call %s/%s: the service has no method %s", service, name, name)
	}
	kind := ""
	switch {
	case m.IsStreamingClient() && m.IsStreamingServer():
		kind = "a bidirectional-streaming"
	case m.IsStreamingClient():
		kind = "a client-streaming"
	case m.IsStreamingServer():
		kind = "a server-streaming"
	}
	if kind != "" {
		return nil, fail(exitUsage, "use a gRPC client of your language for streams; the front passes them on", "cannot call %s/%s: it is %s method, and snakepitctl calls unary methods only", service, name, kind)
	}
	return m, nil
}

func (s *schema) list(what string, names []string) string {
	if len(names) == 0 {
		return s.from + " has no " + what
	}
	return "the " + what + " are " + strings.Join(names, ", ")
}

func (s *schema) services() []string {
	var names []string
	s.files.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			names = append(names, string(f.Services().Get(i).FullName()))
		}
		return true
	})
	slices.Sort(names)
	return names
}

// request reads JSON into the method's input.
func (s *schema) request(m protoreflect.MethodDescriptor, input []byte) (*dynamicpb.Message, error) {
	request := dynamicpb.NewMessage(m.Input())
	if err := (protojson.UnmarshalOptions{Resolver: s}).Unmarshal(input, request); err != nil {
		text := strings.TrimPrefix(strings.ReplaceAll(err.Error(), "\u00a0", " "), "proto: ")
		return nil, fail(exitUsage, "the fields are "+strings.Join(fields(m.Input()), ", "), "cannot read the request as %s: %s", m.Input().FullName(), text)
	}
	return request, nil
}

func fields(m protoreflect.MessageDescriptor) []string {
	names := make([]string, 0, m.Fields().Len())
	for i := range m.Fields().Len() {
		names = append(names, m.Fields().Get(i).JSONName())
	}
	if len(names) == 0 {
		return []string{"none: it is an empty message"}
	}
	return names
}

// FindMessageByName implements the resolver of protojson.
func (s *schema) FindMessageByName(name protoreflect.FullName) (protoreflect.MessageType, error) {
	return first(s.types.FindMessageByName, protoregistry.GlobalTypes.FindMessageByName, name)
}

// FindMessageByURL implements the resolver of protojson.
func (s *schema) FindMessageByURL(url string) (protoreflect.MessageType, error) {
	return first(s.types.FindMessageByURL, protoregistry.GlobalTypes.FindMessageByURL, url)
}

// FindExtensionByName implements the resolver of protojson.
func (s *schema) FindExtensionByName(name protoreflect.FullName) (protoreflect.ExtensionType, error) {
	return first(s.types.FindExtensionByName, protoregistry.GlobalTypes.FindExtensionByName, name)
}

// FindExtensionByNumber implements the resolver of protojson.
func (s *schema) FindExtensionByNumber(message protoreflect.FullName, number protoreflect.FieldNumber) (protoreflect.ExtensionType, error) {
	find := func(in interface {
		FindExtensionByNumber(protoreflect.FullName, protoreflect.FieldNumber) (protoreflect.ExtensionType, error)
	},
	) func(protoreflect.FullName) (protoreflect.ExtensionType, error) {
		return func(m protoreflect.FullName) (protoreflect.ExtensionType, error) {
			return in.FindExtensionByNumber(m, number)
		}
	}
	return first(find(s.types), find(protoregistry.GlobalTypes), message)
}

func first[K, V any](own, linked func(K) (V, error), key K) (V, error) {
	v, err := own(key)
	if errors.Is(err, protoregistry.NotFound) {
		return linked(key)
	}
	return v, err
}
