package transport

import (
	"strings"

	"google.golang.org/grpc/metadata"
)

// Metadata keys of ours. Those that clients set are for us and end here.
const (
	keyPool       = "snakepit-pool"       // client: the pool of the call
	keyIdempotent = "snakepit-idempotent" // client: 1 or true, the call may run twice
	keySession    = "snakepit-session"    // client: reserved
	keyCall       = "snakepit-call"       // to the worker: our id of the call
	keyRunning    = "snakepit-running"    // from the worker, at a health check: does that call run?
)

// reserved keys never pass from a client to a worker.
func reserved(key string) bool {
	switch key {
	case keyPool, keyIdempotent, keySession, keyCall, keyRunning:
		return true
	}
	return false
}

// hop keys belong to one HTTP/2 connection and not to the call. grpc sets its own.
func hop(key string) bool {
	if key == "" || key[0] == ':' {
		return true
	}
	switch key {
	case "content-type", "user-agent", "te", "connection", "host",
		"grpc-timeout", "grpc-encoding", "grpc-accept-encoding", "grpc-message-type",
		"grpc-status", "grpc-message", "grpc-previous-rpc-attempts":
		return true
	}
	return false
}

// request is what the front reads in the metadata of a call.
type request struct {
	pool       string
	idempotent bool
	subtype    string // of the content type, "" or for instance "proto"
	out        metadata.MD
}

// readRequest takes what is ours out of in and leaves in the rest for the worker.
// in is used up. A *Refusal as error says which entry cannot be passed on.
func readRequest(in metadata.MD) (request, error) {
	var r request
	var err error
	if r.pool, err = one(in, keyPool); err != nil {
		return r, err
	}
	idempotent, err := one(in, keyIdempotent)
	if err != nil {
		return r, err
	}
	switch idempotent {
	case "1", "true":
		r.idempotent = true
	case "", "0", "false":
	default:
		return r, badMetadata(keyIdempotent, "it is 1, true, 0 or false")
	}
	if types := in["content-type"]; len(types) > 0 {
		subtype := strings.TrimPrefix(types[0], "application/grpc")
		if len(subtype) > 1 && subtype[0] == '+' {
			r.subtype = subtype[1:]
		}
	}
	for key, values := range in {
		if hop(key) || reserved(key) {
			delete(in, key)
			continue
		}
		if !validKey(key) {
			return r, badMetadata(key, "keys have only 0-9 a-z _ - .")
		}
		if !validValues(key, values) {
			return r, badMetadata(key, "values are printable ASCII unless the key ends in -bin")
		}
	}
	r.out = in
	return r, nil
}

// one is the value of a key of ours, "" where it is missing. Twice would be a
// question without an answer.
func one(in metadata.MD, key string) (string, error) {
	switch values := in[key]; len(values) {
	case 0:
		return "", nil
	case 1:
		return values[0], nil
	default:
		return "", badMetadata(key, "it is there more than once")
	}
}

func badMetadata(key, why string) *Refusal {
	if len(key) > 64 {
		key = key[:64]
	}
	return &Refusal{Reason: BadMetadata, Detail: key + ": " + why}
}

// answer keeps of a worker's headers or trailers what may be passed on. md is
// used up.
func answer(md metadata.MD) metadata.MD {
	for key, values := range md {
		if hop(key) || !validKey(key) || !validValues(key, values) {
			delete(md, key)
		}
	}
	return md
}

// validKey and validValues are the rules of gRPC. An entry that breaks them would
// fail the whole call in grpc with a message that nobody can use.
func validKey(key string) bool {
	for i := range len(key) {
		c := key[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '-' && c != '_' {
			return false
		}
	}
	return key != ""
}

func validValues(key string, values []string) bool {
	if strings.HasSuffix(key, "-bin") {
		return true
	}
	for _, v := range values {
		for i := range len(v) {
			if v[i] < 0x20 || v[i] > 0x7e {
				return false
			}
		}
	}
	return true
}
