package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// httpError is an HTTP error reply.
type httpError struct {
	status int
	text   string
}

func (e httpError) Error() string { return fmt.Sprintf("%d: %s", e.status, e.text) }

// writeHTTPError replies with TrueNAS's status code for an error.
func writeHTTPError(w http.ResponseWriter, err error) {
	var answer httpError
	var call *CallError
	switch {
	case errors.As(err, &answer):
	case errors.Is(err, errBadKey):
		answer = httpError{http.StatusUnauthorized, "Invalid credentials"}
	case errors.As(err, &call) && call.Errno == eACCES:
		answer = httpError{http.StatusForbidden, call.Error()}
	case errors.As(err, &call) && call.Code == codeNoMethod:
		answer = httpError{http.StatusUnprocessableEntity, "Method does not exist"}
	default:
		answer = httpError{http.StatusPreconditionFailed, err.Error()}
	}
	http.Error(w, answer.text, answer.status)
}

// serveUpload runs a job with uploaded data. The first part of the body names the job, and the second is its data. The reply with
// the id follows after the entire body, whether or not the job reads it.
func (s *Sim) serveUpload(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		http.Error(w, "405: Method Not Allowed", http.StatusMethodNotAllowed)
		return
	}
	c := s.transfer(w, r)
	if !s.register(c) {
		panic(http.ErrAbortHandler)
	}
	defer s.unregister(c)
	var err error
	if c.user, err = s.bearer(r.Header.Get("Authorization"), c.peer); err != nil {
		writeHTTPError(w, err)
		return
	}
	q, body, err := readUpload(r)
	body = silence{body, http.NewResponseController(w), s.cfg.UploadSilence, &c.cutOff}
	if err != nil {
		writeHTTPError(w, err)
		return
	}
	f := s.arrived(q.method)
	if f.Then == CutBefore {
		panic(http.ErrAbortHandler)
	}
	id, wire := c.upload(q, body, f)
	if wire == errCutOff {
		panic(http.ErrAbortHandler)
	}
	var answer json.RawMessage
	if wire == nil {
		answer, _ = json.Marshal(id) // a number always marshals
	}
	s.transcript.call(q, answer, wire)
	s.pause(f.after())
	switch {
	case f.Then == DropReply || f.Then == Restart || f.Then == CutAfter:
		panic(http.ErrAbortHandler)
	case wire == errSilentUpload:
		writeHTTPError(w, errSilent)
	case wire != nil:
		writeHTTPError(w, wire)
	default:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]int{"job_id": id}) // the client may be gone
	}
}

// transfer makes the session of an upload or a download. Cutting it ends its reads and writes at once.
func (s *Sim) transfer(w http.ResponseWriter, r *http.Request) *session {
	control := http.NewResponseController(w)
	c := &session{sim: s, peer: s.peerOf(r)}
	c.abort = func() {
		c.cutOff.Store(true)
		_ = control.SetReadDeadline(time.Unix(1, 0)) // a connection without deadlines cannot be cut
		_ = control.SetWriteDeadline(time.Unix(1, 0))
	}
	return c
}

// arrived counts an upload or a download, waits for its latency, and returns the fault that is due.
func (s *Sim) arrived(method string) Fault {
	s.mu.Lock()
	f, notify := s.count(true, method)
	s.mu.Unlock()
	if notify != nil {
		notify()
	}
	s.pause(s.late() + f.before())
	return f
}

// bearer returns the account of an Authorization header.
func (s *Sim) bearer(header string, p peer) (*account, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	scheme, value, _ := strings.Cut(header, " ")
	switch scheme {
	case "Bearer":
		return s.keyUser(value, p)
	case "Token":
		return s.redeem(value, p.address, 0)
	}
	return nil, errBadKey
}

// uploadDataLimit limits the part with the parameters, in bytes.
const uploadDataLimit = 65536

// readUpload reads the first part of the body and returns the second as a reader.
func readUpload(r *http.Request) (request, io.Reader, error) {
	var q request
	parts, err := r.MultipartReader()
	if err != nil {
		return q, nil, httpError{http.StatusBadRequest, "The body is not multipart"}
	}
	data, err := parts.NextPart()
	if err != nil || data.FormName() != "data" {
		return q, nil, httpError{http.StatusMethodNotAllowed, "The method payload is required as the first part"}
	}
	raw, err := io.ReadAll(io.LimitReader(data, uploadDataLimit))
	if err != nil {
		return q, nil, httpError{http.StatusBadRequest, "The body was cut off"}
	}
	if q, err = decodeUpload(raw); err != nil {
		return q, nil, err
	}
	file, err := parts.NextPart()
	if err != nil || file.FormName() != "file" {
		return q, nil, httpError{http.StatusMethodNotAllowed, `"file" not found as second part on payload`}
	}
	return q, wholeBody{file, parts}, nil
}

// decodeUpload reads {"method", "params"}.
func decodeUpload(raw []byte) (request, error) {
	bad := httpError{http.StatusUnprocessableEntity, `The data part is {"method": …, "params": […]}`}
	members, _, ok := membersOf(raw)
	if !ok || len(members) > 2 {
		return request{}, bad
	}
	var q request
	params, given := members["params"]
	if !decodeString(members["method"], &q.method) {
		return q, bad
	}
	if q.params, ok = listOf(params); given && !ok {
		return q, bad
	}
	return q, nil
}

// wholeBody reads one part and refuses data after it.
type wholeBody struct {
	part  io.Reader
	parts *multipart.Reader
}

func (b wholeBody) Read(p []byte) (int, error) {
	n, err := b.part.Read(p)
	if err == io.EOF {
		if _, more := b.parts.NextPart(); more != io.EOF {
			return n, io.ErrUnexpectedEOF
		}
	}
	return n, err
}

// truncated is the size to which [Truncate] cuts an upload.
const truncated = 512

// errSilent ends an upload without data for longer than the web server waits.
var errSilent = httpError{http.StatusRequestTimeout, "Request Time-out"}

// silence ends a body without data for some time.
type silence struct {
	io.Reader
	control *http.ResponseController
	after   time.Duration
	cut     *atomic.Bool // the connection was cut; keep its deadline
}

func (s silence) Read(p []byte) (int, error) {
	_ = s.control.SetReadDeadline(time.Now().Add(s.after)) // a connection without deadlines has no limit
	if s.cut.Load() {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := s.Reader.Read(p)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() && !s.cut.Load() {
		err = errSilent
	}
	return n, err
}

// errCutOff ends an upload whose client is gone.
var errCutOff = &CallError{Errno: eFAULT, Reason: "[EFAULT] The body was cut off"}

// errSilentUpload is [errSilent] in the form of a call's error.
var errSilentUpload = &CallError{Errno: eFAULT, Reason: "[EFAULT] No byte came for too long"}

// upload starts the job and feeds it.
func (c *session) upload(q request, body io.Reader, f Fault) (int, *CallError) {
	if f.Then == Refuse {
		return 0, f.Err
	}
	out, in := io.Pipe()
	var content io.Reader = out
	if f.Then == Truncate {
		content = io.LimitReader(out, truncated)
	}
	j, err := c.startUpload(q, content, f)
	if err != nil {
		return 0, onWire(err)
	}
	stop := context.AfterFunc(j.ctx, func() { out.CloseWithError(io.ErrClosedPipe) })
	defer stop()
	_, err = io.Copy(in, body)
	if errors.Is(err, errSilent) {
		in.CloseWithError(nil) // For the middleware the body ends regularly.
		return 0, errSilentUpload
	}
	if errors.Is(err, io.ErrClosedPipe) {
		_, err = io.Copy(io.Discard, body) // the job has ended, and its result has the reason
	}
	in.CloseWithError(err) // nil is the regular end
	if err != nil {
		return 0, errCutOff
	}
	return j.id, nil
}

// startUpload starts the job that reads the bytes.
func (c *session) startUpload(q request, body io.Reader, f Fault) (*job, error) {
	s := c.sim
	s.mu.Lock()
	defer s.mu.Unlock()
	m, ok := s.methods[q.method]
	if !ok {
		return nil, &CallError{Code: codeNoMethod}
	}
	if !c.user.allowed(m.roles) {
		return nil, &CallError{Errno: eACCES, Reason: "[EACCES] Not authorized"}
	}
	if !m.job || !m.input {
		return nil, fail(eINVAL, "%s takes no upload", q.method)
	}
	return s.startJob(&call{sim: s, session: c, method: q.method, params: q.params, body: body}, f.on(m))
}
