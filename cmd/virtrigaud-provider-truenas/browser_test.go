//go:build page

package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Tests of the status page in a real browser, for make page. The variable PICTURES names a folder for screenshots.

// chromium opens a page in a fresh profile, without connections to other hosts.
func chromium(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "chromium", append([]string{
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--hide-scrollbars", "--user-data-dir=" + t.TempDir(),
	}, args...)...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("chromium %v: %v", args, err)
	}
	return string(out)
}

func TestTheStatusPageInABrowser(t *testing.T) {
	s := scene(t)
	url := "http://" + s.health + "/"
	dom := chromium(t, "--dump-dom", url)
	for _, text := range []string{">web<", "62 % of 100 MiB", ">vm.stop<", "ResourceExhausted"} {
		if !strings.Contains(dom, text) {
			t.Errorf("the browser's page does not hold %q", text)
		}
	}
	for _, tt := range []struct{ file, url, size, scheme string }{
		{"status-page.png", url, "1180,1630", light},
		{"status-page-phone.png", onPhone(t, url), "500,1750", dark},
	} {
		path := filepath.Join(t.TempDir(), tt.file)
		chromium(t, "--screenshot="+path, "--window-size="+tt.size, "--blink-settings=preferredColorScheme="+tt.scheme, tt.url)
		picture, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(picture) < 10_000 || len(picture) > 300_000 {
			t.Errorf("%s has %d bytes", tt.file, len(picture))
		}
		if keep := os.Getenv("PICTURES"); keep != "" {
			if err := os.WriteFile(filepath.Join(keep, tt.file), picture, 0o644); err != nil { //nolint:gosec // The picture is public.
				t.Fatal(err)
			}
		}
	}
}

// Blink's names of the user's preferences.
const dark, light = "0", "1"

// onPhone shows the page in a frame with the width of a phone, because the browser's windows cannot be that narrow. A page
// without overflow is as wide as its frame.
func onPhone(t *testing.T, url string) string {
	t.Helper()
	_, page := open(t, url)
	phone := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if r.URL.Path == "/page" {
			_, _ = io.WriteString(w, page)
			return
		}
		_, _ = io.WriteString(w, `<body style="margin:0"><iframe src="/page" style="border:0;zoom:1.282" width="390" height="1365"></iframe>
			<script>onload = () => { const page = document.querySelector("iframe").contentDocument.documentElement; document.title = page.scrollWidth }</script>`)
	}))
	t.Cleanup(phone.Close)
	if dom := chromium(t, "--dump-dom", phone.URL+"/"); !strings.Contains(dom, "<title>390</title>") {
		t.Errorf("the page is wider than a phone: %s", dom)
	}
	return phone.URL + "/"
}
