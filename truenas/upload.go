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
	epoch := c.s.epoch()
	form, length, kind, err := uploadForm(path, mode, body, size)
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

// A counter tells how much was read, and keeps the source's own error.
type counter struct {
	from io.Reader
	told func(int64)
	// passed is told how many bytes each read brought.
	passed func(int)
	sent   int64
	err    atomic.Pointer[error]
}

func (c *counter) Read(p []byte) (int, error) {
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
