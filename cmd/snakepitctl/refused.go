package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
)

// refused is what a call that failed brought back.
type refused struct {
	Code     string              `json:"code"`
	Message  string              `json:"message"`
	Reason   string              `json:"reason,omitempty"`
	Domain   string              `json:"domain,omitempty"`
	Info     map[string]string   `json:"info,omitempty"` // metadata of the ErrorInfo
	Details  []json.RawMessage   `json:"details,omitempty"`
	Trailers map[string][]string `json:"trailers,omitempty"` // -bin values in base64
}

// refusal makes a failure of the error of a call.
func refusal(what string, err error, trailers metadata.MD, types *schema) *failure {
	st := status.Convert(err)
	r := &refused{Code: codeName(st.Code()), Message: st.Message(), Trailers: map[string][]string{}}
	for key, values := range trailers {
		if key == "grpc-status-details-bin" || key == "content-type" {
			continue // the first are the details below, the second belongs to gRPC
		}
		for _, v := range values {
			if strings.HasSuffix(key, "-bin") {
				v = base64.StdEncoding.EncodeToString([]byte(v))
			}
			r.Trailers[key] = append(r.Trailers[key], v)
		}
	}
	for _, detail := range st.Proto().GetDetails() {
		info := &errdetails.ErrorInfo{}
		if r.Reason == "" && detail.MessageIs(info) && detail.UnmarshalTo(info) == nil {
			r.Reason, r.Domain, r.Info = info.GetReason(), info.GetDomain(), info.GetMetadata()
			continue
		}
		r.Details = append(r.Details, detailJSON(detail, types))
	}
	f := fail(exitFailed, "", "cannot %s: %s: %s", what, r.Code, r.Message)
	f.more = r
	f.exit, f.hint = r.advice(st.Code())
	return f
}

// detailJSON is a detail as JSON; a type nobody knows here keeps its bytes.
func detailJSON(detail *anypb.Any, types *schema) json.RawMessage {
	if line, err := compactProto(protojson.MarshalOptions{Resolver: types}, detail); err == nil {
		return line
	}
	line, err := json.Marshal(map[string]string{"@type": detail.GetTypeUrl(), "bytes": base64.StdEncoding.EncodeToString(detail.GetValue())})
	if err != nil {
		return json.RawMessage("{}")
	}
	return line
}

// advice is the exit code and the hint for an error.
func (r *refused) advice(c codes.Code) (int, string) {
	if r.Domain == "snakepitd" {
		switch r.Reason {
		case "POOL_UNKNOWN", "NO_POOL":
			return exitNotFound, "snakepitctl status shows the pools; name one with --pool"
		case "NO_WORKER", "WORKER_DIED", "WORKER_LOST":
			return exitFailed, strings.TrimSpace("snakepitctl why "+r.Info["pool"]) + " tells why workers died"
		}
		return exitFailed, ""
	}
	switch c {
	case codes.Unimplemented:
		return exitFailed, "does this pool serve the method? name another pool with --pool"
	case codes.DeadlineExceeded:
		return exitFailed, "give it more time with --deadline, or see snakepitctl status"
	default:
		return exitFailed, ""
	}
}

// write writes what the error line does not have.
func (r *refused) write(w io.Writer) {
	line := func(name, value string) { fmt.Fprintf(w, "  %-9s %s\n", name, clean(value)) }
	line("code", r.Code)
	if r.Reason != "" {
		line("reason", r.Reason+" ("+r.Domain+")")
	}
	for _, k := range sorted(r.Info) {
		line("info", k+"="+r.Info[k])
	}
	for _, d := range r.Details {
		line("detail", string(d))
	}
	for _, k := range sorted(r.Trailers) {
		for _, v := range r.Trailers[k] {
			line("trailer", k+": "+v)
		}
	}
}

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// poolOf is the pool that lists a service, "" if none does or nobody can tell.
func (a *app) poolOf(ctx context.Context, service string) string {
	s, err := a.ask(ctx)
	if err != nil {
		return ""
	}
	for _, p := range s.GetPools() {
		if slices.Contains(p.GetServices(), service) {
			return p.GetName()
		}
	}
	return ""
}
