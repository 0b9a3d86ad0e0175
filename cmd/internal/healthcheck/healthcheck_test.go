package healthcheck

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"virtrigaud-provider-truenas/cmd/internal/program"
)

func TestRun(t *testing.T) {
	// The command must not use a proxy.
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	page := func(status int, text string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/readyz" {
				status = http.StatusNotFound
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, text)
		}))
		t.Cleanup(s.Close)
		return strings.TrimPrefix(s.URL, "http://")
	}
	for _, tt := range []struct {
		name string
		args []string
		code int // 0: healthy
		says string
	}{
		{"ready", []string{page(http.StatusOK, "ok\n")}, 0, "ok\n"},
		{"not ready", []string{page(http.StatusServiceUnavailable, "the NAS is away\n")}, 1, "503 Service Unavailable: the NAS is away"},
		{"nothing listens", []string{"127.0.0.1:1"}, 1, "refused"},
		{"no address", nil, 2, "missing argument"},
		{"two addresses", []string{"a:1", "b:1"}, 2, "missing argument"},
		{"no port", []string{"127.0.0.1"}, 2, "missing port"},
		{"not an address", []string{"a b:1"}, 2, "invalid"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			err := Run(context.Background(), tt.args, &out)
			code, text := 0, out.String()
			if err != nil {
				code, text = program.ExitCode(err), text+err.Error()
			}
			if code != tt.code || !strings.Contains(text, tt.says) {
				t.Errorf("ends with %d: %s", code, text)
			}
		})
	}
}
