package transport

import (
	"errors"
	"io"
	"net"
	"sync"
)

// workerConn is a connection to a worker that reports, once and before grpc can
// see it, that it broke or was closed. By it we tell a broken connection from an
// application that answers UNAVAILABLE.
type workerConn struct {
	net.Conn
	once sync.Once
	over func(error)
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
	c.once.Do(func() {
		if errors.Is(err, io.EOF) {
			err = errors.New("it closed the connection")
		}
		c.over(err)
	})
}
