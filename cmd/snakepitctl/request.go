package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"

	"google.golang.org/grpc/metadata"
)

// maxInput is the longest request that is read: the longest gRPC message, and
// half as much again for base64.
const maxInput = 3 << 30

// outgoing is the metadata of the call.
func outgoing(o callOptions) (metadata.MD, error) {
	md := metadata.MD{}
	for _, kv := range o.metadata {
		key, value, found := strings.Cut(kv, "=")
		key = strings.ToLower(key)
		switch {
		case !found || !isMetadataKey(key):
			return nil, fail(exitUsage, "write KEY=VALUE; a key has letters, digits, - _ and .", "cannot read --metadata %q", kv)
		case strings.HasPrefix(key, "grpc-"):
			return nil, fail(exitUsage, "keys that begin with grpc- belong to gRPC itself", "cannot send --metadata %q", kv)
		case strings.HasSuffix(key, "-bin"):
			raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(value, "="))
			if err != nil {
				return nil, fail(exitUsage, "the value of a key that ends in -bin is base64", "cannot read --metadata %q: %w", kv, err)
			}
			value = string(raw)
		case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }):
			return nil, fail(exitUsage, "a value has printable ASCII only; use a key that ends in -bin, and base64", "cannot send --metadata %q", kv)
		}
		md.Append(key, value)
	}
	if o.pool != "" {
		md.Set("snakepit-pool", o.pool)
	}
	if o.idempotent {
		md.Set("snakepit-idempotent", "1")
	}
	return md, nil
}

func isMetadataKey(key string) bool {
	return key != "" && !strings.ContainsFunc(key, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.", r)
	})
}

// input is the request as JSON: -d JSON, @FILE or - for stdin.
func (a *app) input(data string) (out []byte, err error) {
	file, isFile := strings.CutPrefix(data, "@")
	switch {
	case data == "-":
		out, err = io.ReadAll(io.LimitReader(a.stdin, maxInput))
	case isFile:
		var f *os.File
		if f, err = os.Open(file); err == nil {
			out, err = io.ReadAll(io.LimitReader(f, maxInput))
			err = errors.Join(err, f.Close())
		}
	default:
		out = []byte(data)
	}
	if err != nil {
		return nil, fail(exitUsage, "", "cannot read the request: %w", err)
	}
	if len(bytes.TrimSpace(out)) == 0 {
		out = []byte("{}")
	}
	return out, nil
}

// indent makes JSON readable for people.
func indent(line []byte) []byte {
	var b bytes.Buffer
	if json.Indent(&b, line, "", "  ") != nil {
		return line
	}
	return b.Bytes()
}
