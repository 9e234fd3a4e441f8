package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	pb "github.com/snakepitd/snakepitd/transport/snakepitv1"
)

// callOptions are the flags of call.
type callOptions struct {
	address    string
	data       string
	pool       string
	metadata   []string
	idempotent bool
	deadline   time.Duration
	schema     schemaOptions
}

func (a *app) callCommand() *cobra.Command {
	var o callOptions
	cmd := &cobra.Command{
		Use:   "call SERVICE/METHOD",
		Short: "Call a unary method through the front, JSON in and out",
		Long: "Call a unary method through the front, JSON in and out.\n\n" +
			"What the messages look like comes from --descriptor-set, from --proto, or else from the worker by gRPC reflection.\n" +
			"The reply goes to stdout. An error goes to stderr with its status code, reason, details and trailers.\n" +
			"Bytes are base64 in JSON and in metadata whose key ends in -bin.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.call(cmd.Context(), args[0], o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.address, "address", "", "the front, unix:`PATH` or HOST:PORT (default $SNAKEPIT_LISTEN, else what the daemon says of itself)")
	f.StringVarP(&o.data, "data", "d", "", "request as `JSON`, @FILE or - for stdin (default an empty message)")
	f.StringVar(&o.pool, "pool", "", "`NAME` of the pool to call (default the front's choice: by service, else the default pool)")
	f.StringArrayVar(&o.metadata, "metadata", nil, "metadata `KEY=VALUE` for the call; may be repeated")
	f.BoolVar(&o.idempotent, "idempotent", false, "the call may be run twice: when its worker dies, another answers")
	f.DurationVar(&o.deadline, "deadline", 0, "give up after this `TIME`, for example 30s (0 = the pool's call_timeout)")
	f.StringArrayVar(&o.schema.sets, "descriptor-set", nil, "read the messages from `FILE`, a FileDescriptorSet; may be repeated")
	f.StringArrayVar(&o.schema.protos, "proto", nil, "read the messages from `FILE`, a .proto file; may be repeated")
	f.StringArrayVarP(&o.schema.imports, "import-path", "I", nil, "`DIR` where imports of --proto are; may be repeated")
	cmd.MarkFlagsMutuallyExclusive("descriptor-set", "proto")
	return cmd
}

// call makes one unary call.
func (a *app) call(ctx context.Context, name string, o callOptions) error {
	service, method, ok := splitMethod(name)
	if !ok {
		return fail(exitUsage, "write SERVICE/METHOD with the full name of the service, for example text.v1.Analyzer/Analyze", "cannot call %q: it is no method", name)
	}
	if o.deadline < 0 {
		return fail(exitUsage, "write a time to wait, for example 30s", "cannot call %s: --deadline %s has passed", name, o.deadline)
	}
	md, err := outgoing(o)
	if err != nil {
		return err
	}
	input, err := a.input(o.data)
	if err != nil {
		return err
	}
	if o.deadline > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.deadline)
		defer cancel()
	}
	to, err := a.frontAddress(ctx, o.address)
	if err != nil {
		return err
	}
	front, err := connect(to, "the front", "--address")
	if err != nil {
		return err
	}
	defer front.Close()

	types, err := a.schema(metadata.NewOutgoingContext(ctx, md), front, service, o)
	if err != nil {
		return err
	}
	m, err := types.method(service, method)
	if err != nil {
		return err
	}
	request, err := types.request(m, input)
	if err != nil {
		return err
	}
	return a.invoke(metadata.NewOutgoingContext(ctx, md), front, m, types, request)
}

func (a *app) invoke(ctx context.Context, front *link, m protoreflect.MethodDescriptor, types *schema, request *dynamicpb.Message) error {
	reply := dynamicpb.NewMessage(m.Output())
	var trailers metadata.MD
	full := string(m.Parent().FullName()) + "/" + string(m.Name())
	err := front.Invoke(ctx, "/"+full, request, reply, grpc.Trailer(&trailers))
	if err != nil {
		if f := front.unreachable(err); f != nil {
			return f
		}
		return refusal("call "+full, err, trailers, types)
	}
	line, err := compactProto(protojson.MarshalOptions{Resolver: types}, reply)
	if err != nil {
		return fail(exitFailed, "", "cannot show the reply: %w", err)
	}
	if !a.json {
		line = indent(line)
	}
	a.printf("%s\n", line)
	return nil
}

// splitMethod reads SERVICE/METHOD; a leading slash, as gRPC writes it, is fine.
func splitMethod(name string) (protoreflect.FullName, protoreflect.Name, bool) {
	s, m, found := strings.Cut(strings.TrimPrefix(name, "/"), "/")
	service, method := protoreflect.FullName(s), protoreflect.Name(m)
	return service, method, found && service.IsValid() && method.IsValid()
}

// frontAddress is the flag, the environment, or what the daemon says of itself.
func (a *app) frontAddress(ctx context.Context, flag string) (address, error) {
	if flag != "" {
		return parseAddress(flag, "--address")
	}
	if env := a.getenv("SNAKEPIT_LISTEN"); env != "" {
		return parseAddress(env, "SNAKEPIT_LISTEN")
	}
	s, err := a.ask(ctx)
	if err != nil {
		return address{}, err
	}
	return parseAddress(s.GetDaemon().GetListen(), "listen")
}

// ask asks the daemon for everything.
func (a *app) ask(ctx context.Context) (*pb.StatusReply, error) {
	d, err := a.daemon()
	if err != nil {
		return nil, err
	}
	defer d.Close()
	asking, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	reply, err := d.Status(asking, &pb.StatusRequest{})
	if err != nil {
		return nil, d.explain(ctx, err, "", "ask snakepitd for the address of its front")
	}
	return reply, nil
}
