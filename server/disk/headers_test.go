package disk

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Headers of a source go to its host with every request, and to no other host.
func TestHeadersStayWithTheirHost(t *testing.T) {
	disk := scattered(2, 0)
	leaked := ""
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		leaked += r.Header.Get("X-Token") + r.Header.Get("Authorization")
		_, _ = w.Write(disk)
	}))
	defer elsewhere.Close()
	asked := 0
	home := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Token") != "secret-1" || r.Header.Get("Authorization") != "Bearer secret-2" {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		asked++
		if r.URL.Path == "/away.raw" {
			http.Redirect(w, r, elsewhere.URL+"/disk.raw", http.StatusFound)
			return
		}
		w.Header().Set("Content-Length", "2097152")
		_, _ = w.Write(disk)
	}))
	defer home.Close()
	headers := map[string]string{"x-token": "secret-1", "authorization": "Bearer secret-2"}
	for _, path := range []string{"/disk.raw", "/away.raw"} {
		img, err := newOpener(t).Open(t.Context(), Source{URL: home.URL + path, Credentials: Credentials{Headers: headers}})
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if n, err := img.WriteTo(io.Discard); err != nil || n != int64(len(disk)) {
			t.Errorf("%s: %d bytes, %v", path, n, err)
		}
		if err := img.Close(); err != nil {
			t.Error(err)
		}
	}
	if asked < 2 || leaked != "" {
		t.Errorf("home was asked %d times, and another host got %q", asked, leaked)
	}
}

func TestInvalidHeaders(t *testing.T) {
	many := map[string]string{}
	for i := range maxHeaders + 1 {
		many["X-"+strings.Repeat("a", i+1)] = ""
	}
	for name, headers := range map[string]map[string]string{
		"a line break":    {"X-A": "secret\r\nX-B: c"},
		"a space":         {"X A": "secret"},
		"the host":        {"host": "secret"},
		"a range":         {"Range": "secret"},
		"too many":        many,
		"no name":         {"": "secret"},
		"transfer coding": {"transfer-encoding": "secret"},
	} {
		if err := CheckHeaders(headers); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := CheckHeaders(map[string]string{"authorization": "Basic x", "X-Any": ""}); err != nil {
		t.Error(err)
	}
}
