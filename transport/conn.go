package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/peer"
)

// workerConn is a connection to a worker that knows, before grpc does, that it
// broke or was closed. By it we tell a broken connection from an application that
// answers UNAVAILABLE.
type workerConn struct {
	net.Conn
	broken atomic.Bool
	over   func(error) // called once
}

func (c *workerConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		c.report(err)
	}
	return n, err
}

func (c *workerConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if err != nil {
		c.report(err)
	}
	return n, err
}

// Close is called by grpc when it gives the connection up by itself too, for
// instance when the worker does not speak HTTP/2.
func (c *workerConn) Close() error {
	c.report(errors.New("the program that listens there does not speak gRPC"))
	return c.Conn.Close()
}

func (c *workerConn) report(err error) {
	if c.broken.Swap(true) {
		return
	}
	if errors.Is(err, io.EOF) {
		err = errors.New("it closed the connection")
	}
	c.over(err)
}

// marked is credentials.AuthInfo: by it the peer of a stream is a workerConn.
type marked struct {
	credentials.CommonAuthInfo
	conn *workerConn
}

// AuthType implements credentials.AuthInfo.
func (marked) AuthType() string { return "insecure" }

// marking are insecure credentials that put the connection into the peer of every
// stream.
type marking struct {
	credentials.TransportCredentials
}

func newMarking() marking { return marking{insecure.NewCredentials()} }

// ClientHandshake implements credentials.TransportCredentials.
func (m marking) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	wc, ok := conn.(*workerConn)
	if !ok {
		return m.TransportCredentials.ClientHandshake(ctx, authority, conn)
	}
	return wc, marked{credentials.CommonAuthInfo{SecurityLevel: credentials.NoSecurity}, wc}, nil
}

// Clone implements credentials.TransportCredentials.
func (m marking) Clone() credentials.TransportCredentials { return m }

// brokeUnder says whether the connection that carried the stream broke. The stream
// must have ended.
func brokeUnder(ws grpc.ClientStream) bool {
	p, ok := peer.FromContext(ws.Context())
	if !ok {
		return false
	}
	info, ok := p.AuthInfo.(marked)
	return ok && info.conn.broken.Load()
}
