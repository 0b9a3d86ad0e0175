package truenas

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"
)

const getMethod = "filesystem.get"

// A download that is not fetched within 60 s expires, so requesting it twice is harmless.
var coreDownload = method[[]json.RawMessage]{"core.download", read}

// Get streams a file from the NAS. Read returns the failure of TrueNAS's job in place of io.EOF,
// because the HTTP status alone does not reveal it. Get needs the role FULL_ADMIN.
func (s Files) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	traced, ended := s.c.s.watched(ctx, getMethod)
	body, err := s.c.get(traced, name)
	ended(err)
	return body, err
}

func (c *Client) get(ctx context.Context, name string) (io.ReadCloser, error) {
	if _, err := c.s.connected(ctx, c.s.cfg.ConnectWait); err != nil {
		return nil, err
	}
	epoch := c.s.epoch()
	answer, err := coreDownload.call(ctx, c, getMethod, []string{name}, path.Base(name), false)
	if err != nil {
		return nil, err
	}
	var id JobID
	var where string
	if len(answer) != 2 || json.Unmarshal(answer[0], &id) != nil || json.Unmarshal(answer[1], &where) != nil ||
		!strings.HasPrefix(where, "/_download/") {
		return nil, errors.New(coreDownload.name + ": unexpected result")
	}
	c.s.ours(id, epoch)
	body, err := c.s.fetch(ctx, where)
	if err != nil {
		return nil, c.s.jobFailure(ctx, id, err)
	}
	return &download{ctx: ctx, s: c.s, id: id, body: body, passed: c.s.passed(getMethod)}, nil
}

// fetch starts a download. The URL holds a token and stays out of errors.
func (s *session) fetch(ctx context.Context, where string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.dialer.url(where), nil)
	if err != nil {
		return nil, errors.New("core.download: unexpected URL")
	}
	resp, err := s.dialer.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", getMethod, dialError(err))
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, maxFrame)) // the status is enough
		err := s.httpError(getMethod, resp.StatusCode, string(text))
		if resp.StatusCode == http.StatusUnauthorized {
			err.kind = ErrUnavailable // TrueNAS refused the URL, not the key
		}
		return nil, err
	}
	return resp.Body, nil
}

// jobFailure returns the failure of the download's job, if any: TrueNAS stops serving the URL when the
// job ends.
func (s *session) jobFailure(ctx context.Context, id JobID, refused error) error {
	soon, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if _, err := s.waitJob(soon, id, getMethod, nil); err != nil && soon.Err() == nil {
		return transferFailure(refused, err)
	}
	return refused
}

// transferFailure returns the cause of a failed transfer: the failure of its job, or the error of the transfer if that caused the job's
// failure. In the latter case the job's text and errno do not describe the cause.
func transferFailure(transfer, job error) error {
	var failed *Error
	if !errors.Is(transfer, ErrUnavailable) || !errors.As(job, &failed) {
		return job
	}
	if kind := failed.Kind(); kind != nil && kind != ErrInvalid {
		return job
	}
	return transfer
}

// A download succeeds only if its job does.
type download struct {
	ctx  context.Context
	s    *session
	id   JobID
	body io.ReadCloser
	end  error

	passed func(bytes int)
}

func (d *download) Read(p []byte) (int, error) {
	if d.end != nil {
		return 0, d.end
	}
	n, err := d.body.Read(p)
	d.passed(n)
	if err == nil {
		return n, nil
	}
	d.end = io.EOF
	if err != io.EOF {
		d.end = dialError(err)
	}
	if _, failed := d.s.waitJob(d.ctx, d.id, getMethod, nil); failed != nil {
		d.end = transferFailure(d.end, failed)
	}
	return n, d.end
}

func (d *download) Close() error { return d.body.Close() }
