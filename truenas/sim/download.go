package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A download must be fetched within this time of the simulator's clock.
const downloadLife = 60 * time.Second

// download is a job whose output a client fetches.
type download struct {
	job      *job
	filename string
	bytes    *io.PipeReader
}

// startDownload is core.download. It starts the job of another method, and returns the job's id and the URL of its output.
func startDownload(c *call) (any, error) {
	var (
		inner    = &call{sim: c.sim, session: c.session}
		filename string
		buffered bool
	)
	err := c.args([]string{"method", "args", "filename", "buffered?"}, &inner.method, &inner.params, &filename, &buffered)
	if err != nil {
		return nil, err
	}
	m, ok := c.sim.methods[inner.method]
	switch {
	case !ok:
		service, _, _ := strings.Cut(inner.method, ".")
		return nil, fail(eNOMETHOD, "Service '%s' not found", service)
	case !c.session.user.allowed(m.roles):
		return nil, fail(eACCES, "Not authorized")
	case !m.job || !m.output:
		return nil, uncaught("AttributeError", "'list' object has no attribute 'id'")
	}
	out, in := io.Pipe()
	inner.out = in
	j, err := c.sim.startJob(inner, closing(m, in))
	if err != nil {
		return nil, err
	}
	c.sim.offer(&download{j, filename, out})
	text := c.sim.newToken(c.session.user, tokenLife, c.session.peer.address, true) // bound to the client's address (rule 15)
	c.sim.tokens[text].job = j.id
	return []any{j.id, fmt.Sprintf("/_download/%d?auth_token=%s", j.id, text)}, nil
}

// closing wraps a method so that the pipe ends with the method, and with its error.
func closing(m method, in *io.PipeWriter) method {
	run := m.run
	m.run = func(c *call) (any, error) {
		result, err := run(c)
		in.CloseWithError(err) // nil is the regular end
		return result, err
	}
	return m
}

// offer keeps a download until it is fetched, expires, or its job is forgotten. The caller holds the lock.
func (s *Sim) offer(d *download) {
	s.downloads[d.job.id] = d
	stop := s.after(downloadLife, func() {
		if s.downloads[d.job.id] == d {
			delete(s.downloads, d.job.id)
			d.bytes.CloseWithError(fail(eTIMEDOUT, "the download was not fetched in time"))
		}
	})
	context.AfterFunc(d.job.ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		stop()
		if cause := context.Cause(d.job.ctx); !errors.Is(cause, context.Canceled) { // not the end of the job itself
			d.bytes.CloseWithError(cause)
		}
	})
}

// serveDownload sends the output of a download, once, to a client with its token.
func (s *Sim) serveDownload(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		http.Error(w, "405: Method Not Allowed", http.StatusMethodNotAllowed)
		return
	}
	c := s.transfer(w, r)
	if !s.register(c) {
		panic(http.ErrAbortHandler)
	}
	defer s.unregister(c)
	d, err := s.fetch(strings.TrimPrefix(r.URL.Path, "/_download/"), r.URL.Query().Get("auth_token"), c.peer.address)
	if err != nil {
		writeHTTPError(w, err)
		return
	}
	f := s.arrived("filesystem.get")
	switch f.Then {
	case CutBefore, DropReply:
		d.bytes.CloseWithError(io.ErrClosedPipe)
		panic(http.ErrAbortHandler)
	case Restart:
		s.RestartMiddleware()
		panic(http.ErrAbortHandler)
	case Refuse, FailJob:
		d.bytes.CloseWithError(f.Err)
		writeHTTPError(w, f.Err)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", d.filename))
	_, err = io.Copy(w, d.bytes)
	d.bytes.CloseWithError(io.ErrClosedPipe)
	if err != nil || f.Then == CutAfter {
		panic(http.ErrAbortHandler) // breaks the connection, so that the client notices the missing rest
	}
}

// fetch removes a download from the list and returns it.
func (s *Sim) fetch(number, auth, address string) (*download, error) {
	id, err := strconv.Atoi(number)
	if err != nil {
		return nil, httpError{http.StatusNotFound, "404: Not Found"}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.redeem(auth, address, id); err != nil {
		return nil, err
	}
	d := s.downloads[id]
	if d == nil {
		return nil, httpError{http.StatusGone, "The download was fetched before, or too late"}
	}
	delete(s.downloads, id)
	return d, nil
}
