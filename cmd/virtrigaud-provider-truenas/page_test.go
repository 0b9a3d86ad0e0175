package main

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"virtrigaud-provider-truenas/truenas/sim"
)

// open requests a page of the health address.
func open(t *testing.T, url string) (*http.Response, string) {
	t.Helper()
	resp, err := http.Get(url) //nolint:noctx // a loopback address
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func TestStatusPage(t *testing.T) {
	s := scene(t)
	resp, page := open(t, "http://"+s.health+"/")
	if resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Security-Policy"), "default-src 'none'; style-src 'sha256-") {
		t.Errorf("%s, %v", resp.Status, resp.Header)
	}
	for _, tt := range []struct{ what, text string }{
		{"the NAS", "TrueNAS-25.10"},
		{"its certificate", s.watching.Provider().Overview(t.Context()).NAS.Certificate},
		{"the reason to trust it", "matches the pinned one"},
		{"a running VM", ">web<"},
		{"its state", `<span class="mark good">running</span>`},
		{"a manually created VM", "not made by this provider"},
		{"a prepared image", ">debian12<"},
		{"an image in preparation", `<progress max="100" value="6`},
		{"a failed image", `<span class="mark bad">failed</span>`},
		{"a pool", `data-label="Name"><div>tank</div>`},
		{"its space", ` % of 992 GiB`},
		{"a job of the NAS", ">vm.stop<"},
		{"a refused request", ">ResourceExhausted<"},
		{"what is offered", `<span class="mark good">snapshots</span>`},
		{"what is not", `<span class="mark idle">no memory snapshots</span>`},
	} {
		if !strings.Contains(page, tt.text) {
			t.Errorf("%s: the page does not show %q", tt.what, tt.text)
		}
	}
	for _, secret := range []string{sim.DefaultAPIKey, strings.SplitN(sim.DefaultAPIKey, "-", 2)[1]} {
		if strings.Contains(page, secret) {
			t.Error("the page shows the API key")
		}
	}
	if strings.Contains(page, "<script") || strings.Contains(page, "//"+"cdn") {
		t.Error("the page has a script")
	}
	if t.Failed() {
		t.Log(page)
	}
}

func TestStatusPageMakesNoCalls(t *testing.T) {
	s := scene(t)
	began := time.Now()
	open(t, "http://"+s.health+"/")
	open(t, "http://"+s.health+"/metrics")
	s.nas.ResetCalls()
	for range 50 {
		open(t, "http://"+s.health+"/")
		open(t, "http://"+s.health+"/metrics")
	}
	// The page reads images, pools and devices at most once a minute. A slow machine may need more than a minute, so allow six
	// calls.
	if calls := s.nas.Calls(); len(calls) > 6*int(time.Since(began).Minutes()) {
		t.Errorf("50 requests of the page cost %d calls to the NAS: %v", len(calls), calls)
	}
}

func TestStatusPageOfUnreachableNAS(t *testing.T) {
	s := scene(t)
	open(t, "http://"+s.health+"/")
	s.nas.SetOffline(true)
	var page string
	for deadline := time.Now().Add(patience); !strings.Contains(page, "Not connected") && time.Now().Before(deadline); time.Sleep(pause) {
		_, page = open(t, "http://"+s.health+"/")
	}
	for _, tt := range []struct{ what, text string }{
		{"that it is away", `<span class="mark bad">Not connected</span>`},
		{"why", "The NAS cannot be used at the moment: "},
		{"what is known of the VMs", ">web<"},
		{"that this is old", "as of the last contact with the NAS"},
		{"when it went away", ">connection<"},
	} {
		if !strings.Contains(page, tt.text) {
			t.Errorf("%s: the page does not show %q", tt.what, tt.text)
		}
	}
	began := time.Now()
	_, metrics := open(t, "http://"+s.health+"/metrics")
	if !strings.Contains(metrics, "\ntruenas_provider_nas_connected 0\n") || !strings.Contains(metrics, "\ntruenas_provider_nas_disconnections_total 1\n") {
		t.Error("the metrics do not count the lost connection")
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("a scrape took %v", took)
	}
}
