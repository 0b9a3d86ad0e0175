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

// Put writes a file on the NAS, over whatever is there, and returns when
// TrueNAS's job has ended. The body is streamed. size is its length in bytes,
// or -1 when it is not known. progress (may be nil) is told how many bytes were
// read from body. Both are used from another goroutine, which after an error
// may end its last Read a little later. What has up to 8 MiB goes on for
// [Config.Linger] when ctx has ended. The role FULL_ADMIN is needed.
func (s Files) Put(ctx context.Context, path string, mode fs.FileMode, body io.Reader, size int64, progress func(sent int64)) error {
	ctx, ended := s.c.s.watched(ctx, putMethod)
	err := s.c.put(ctx, path, mode, &counter{from: body, told: progress, passed: s.c.s.passed(putMethod)}, size)
	ended(err)
	return err
}

func (c *Client) put(ctx context.Context, path string, mode fs.FileMode, body *counter, size int64) error {
	// The connection must be there first: its subscription tells of the job.
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
		return &Error{Method: putMethod, Reason: fmt.Sprintf("what is sent gave no byte for %v", c.s.silence), kind: ErrStalled}
	case source != nil:
		return fmt.Errorf("%s: reading what to send: %w", putMethod, *source)
	case err != nil && sent.Load() && (errors.Is(err, ErrUnavailable) || ctx.Err() != nil):
		return fmt.Errorf("%s: %w: %w", putMethod, ErrUncertain, err)
	case err != nil:
		return err
	}
	c.s.ours(id, epoch)
	_, err = c.s.waitJob(ctx, id, putMethod, nil)
	return err
}

// smallUpload is up to how many bytes an upload is finished once it was begun. One that breaks off
// leaves half a file, and TrueNAS may begin with it late: in the place of the whole one that was put
// there by whoever tried again.
const smallUpload = 8 << 20

// outlasting is a context that is prolonged as the waiting for a change is.
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

// detached reads a source in a goroutine of its own, so that the end of ctx ends a read that gets no byte: an HTTP request is
// over only when nobody reads its body any more.
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

// uploadForm is a multipart form of two parts: the call, then the bytes.
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

// upload sends the request and answers the id of its job.
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
		return 0, fmt.Errorf("%s: %w: the answer names no job", putMethod, ErrUncertain)
	}
	return *job.ID, nil
}

// httpError is an answer other than 200.
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

// epoch counts links.
func (s *session) epoch() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.st.epoch
}

// ours notes a job that was begun beside the link, while it was of that epoch.
func (s *session) ours(id JobID, epoch int) {
	s.update(func(st *state) {
		if st.link != nil && st.epoch == epoch {
			st.jobs.claim(id)
		}
	})
}

// uploadSilence is how long an upload waits for the next byte of its source. The web server of TrueNAS waits for a minute,
// and then ends the upload in a way that middlewared takes for its regular end.
const uploadSilence = 45 * time.Second

// A counter tells how much was read, and keeps the source's own error.
type counter struct {
	from io.Reader
	told func(int64)
	// passed is told how many bytes each read brought.
	passed func(int)
	sent   int64
	err    atomic.Pointer[error]

	silence time.Duration // how long one read may take; 0: any time
	silent  func()        // is called when it takes longer
}

// watch has silent called when one read takes longer than that.
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
		if c.told != nil {
			c.told(c.sent)
		}
	}
	return n, err
}
