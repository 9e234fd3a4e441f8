package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

func TestOutputIsWrittenInOrder(t *testing.T) {
	var b bytes.Buffer
	o := newOutput(&b)
	for _, line := range []string{"one\n", "", "two\n"} {
		fmt.Fprint(o, line)
	}
	if _, err := o.Write(nil); err != nil {
		t.Error(err)
	}
	fmt.Fprint(o, "three\n")
	o.flush(time.Minute)
	if b.String() != "one\ntwo\nthree\n" {
		t.Errorf("%q", b.String())
	}
}

// TestOutputNeverWaits: nobody reads; what does not fit is dropped and counted.
func TestOutputNeverWaits(t *testing.T) {
	r, w := io.Pipe()
	o := newOutput(w)
	for range 2 * queuedLines {
		fmt.Fprint(o, "line\n")
	}
	read := make(chan string, 1)
	go func() {
		text, err := io.ReadAll(r)
		if err != nil {
			t.Error(err)
		}
		read <- string(text)
	}()
	o.flush(time.Minute)
	w.Close()
	text := <-read
	if n := strings.Count(text, "line\n"); n < queuedLines || n >= 2*queuedLines {
		t.Errorf("%d lines were written", n)
	}
	if !strings.Contains(text, "lines were dropped") {
		t.Error("it does not say that lines were dropped")
	}
}
