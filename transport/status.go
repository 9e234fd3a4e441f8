package transport

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Domain is the domain of every google.rpc.ErrorInfo of ours: by it callers tell
// our errors from those of an application.
const Domain = "snakepitd"

// Reason is why we refused or ended a call. It is public API.
type Reason string

// The reasons; docs/errors.md describes them to callers.
const (
	PoolUnknown     Reason = "POOL_UNKNOWN"
	NoPool          Reason = "NO_POOL"
	QueueFull       Reason = "QUEUE_FULL"
	QueueTimeout    Reason = "QUEUE_TIMEOUT"
	NoWorker        Reason = "NO_WORKER"
	Stopping        Reason = "STOPPING"
	WorkerDied      Reason = "WORKER_DIED"
	WorkerLost      Reason = "WORKER_LOST"
	MessageTooLarge Reason = "MESSAGE_TOO_LARGE"
	BadMetadata     Reason = "BAD_METADATA"
	CallTimeout     Reason = "CALL_TIMEOUT"
	TargetUnknown   Reason = "TARGET_UNKNOWN"
	RestartFailed   Reason = "RESTART_FAILED"
)

// Meaning is a row of the table of reasons.
type Meaning struct {
	Reason Reason
	Code   codes.Code
	// Safe: the call never began in a worker, so that sending it again is safe
	// whatever it does.
	Safe     bool
	Sentence string
}

// Reasons is the one place where codes of ours are chosen.
func Reasons() []Meaning {
	return []Meaning{
		{PoolUnknown, codes.NotFound, true, "the metadata snakepit-pool names a pool that does not exist"},
		{NoPool, codes.Unimplemented, true, "no pool serves this service and there is no default pool"},
		{QueueFull, codes.ResourceExhausted, true, "as many calls as max_queue allows are waiting already"},
		{QueueTimeout, codes.Unavailable, true, "no worker was free within queue_timeout"},
		{NoWorker, codes.Unavailable, true, "no worker is ready and none is coming"},
		{Stopping, codes.Unavailable, true, "the daemon or the pool is stopping"},
		{WorkerDied, codes.Unavailable, false, "the worker died while the call was in it"},
		{WorkerLost, codes.Unavailable, false, "the connection to the worker broke, and the worker may still be running the call"},
		{MessageTooLarge, codes.ResourceExhausted, false, "a message is longer than max_message"},
		{BadMetadata, codes.InvalidArgument, true, "the metadata of the call cannot be passed on"},
		{CallTimeout, codes.DeadlineExceeded, false, "the call had no deadline and ran longer than call_timeout"},
		{TargetUnknown, codes.NotFound, true, "there is no such pool, slot or worker"},
		{RestartFailed, codes.FailedPrecondition, false, "a restart that an operator asked for did not end with ready workers"},
	}
}

func meaning(r Reason) Meaning {
	for _, m := range Reasons() {
		if m.Reason == r {
			return m
		}
	}
	return Meaning{Reason: r, Code: codes.Internal, Sentence: "the reason is not in the table"}
}

// Refusal is an answer of ours instead of a worker's. As an error of a handler it
// becomes a gRPC status with google.rpc.ErrorInfo.
type Refusal struct {
	Reason Reason
	Pool   string // "" where none was chosen
	Worker string // "" where none was chosen
	// Detail is what happened this time: for a death, its cause.
	Detail string
	// Limit is the configured limit that was hit, as "max_queue=1000".
	Limit string
	// RetryAfter, when positive, becomes google.rpc.RetryInfo.
	RetryAfter time.Duration
	// NotStarted says that the call never began in a worker, where the reason
	// alone does not tell.
	NotStarted bool
}

// Error is the sentence that the caller reads.
func (r *Refusal) Error() string {
	var b strings.Builder
	if r.Pool != "" {
		fmt.Fprintf(&b, "pool %s: ", r.Pool)
	}
	if r.Worker != "" {
		fmt.Fprintf(&b, "worker %s: ", r.Worker)
	}
	b.WriteString(meaning(r.Reason).Sentence)
	if r.Limit != "" {
		fmt.Fprintf(&b, " (%s)", r.Limit)
	}
	if r.Detail != "" {
		fmt.Fprintf(&b, ": %s", r.Detail)
	}
	return b.String()
}

// GRPCStatus is the status that the caller gets.
func (r *Refusal) GRPCStatus() *status.Status {
	m := meaning(r.Reason)
	info := &errdetails.ErrorInfo{Reason: string(r.Reason), Domain: Domain, Metadata: map[string]string{}}
	for key, value := range map[string]string{"pool": r.Pool, "worker": r.Worker, "cause": r.Detail, "limit": r.Limit} {
		if value != "" {
			info.Metadata[key] = strings.ToValidUTF8(value, "\uFFFD")
		}
	}
	if m.Safe || r.NotStarted {
		info.Metadata["started"] = "false"
	}
	details := []protoadapt.MessageV1{protoadapt.MessageV1Of(info)}
	if r.RetryAfter > 0 {
		details = append(details, protoadapt.MessageV1Of(&errdetails.RetryInfo{RetryDelay: durationpb.New(r.RetryAfter)}))
	}
	plain := status.New(m.Code, strings.ToValidUTF8(r.Error(), "\uFFFD"))
	full, err := plain.WithDetails(details...)
	if err != nil {
		return plain
	}
	return full
}

// failure is an error of Route or Acquire as the caller gets it. A refusal stays
// what it is; the end of the context is the caller's own doing.
func failure(err error) error {
	if _, ok := errors.AsType[*Refusal](err); ok {
		return err
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return status.FromContextError(err).Err()
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(codes.Internal, err.Error())
}

// brokenStream says whether err can be grpc's own word for a connection that broke.
// An application's UNAVAILABLE comes with trailers, details or words of its own.
// The caller also knows whether the connection of the stream broke.
func brokenStream(err error, trailer metadata.MD) bool {
	s := status.Convert(err)
	if s.Code() != codes.Unavailable || len(trailer) > 0 || len(s.Proto().GetDetails()) > 0 {
		return false
	}
	for _, words := range []string{"connection error: ", "closing transport due to: ", "error reading from server", "transport is closing", "transport: ", "enter idle"} {
		if strings.HasPrefix(s.Message(), words) {
			return true
		}
	}
	return false
}

// overLimit says whether err is grpc's own word for an answer that is longer than
// limit bytes. A worker that refuses a message of the client says the same words,
// but hardly with our limit in them.
func overLimit(err error, trailer metadata.MD, limit int) bool {
	s := status.Convert(err)
	return s.Code() == codes.ResourceExhausted && len(trailer) == 0 && len(s.Proto().GetDetails()) == 0 &&
		strings.HasPrefix(s.Message(), "grpc: ") && strings.HasSuffix(s.Message(), fmt.Sprintf("vs. %d)", limit))
}

// headersTooLong is our word for grpc's own when the metadata of a call is longer than
// the worker's server takes; nil when err is something else.
func headersTooLong(err error) *Refusal {
	if s := status.Convert(err); strings.Contains(s.Message(), "header list size to send violates") {
		return &Refusal{Reason: BadMetadata, Detail: "it is longer than the worker takes: " + s.Message()}
	}
	return nil
}
