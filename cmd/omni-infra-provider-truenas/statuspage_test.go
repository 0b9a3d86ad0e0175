package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"virtrigaud-provider-truenas/cmd/internal/statuspage"
	"virtrigaud-provider-truenas/omni"
	"virtrigaud-provider-truenas/omni/standin"
	"virtrigaud-provider-truenas/truenas/sim"
)

// The page shows failure domains if they group backends.
func TestTheStatusPageShowsFailureDomains(t *testing.T) {
	each := providersOf(omni.Overview{Providers: []omni.ProviderState{{Name: "a1", FailureDomain: "a1"}, {Name: "b1", FailureDomain: "b1"}}})
	if len(each.Columns) != 3 || len(each.Rows[0]) != 3 {
		t.Errorf("without groups: %v", each)
	}
	s := providersOf(omni.Overview{Providers: []omni.ProviderState{{Name: "a1", FailureDomain: "rackA"}, {Name: "b1", FailureDomain: "b1"}}})
	if s.Columns[1] != "Failure domain" || s.Rows[0][1].Text != "rackA" || s.Rows[1][1].Text != "b1" {
		t.Errorf("with groups: %v", s)
	}
}

func TestTheStatusPageShowsRequests(t *testing.T) {
	tour := &tour{out: io.Discard, factory: &standin.Factory{}}
	defer tour.close()
	if err := tour.start(t.Context(), sim.Config{}); err != nil {
		t.Fatal(err)
	}
	for id, class := range map[string]string{"workers-1": demoClass, "workers-2": strings.Replace(demoClass, "br0", "br9", 1)} {
		if err := standin.Request(t.Context(), tour.omni, demoID, id, "workers", demoTalos, class); err != nil {
			t.Fatal(err)
		}
	}
	handler := statuspage.Handler(statusPage(tour.watching, tour.counted, &options{id: demoID, endpoint: "https://omni.example"}))
	page := func() string {
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/", nil))
		return answer.Body.String()
	}
	wanted := []string{
		">Working<", ">workers-1<", `<span class="mark good">provisioned</span>`, `<span class="mark good">usable</span>`,
		">workers-2<", "br9", "1 of 2", "https://omni.example", "TrueNAS-25.10", ">running<",
	}
	missing := wanted
	for deadline := time.Now().Add(patience); len(missing) > 0 && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		missing = nil
		for shown, i := page(), 0; i < len(wanted); i++ {
			if !strings.Contains(shown, wanted[i]) {
				missing = append(missing, wanted[i])
			}
		}
	}
	if len(missing) > 0 {
		t.Errorf("the page never shows %q:\n%s", missing, page())
	}
	if keep := os.Getenv("PICTURES"); keep != "" {
		_ = os.WriteFile(keep+"/omni.html", []byte(page()), 0o600)
	}
	tour.counted.working.Store(nil)
	if shown := page(); !strings.Contains(shown, "Waiting for leadership") || strings.Contains(shown, "Machine requests") {
		t.Errorf("a waiting replica shows:\n%s", shown)
	}
}
