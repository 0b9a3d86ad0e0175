package main

import (
	"net"
	"sync"
)

// link is a proxy between providers and a NAS that can be cut. It forwards bytes unchanged.
type link struct {
	listen, target string

	mu       sync.Mutex
	listener net.Listener
	conns    map[net.Conn]bool
}

func newLink(listen, target string) (*link, error) {
	l := &link{listen: listen, target: target, conns: map[net.Conn]bool{}}
	return l, l.open()
}

// open accepts connections again.
func (l *link) open() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.listener != nil {
		return nil
	}
	listener, err := net.Listen("tcp", l.listen)
	if err != nil {
		return err
	}
	l.listener = listener
	go l.serve(listener)
	return nil
}

// cut ends all connections and refuses new ones, as a NAS without power does.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.listener != nil {
		_ = l.listener.Close() // cannot be handled
		l.listener = nil
	}
	for c := range l.conns {
		_ = c.Close() // cannot be handled
	}
}

func (l *link) serve(listener net.Listener) {
	for {
		near, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			far, err := net.Dial("tcp", l.target)
			if err != nil {
				_ = near.Close() // the client notices
				return
			}
			l.join(near, far)
		}()
	}
}

func (l *link) join(near, far net.Conn) {
	l.mu.Lock()
	cut := l.listener == nil
	l.conns[near], l.conns[far] = true, true
	l.mu.Unlock()
	var both sync.WaitGroup
	pass := func(to, from net.Conn) {
		buf := make([]byte, 64<<10)
		for {
			n, err := from.Read(buf)
			if n > 0 {
				if _, werr := to.Write(buf[:n]); werr != nil {
					break
				}
			}
			if err != nil {
				break
			}
		}
		_, _ = to.Close(), from.Close() // both are finished
	}
	if cut {
		_, _ = near.Close(), far.Close() // both are finished
	}
	both.Go(func() { pass(far, near) })
	both.Go(func() { pass(near, far) })
	both.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, near)
	delete(l.conns, far)
}
