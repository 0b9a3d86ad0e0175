package truenas

import (
	"encoding/json"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestUploadRequest(t *testing.T) {
	for name, size := range map[string]int64{"of a known length": 5, "of an unknown length": -1} {
		t.Run(name, func(t *testing.T) {
			nas := newFakeNAS(t)
			var call, content string
			var length int64
			nas.upload = func(w http.ResponseWriter, r *http.Request) {
				length = r.ContentLength
				if r.Header.Get("Authorization") != "Bearer "+testKey {
					t.Errorf("authorization: %q", r.Header.Get("Authorization"))
				}
				form, err := r.MultipartReader()
				if err != nil {
					t.Error(err)
					return
				}
				call, content = part(t, form, "data"), part(t, form, "file")
				p := nas.nextPeer()
				done := jobFields(31, JobSuccess, 100)
				done["method"] = putMethod
				p.event(jobEvents, "changed", 31, done)
				_ = json.NewEncoder(w).Encode(map[string]int{"job_id": 31})
			}
			err := nas.client().Files.Put(within(t, 10*time.Second), "/mnt/tank/f", 0o640, strings.NewReader("hello"), size, nil)
			if err != nil {
				t.Fatal(err)
			}
			if want := `{"method":"filesystem.put","params":["/mnt/tank/f",{"mode":416}]}`; call != want || content != "hello" {
				t.Errorf("sent %s and %q", call, content)
			}
			if (length < 0) != (size < 0) {
				t.Errorf("the request's length is %d", length)
			}
			if got := nas.methods(); len(got) > 0 {
				t.Errorf("calls besides the upload: %v", got)
			}
		})
	}
}

func part(t *testing.T, form *multipart.Reader, name string) string {
	t.Helper()
	p, err := form.NextPart()
	if err != nil || p.FormName() != name {
		t.Fatalf("want the part %q: %v", name, err)
	}
	data, err := io.ReadAll(p)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestUploadFails(t *testing.T) {
	for _, tt := range []struct {
		name   string
		upload http.HandlerFunc
		want   error
	}{
		{"the key is not accepted", answer(http.StatusUnauthorized, ""), ErrAuth},
		{"the role is missing", answer(http.StatusForbidden, "Unauthorized method filesystem.put"), ErrPermission},
		{"the NAS starts up", answer(http.StatusBadGateway, "<html>\nnginx"), ErrUnavailable},
		{"the reply has no job id", answer(http.StatusOK, "{}"), ErrUncertain},
		{"the connection is lost", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, ErrUncertain},
		{"a reply that contains the key", answer(http.StatusConflict, "no: "+testKey), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			nas := newFakeNAS(t)
			nas.upload = tt.upload
			err := nas.client().Files.Put(within(t, 10*time.Second), "/mnt/tank/f", 0o600, strings.NewReader("x"), 1, nil)
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Fatalf("got %v", err)
			}
			noSecret(t, err.Error())
		})
	}
}

func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // A client that still writes would see a reset.
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func TestDownloadAddresses(t *testing.T) {
	for name, where := range map[string]any{
		"of another host": "https://elsewhere/_download/1?auth_token=MARKED",
		"not a path":      7,
		"refused":         "/_download/1?auth_token=MARKED",
	} {
		nas := newFakeNAS(t)
		nas.script = func(p *peer, f frame) {
			failed := jobFields(1, JobFailed, 0)
			failed["method"], failed["error"] = getMethod, "[EFAULT] /_download/1?auth_token=MARKED"
			p.event(jobEvents, "changed", 1, failed)
			p.answer(f, []any{1, where})
		}
		_, err := nas.client().Files.Get(within(t, 10*time.Second), "/mnt/tank/f")
		if err == nil {
			t.Fatalf("the address %s was accepted", name)
		}
		noSecret(t, err.Error())
	}
}

// TestUploadStalls checks that an upload with a silent source ends before the web server of the NAS mistakes the silence for the
// end.
func TestUploadStalls(t *testing.T) {
	nas := newFakeNAS(t)
	nas.upload = func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }
	c := nas.client()
	c.s.silence = 50 * time.Millisecond
	silent, end := io.Pipe()
	t.Cleanup(func() { _ = end.Close() })
	err := c.Files.Put(within(t, 10*time.Second), "/mnt/tank/f", 0o600, io.MultiReader(strings.NewReader("begin"), silent), -1, nil)
	if !errors.Is(err, ErrStalled) || errors.Is(err, ErrUncertain) || !strings.Contains(err.Error(), "the source sent no data for 50ms") {
		t.Errorf("got %v", err)
	}
}

func TestUploadEndedByWebServer(t *testing.T) {
	nas := newFakeNAS(t)
	nas.upload = func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "Request Time-out", http.StatusRequestTimeout)
	}
	err := nas.client().Files.Put(within(t, 10*time.Second), "/mnt/tank/f", 0o600, strings.NewReader("x"), 1, nil)
	if !errors.Is(err, ErrStalled) {
		t.Errorf("got %v", err)
	}
}
