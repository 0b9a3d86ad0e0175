package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"
)

// keeper adds methods that store an upload and return it as a download.
func keeper(n *wire) {
	kept := []byte("kept")
	testMethods(n.t, n.Sim, map[string]method{
		"test.put": {job: true, input: true, roles: []string{fullAdmin}, run: func(c *call) (any, error) {
			b, err := io.ReadAll(c.body)
			if err != nil {
				return nil, err
			}
			c.locked(func() { kept = b })
			return len(b), nil
		}},
		"test.get": {job: true, output: true, run: func(c *call) (any, error) {
			var b []byte
			c.locked(func() { b = kept })
			_, err := c.out.Write(b)
			return nil, err
		}},
		"test.deaf": {job: true, input: true, run: func(*call) (any, error) { return nil, fail(eNOSPC, "no space left") }},
	})
}

type part struct{ name, text string }

// post uploads parts in their order.
func (n *wire) post(authorization string, parts ...part) (int, string) {
	n.t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for _, p := range parts {
		_ = must(must(w.CreateFormField(p.name)).Write([]byte(p.text)))
	}
	if err := w.Close(); err != nil {
		n.t.Fatal(err)
	}
	r := must(http.NewRequest(http.MethodPost, "http://"+n.addr+"/_upload", &body))
	r.Header.Set("Content-Type", w.FormDataContentType())
	r.Header.Set("Authorization", authorization)
	return n.do(r)
}

const bearer = "Bearer " + DefaultAPIKey

func TestUpload(t *testing.T) {
	n := newWire(t, Config{Keys: []Key{
		{Username: DefaultUser, APIKey: DefaultAPIKey, Roles: []string{fullAdmin}},
		{Username: "svc", APIKey: "2-a", Roles: []string{"VM_WRITE"}},
	}})
	keeper(n)
	p := n.login()
	status, body := n.post(bearer, part{"data", `{"method":"test.put","params":[]}`}, part{"file", strings.Repeat("x", 1<<20)})
	if status != 200 || body != `{"job_id":1}` {
		t.Fatalf("got %d %s", status, body)
	}
	if row := p.job("1"); row["result"] != float64(1<<20) {
		t.Errorf("the job: %v", row)
	}
	var token string
	if err := json.Unmarshal([]byte(p.must("auth.generate_token")), &token); err != nil {
		t.Fatal(err)
	}
	put, file := part{"data", `{"method":"test.put","params":[]}`}, part{"file", "x"}
	for _, tt := range []struct {
		name, authorization string
		parts               []part
		want                int
	}{
		{"with a token", "Token " + token, []part{put, file}, 200},
		{"without a key", "", []part{put, file}, 401},
		{"with a wrong key", "Bearer 1-x", []part{put, file}, 401},
		{"without the role", "Bearer 2-a", []part{put, file}, 403},
		{"the file first", bearer, []part{file, put}, 405},
		{"no file", bearer, []part{put}, 405},
		{"no method", bearer, []part{{"data", `{"params":[]}`}, file}, 422},
		{"a missing method", bearer, []part{{"data", `{"method":"test.none"}`}, file}, 422},
		{"a method without an upload", bearer, []part{{"data", `{"method":"core.ping"}`}, file}, 412},
		{"parameters by name", bearer, []part{{"data", `{"method":"test.put","params":{}}`}, file}, 422},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if status, body := n.post(tt.authorization, tt.parts...); status != tt.want {
				t.Errorf("got %d %s, want %d", status, body, tt.want)
			}
		})
	}
	if got := p.fails("test.put"); got.Data.Error != 22 {
		t.Errorf("over the websocket: %+v", got)
	}
}

func TestFailedUploadReturnsJobID(t *testing.T) {
	n := newWire(t, Config{})
	keeper(n)
	status, body := n.post(bearer, part{"data", `{"method":"test.deaf"}`}, part{"file", strings.Repeat("x", 1<<20)})
	if status != 200 {
		t.Fatalf("got %d %s", status, body)
	}
	if row := n.login().job("1"); row["error"] != "[ENOSPC] no space left" {
		t.Errorf("the job: %v", row)
	}
}

func TestUploadIsCutWithTheConnections(t *testing.T) {
	n := newWire(t, Config{})
	keeper(n)
	body, feed := io.Pipe()
	w := multipart.NewWriter(feed)
	r := must(http.NewRequest(http.MethodPost, "http://"+n.addr+"/_upload", body))
	r.Header.Set("Content-Type", w.FormDataContentType())
	r.Header.Set("Authorization", bearer)
	done := make(chan int)
	go func() {
		status, _ := n.do(r)
		done <- status
	}()
	_ = must(must(w.CreateFormField("data")).Write([]byte(`{"method":"test.put"}`)))
	_ = must(must(w.CreateFormField("file")).Write([]byte("the beginning")))
	p := n.login()
	for p.must("core.get_jobs") == "[]" {
		time.Sleep(time.Millisecond)
	}
	n.CutConnections()
	if row := n.login().job("1"); row["state"] != "FAILED" {
		t.Errorf("the job: %v", row)
	}
	feed.Close() // A client notices the cut at its next write.
	if status := <-done; status != 0 {
		t.Errorf("the reply to the upload was %d", status)
	}
}

func TestDownload(t *testing.T) {
	clock := NewStepClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	n := newWire(t, Config{Clock: clock})
	keeper(n)
	p := n.login()
	start := func() (job, path string) {
		var answer [2]any
		if err := json.Unmarshal([]byte(p.must("core.download", "test.get", []any{}, "file.bin")), &answer); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(answer[0]), answer[1].(string)
	}
	job, path := start()
	if status, _ := n.get(strings.Split(path, "?")[0]); status != 401 {
		t.Errorf("without a token: %d, want 401", status)
	}
	if status, body := n.get(path); status != 200 || body != "kept" {
		t.Errorf("got %d %q", status, body)
	}
	if row := p.job(job); row["state"] != "SUCCESS" {
		t.Errorf("the job: %v", row)
	}
	if status, _ := n.get(path); status != 401 {
		t.Errorf("a second time: %d, want 401", status)
	}
	job, path = start()
	clock.Step(61 * time.Second)
	if row := p.job(job); row["state"] != "FAILED" {
		t.Errorf("the job without a fetch: %v", row)
	}
	if status, _ := n.get(path); status != 410 {
		t.Errorf("too late: %d, want 410", status)
	}
	if got := p.fails("core.download", "core.ping", []any{}, "x"); got.Data.Error != 22 {
		t.Errorf("a method without a download: %+v", got)
	}
	if got := strings.Join(n.Calls(), " "); !strings.Contains(got, "core.download filesystem.get") {
		t.Errorf("calls: %s", got)
	}
}
