package truenas

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime/multipart"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"time"
)

const putMethod = "filesystem.put"

// Put writes a file on the NAS, replaces any existing one, and returns when TrueNAS's job has
// ended. It streams the body; size is its length in bytes, or -1 if unknown. progress (may be nil)
// receives the number of bytes read so far. Another goroutine calls both, and after an error it may
// finish its last Read a little later. An upload of up to 8 MiB continues for [Config.Linger] after
// ctx has ended. Put needs the role FULL_ADMIN.
func (s Files) Put(ctx context.Context, path string, mode fs.FileMode, body io.Reader, size int64, progress func(sent int64)) error {
	ctx, ended := s.c.s.watched(ctx, putMethod)
	err := s.c.put(ctx, path, mode, &counter{from: body, progress: progress, passed: s.c.s.passed(putMethod)}, size)
	ended(err)
	return err
}

func (c *Client) put(ctx context.Context, path string, mode fs.FileMode, body *counter, size int64) error {
	// Connect first: the connection's subscription reports the job.
	if _, err := c.s.connected(ctx, c.s.cfg.ConnectWait); err != nil {
		return err
	}
	if size >= 0 && size <= smallUpload {
		longer, cancel := c.s.outlasting(ctx)
		defer cancel()
		ctx = longer
	}
	ctx, stalled := context.WithCancelCause(ctx)
	defer stalled(nil)
	body.watch(c.s.silence, func() { stalled(ErrStalled) })
	epoch := c.s.epoch()
	form, length, kind, err := uploadForm(path, mode, detached(ctx, body), size)
	if err != nil {
		return err
	}
	var sent atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }})
	req, err := http.NewRequestWithContext(traced, http.MethodPost, c.s.dialer.url("/_upload"), form)
	if err != nil {
		return err
	}
	req.ContentLength = length
	req.Header.Set("Content-Type", kind)
	req.Header.Set("Authorization", "Bearer "+c.s.cfg.APIKey)
	id, err := c.s.upload(req)
	switch source := body.err.Load(); {
	case errors.Is(context.Cause(ctx), ErrStalled):
		return &Error{Method: putMethod, Reason: fmt.Sprintf("the source sent no data for %v", c.s.silence), kind: ErrStalled}
	case source != nil:
		return fmt.Errorf("%s: reading the source: %w", putMethod, *source)
	case err != nil && sent.Load() && (errors.Is(err, ErrUnavailable) || ctx.Err() != nil):
		return fmt.Errorf("%s: %w: %w", putMethod, ErrUncertain, err)
	case err != nil:
		return err
	}
	c.s.ours(id, epoch)
	_, err = c.s.waitJob(ctx, id, putMethod, nil)
	return err
}

// smallUpload is the maximum size of an upload that is completed after its context has ended. An interrupted upload leaves a
// partial file. TrueNAS may process it late, and then it would replace the complete file of a retry.
const smallUpload = 8 << 20

// outlasting returns a context that outlives the given one for as long as a call waits for a change.
func (s *session) outlasting(ctx context.Context) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	closed := context.AfterFunc(s.ctx, func() { cancel(errClosed) })
	ended := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(s.cfg.Linger)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel(context.Cause(ctx))
		case <-longer.Done():
		}
	})
	return longer, func() {
		closed()
		ended()
		cancel(context.Canceled)
	}
}

// detached reads a source in its own goroutine, so that the end of ctx also ends a blocked read: an
// HTTP request ends only when its body is not being read any more.
func detached(ctx context.Context, source io.Reader) io.Reader {
	r, w := io.Pipe()
	stop := context.AfterFunc(ctx, func() { r.CloseWithError(context.Cause(ctx)) })
	go func() {
		defer stop()
		_, err := io.Copy(w, source)
		w.CloseWithError(err) // nil is the regular end
	}()
	return r
}

// uploadForm is a multipart form with two parts: the call, then the bytes.
func uploadForm(path string, mode fs.FileMode, body io.Reader, size int64) (form io.Reader, length int64, kind string, err error) {
	call, err := json.Marshal(map[string]any{
		"method": putMethod,
		"params": []any{path, map[string]any{"mode": mode.Perm()}},
	})
	if err != nil {
		return nil, 0, "", err
	}
	var frame bytes.Buffer
	w := multipart.NewWriter(&frame)
	if err := w.WriteField("data", string(call)); err != nil {
		return nil, 0, "", err
	}
	if _, err := w.CreateFormFile("file", "file"); err != nil {
		return nil, 0, "", err
	}
	head := bytes.Clone(frame.Bytes())
	frame.Reset()
	if err := w.Close(); err != nil {
		return nil, 0, "", err
	}
	length = -1
	if size >= 0 {
		length = int64(len(head)) + size + int64(frame.Len())
	}
	return io.MultiReader(bytes.NewReader(head), body, &frame), length, w.FormDataContentType(), nil
}

// upload sends the request and returns the id of its job.
func (s *session) upload(req *http.Request) (JobID, error) {
	resp, err := s.dialer.http.Do(req)
	if err != nil {
		return 0, dialError(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxFrame))
	if err != nil {
		return 0, dialError(err)
	}
	if resp.StatusCode != http.StatusOK {
		return 0, s.httpError(putMethod, resp.StatusCode, string(answer))
	}
	var job struct {
		ID *JobID `json:"job_id"`
	}
	if err := json.Unmarshal(answer, &job); err != nil || job.ID == nil {
		return 0, fmt.Errorf("%s: %w: the reply has no job id", putMethod, ErrUncertain)
	}
	return *job.ID, nil
}

// httpError is a reply other than 200.
func (s *session) httpError(method string, status int, body string) *Error {
	e := &Error{Method: method, Code: status, Reason: http.StatusText(status)}
	if line, _, _ := strings.Cut(strings.TrimSpace(body), "\n"); line != "" && len(line) < 500 {
		e.Reason += ": " + line
	}
	switch {
	case status == http.StatusUnauthorized:
		e.kind = ErrAuth
	case status == http.StatusForbidden:
		e.kind = ErrPermission
	case status == http.StatusRequestTimeout:
		e.kind = ErrStalled
	case status >= http.StatusInternalServerError || status == http.StatusTooManyRequests:
		e.kind = ErrUnavailable
	}
	s.redact(e)
	return e
}

// epoch returns the number of the current link.
func (s *session) epoch() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.st.epoch
}

// ours records a job that was started over HTTP during the link with that epoch.
func (s *session) ours(id JobID, epoch int) {
	s.update(func(st *state) {
		if st.link != nil && st.epoch == epoch {
			st.jobs.claim(id)
		}
	})
}

// uploadSilence is how long an upload waits for the next byte of its source. The web server of TrueNAS waits for a minute, and
// then ends the upload in a way that middlewared mistakes for a regular end.
const uploadSilence = 45 * time.Second

// A counter counts the bytes read and keeps the source's own error.
type counter struct {
	from     io.Reader
	progress func(int64)
	// passed receives the number of bytes of each read.
	passed func(int)
	sent   int64
	err    atomic.Pointer[error]

	silence time.Duration // limit of one read; 0: none
	silent  func()        // called when a read takes longer
}

// watch calls silent when one read takes longer than silence.
func (c *counter) watch(silence time.Duration, silent func()) { c.silence, c.silent = silence, silent }

func (c *counter) Read(p []byte) (int, error) {
	if c.silence > 0 {
		defer time.AfterFunc(c.silence, c.silent).Stop()
	}
	n, err := c.from.Read(p)
	c.sent += int64(n)
	if err != nil && err != io.EOF {
		c.err.Store(&err)
	}
	if n > 0 {
		c.passed(n)
		if c.progress != nil {
			c.progress(c.sent)
		}
	}
	return n, err
}
