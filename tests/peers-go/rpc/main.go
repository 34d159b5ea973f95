// Another hand's client and server of multiplexed msgpack RPC, for tests of ours: hashicorp's yamux
// under net/rpc with hashicorp's codec.
//
//	rpc client ADDR        calls the methods of our test server; prints "ok", exits 1 on the first difference
//	rpc serve              listens on loopback, prints the address, serves until its input ends
//	rpc record DIR         lets both talk with each other and keeps what they said: client.bin, server.bin
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/rpc"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-msgpack/v2/codec"
	msgpackrpc "github.com/hashicorp/net-rpc-msgpackrpc/v2"
	"github.com/hashicorp/yamux"
)

// Texts and bytes alike as "raw", as servers on port 8300 speak.
var handle = &codec.MsgpackHandle{}

func pattern(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i % 251)
	}
	return b
}

func check(ok bool, format string, args ...any) {
	if !ok {
		log.Fatalf(format, args...)
	}
}

// call makes one call on a stream of its own, as agents do when none is idle.
func call(session *yamux.Session, method string, args, reply any) error {
	stream, err := session.OpenStream()
	if err != nil {
		return err
	}
	defer stream.Close()
	client := rpc.NewClientWithCodec(msgpackrpc.NewCodecFromHandle(true, true, stream, handle))
	return client.Call(method, args, reply)
}

func client(addr string) {
	conn, err := net.Dial("tcp", addr)
	check(err == nil, "dial: %v", err)
	_, err = conn.Write([]byte{4})
	check(err == nil, "first byte: %v", err)
	config := yamux.DefaultConfig()
	config.LogOutput = io.Discard
	session, err := yamux.Client(conn, config)
	check(err == nil, "session: %v", err)

	var empty struct{}
	check(call(session, "Status.Ping", empty, &empty) == nil, "ping")
	_, err = session.Ping()
	check(err == nil, "ping of the session: %v", err)

	// Several MB in both directions, beyond the window.
	for _, size := range []int{0, 31, 262144, 262145, 8 << 20} {
		var got []byte
		err = call(session, "Test.Large", size, &got)
		check(err == nil && bytes.Equal(got, pattern(size)), "large %d: %v, %d bytes", size, err, len(got))
		got = nil
		err = call(session, "Test.Echo", pattern(size), &got)
		check(err == nil && bytes.Equal(got, pattern(size)), "echo %d: %v, %d bytes", size, err, len(got))
	}

	for method, want := range map[string]string{
		"Test.Nope": "rpc: can't find method Test.Nope",
		"NoDot":     "rpc: service/method request ill-formed: NoDot",
		"Test.Fail": "Permission denied",
	} {
		err = call(session, method, "Permission denied", &empty)
		check(err != nil && err.Error() == want, "%s: %v", method, err)
	}

	// One stream goes on after an error of the application, and is closed after one of the framing.
	stream, err := session.OpenStream()
	check(err == nil, "stream: %v", err)
	one := rpc.NewClientWithCodec(msgpackrpc.NewCodecFromHandle(true, true, stream, handle))
	err = one.Call("Test.Fail", "Permission denied", &empty)
	check(err != nil && err.Error() == "Permission denied", "fail: %v", err)
	var echo string
	err = one.Call("Test.Echo", "again", &echo)
	check(err == nil && echo == "again", "the stream goes on: %v", err)
	// Requests ahead of answers.
	var calls []*rpc.Call
	for i := 0; i < 50; i++ {
		calls = append(calls, one.Go("Test.Echo", i, new(int), nil))
	}
	for i, c := range calls {
		<-c.Done
		check(c.Error == nil && *c.Reply.(*int) == i, "pipelined %d: %v", i, c.Error)
	}
	err = one.Call("Test.Nope", empty, &empty)
	check(err != nil, "no such method")
	err = one.Call("Test.Echo", "after it", &echo)
	check(errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, rpc.ErrShutdown), "the stream is closed: %v", err)
	one.Close()

	// Many streams at once, beyond what may wait to be accepted.
	var wg sync.WaitGroup
	var failed atomic.Int64
	for i := 0; i < 1000; i++ {
		wg.Add(1)
		go func(size int) {
			defer wg.Done()
			var got []byte
			if err := call(session, "Test.Large", size, &got); err != nil || !bytes.Equal(got, pattern(size)) {
				failed.Add(1)
			}
		}(i * 50)
	}
	wg.Wait()
	check(failed.Load() == 0, "%d of 1000 failed", failed.Load())

	// A call that waits holds up nobody, and ends with its stream.
	stream, err = session.OpenStream()
	check(err == nil, "stream: %v", err)
	waiting := rpc.NewClientWithCodec(msgpackrpc.NewCodecFromHandle(true, true, stream, handle))
	c := waiting.Go("Test.Wait", empty, &empty, nil)
	check(call(session, "Status.Ping", empty, &empty) == nil, "not held up")
	waiting.Close()
	<-c.Done
	check(c.Error != nil, "it never answers")

	deadline := time.Now().Add(10 * time.Second)
	for session.NumStreams() > 0 {
		check(time.Now().Before(deadline), "%d streams are left", session.NumStreams())
		time.Sleep(10 * time.Millisecond)
	}
	check(session.GoAway() == nil && session.Close() == nil, "close")
	fmt.Println("ok")
}

// Test has the methods of our own test server.
type Test struct{ waiting chan struct{} }

func (t *Test) Echo(args any, reply *any) error { *reply = args; return nil }

func (t *Test) Large(size int, reply *[]byte) error { *reply = pattern(size); return nil }

func (t *Test) Fail(text string, _ *struct{}) error { return errors.New(text) }

func (t *Test) Sleep(millis int, reply *bool) error {
	time.Sleep(time.Duration(millis) * time.Millisecond)
	*reply = true
	return nil
}

func (t *Test) Wait(_ struct{}, _ *struct{}) error { <-t.waiting; return nil }

type Status struct{}

func (Status) Ping(_ struct{}, _ *struct{}) error { return nil }

func newServer() *rpc.Server {
	server := rpc.NewServer()
	check(server.Register(&Test{make(chan struct{})}) == nil, "register")
	check(server.Register(Status{}) == nil, "register")
	return server
}

func serve() {
	server := newServer()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err == nil, "listen: %v", err)
	fmt.Println(listener.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	for {
		conn, err := listener.Accept()
		check(err == nil, "accept: %v", err)
		go serveConn(server, conn)
	}
}

func serveConn(server *rpc.Server, conn net.Conn) {
	defer conn.Close()
	first := make([]byte, 1)
	if _, err := io.ReadFull(conn, first); err != nil || first[0] != 4 {
		return
	}
	config := yamux.DefaultConfig()
	config.LogOutput = os.Stderr
	session, err := yamux.Server(conn, config)
	check(err == nil, "session: %v", err)
	for {
		stream, err := session.Accept()
		if err != nil {
			if err != io.EOF && !strings.Contains(err.Error(), "closed") {
				log.Printf("session: %v", err)
			}
			return
		}
		go func() {
			requests := msgpackrpc.NewCodecFromHandle(true, true, stream, handle)
			defer requests.Close()
			for server.ServeRequest(requests) == nil {
			}
		}()
	}
}

// heard keeps what is read from a connection.
type heard struct {
	net.Conn
	file *os.File
}

func (h heard) Read(b []byte) (int, error) {
	n, err := h.Conn.Read(b)
	_, _ = h.file.Write(b[:n])
	return n, err
}

func record(dir string) {
	file := func(name string) *os.File {
		f, err := os.Create(filepath.Join(dir, name))
		check(err == nil, "%v", err)
		return f
	}
	near, far := net.Pipe()
	go serveConn(newServer(), heard{far, file("client.bin")})
	conn := heard{near, file("server.bin")}
	_, err := conn.Write([]byte{4})
	check(err == nil, "first byte: %v", err)
	config := yamux.DefaultConfig()
	config.LogOutput = io.Discard
	session, err := yamux.Client(conn, config)
	check(err == nil, "session: %v", err)
	_, err = session.Ping()
	check(err == nil, "ping: %v", err)
	var empty struct{}
	check(call(session, "Status.Ping", empty, &empty) == nil, "ping")
	var text string
	check(call(session, "Test.Echo", strings.Repeat("long ", 60), &text) == nil, "echo")
	for _, method := range []string{"Test.Fail", "Test.Nope", "Nope.Nope", "NoDot"} {
		check(call(session, method, "Permission denied", &empty) != nil, "%s: no error", method)
	}
	stream, err := session.OpenStream()
	check(err == nil, "stream: %v", err)
	one := rpc.NewClientWithCodec(msgpackrpc.NewCodecFromHandle(true, true, stream, handle))
	for _, text := range []string{"one", "two", "three"} {
		check(one.Call("Test.Echo", text, &text) == nil, "echo")
	}
	one.Close()
	for session.NumStreams() > 0 {
		time.Sleep(time.Millisecond)
	}
	check(session.GoAway() == nil, "go away")
	time.Sleep(100 * time.Millisecond)
}

func main() {
	log.SetFlags(0)
	switch {
	case len(os.Args) == 3 && os.Args[1] == "client":
		client(os.Args[2])
	case len(os.Args) == 2 && os.Args[1] == "serve":
		serve()
	case len(os.Args) == 3 && os.Args[1] == "record":
		record(os.Args[2])
	default:
		log.Fatal("usage: rpc client ADDR | rpc serve | rpc record DIR")
	}
}
