package omni

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"virtrigaud-provider-truenas/omni/standin"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest/marked"
)

// served is an Omni that serves boot assets: those of the factory, behind a login that only Omni has, with URLs that are signed
// for each request.
type served struct {
	factory string
	formats string
	asked   atomic.Int64
}

func (s *served) DiskAsset(_ context.Context, q AssetQuery) (Asset, error) {
	if !strings.Contains(s.formats, q.Format) {
		return Asset{}, nil
	}
	return Asset{
		URL:     fmt.Sprintf("%s/image/%s/%s/nocloud-amd64.%s?signature=%d", s.factory, q.Schematic, q.TalosVersion, q.Format, s.asked.Add(1)),
		Headers: map[string]string{"Authorization": "Basic b21uaTpzZWNyZXQ="}, // omni:secret
		Key:     "asset-" + q.Schematic + q.TalosVersion + q.Format,
	}, nil
}

// Omni returns the URL of a boot asset and headers for it, which appear neither in the log nor on the NAS. The key identifies the
// image, so machines share it although its URL differs each time.
func TestBootAssetsFromOmni(t *testing.T) {
	for _, tt := range []struct{ name, formats, want string }{{"zst", "raw.zst raw.xz", ".raw.zst"}, {"xz only", "raw.xz", ".raw.xz"}} {
		t.Run(tt.name, func(t *testing.T) {
			everywhere(t, func(t *testing.T, w *world, nas *sim.Sim) {
				w.factory.SetLogin("omni", "secret")
				log := &marked.Log{}
				w.cfg.Logger = log.Logger()
				w.cfg.Assets = &served{factory: w.url, formats: tt.formats}
				_, stop := w.start()
				w.request("one", class)
				w.request("two", class)
				w.provisioned("one")
				w.provisioned("two")
				stop()
				fetched := w.factory.Fetched()
				if len(fetched) != 1 || !strings.HasSuffix(fetched[0], tt.want) {
					t.Errorf("fetched %v; want one %s", fetched, tt.want)
				}
				for _, d := range nas.State().Datasets {
					for key, value := range d.User {
						if strings.Contains(value, "b21uaTpzZWNyZXQ") || strings.Contains(value, "secret") {
							t.Errorf("%s of %s holds the login", key, d.Name)
						}
					}
				}
				if logged := string(log.Bytes()); logged == "" || strings.Contains(logged, "b21uaTpzZWNyZXQ") {
					t.Error("the log is empty, or holds the login")
				}
			})
		})
	}
}

// An older Omni does not serve boot assets. Images then come from the factory.
func TestOmniWithoutBootAssets(t *testing.T) {
	client, nas := onNAS(t, "25.10", nil)
	w := newWorld(t, Backend{Name: "nas", Client: client})
	w.cfg.Assets = none{}
	_, stop := w.start()
	w.request("one", class)
	w.complete(nas, "one")
	stop()
}

type none struct{}

func (none) DiskAsset(context.Context, AssetQuery) (Asset, error) { return Asset{}, ErrNoAssets }

// A factory with a login gets it in a header.
func TestFactoryWithALogin(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world, nas *sim.Sim) {
		w.factory.SetLogin("homelab", "secret")
		w.cfg.Logins = map[string]Login{w.url + "/": {"homelab", "secret"}, "https://other.example": {"other", "secret-2"}}
		_, stop := w.start()
		w.request("one", class)
		w.complete(nas, "one")
		stop()
		for _, d := range nas.State().Datasets {
			for key, value := range d.User {
				if strings.Contains(value, "secret") || strings.Contains(value, "Basic") {
					t.Errorf("%s of %s holds the login", key, d.Name)
				}
			}
		}
	})
}

// Without the login, or with a wrong one, the request reports the factory's response.
func TestFactoryWithoutTheLogin(t *testing.T) {
	for name, logins := range map[string]func(url string) map[string]Login{
		"no login":             func(string) map[string]Login { return nil },
		"a wrong one":          func(url string) map[string]Login { return map[string]Login{url: {"homelab", "secret-1"}} },
		"that of another host": func(string) map[string]Login { return map[string]Login{"https://other.example": {"homelab", "secret"}} },
	} {
		t.Run(name, func(t *testing.T) {
			client, _ := onNAS(t, "25.10", nil)
			w := newWorld(t, Backend{Name: "nas", Client: client})
			w.factory.SetLogin("homelab", "secret")
			w.cfg.Logins = logins(w.url)
			_, stop := w.start()
			w.request("one", class)
			w.failed("one", "401")
			if text := w.status("one").TypedSpec().Value.GetError(); strings.Contains(text, "secret") {
				t.Errorf("the status holds a password: %s", text)
			}
			stop()
		})
	}
}

// Each of two factories gets only its own login.
func TestLoginsOfTwoFactories(t *testing.T) {
	client, nas := onNAS(t, "25.10", nil)
	w := newWorld(t, Backend{Name: "nas", Client: client})
	sent := map[string]bool{}
	var mu sync.Mutex
	secondary := &standin.Factory{}
	web := httptest.NewServer(http.HandlerFunc(func(to http.ResponseWriter, r *http.Request) {
		user, _, _ := r.BasicAuth()
		mu.Lock()
		sent[user] = true
		mu.Unlock()
		secondary.ServeHTTP(to, r)
	}))
	defer web.Close()
	w.inFactory(web.URL)
	secondary.Share(w.factory)
	secondary.SetLogin("second", "secret-2")
	w.factory.SetLogin("first", "secret-1")
	w.cfg.Logins = map[string]Login{w.url: {"first", "secret-1"}, web.URL: {"second", "secret-2"}}
	_, stop := w.start()
	w.request("one", class)
	w.complete(nas, "one")
	stop()
	mu.Lock()
	defer mu.Unlock()
	if len(sent) != 1 || !sent["second"] {
		t.Errorf("the secondary factory got logins of %v", sent)
	}
}

// Public factories publish no checksums and reply with 402 or 404. Only a failure is retried.
func TestUnpublishedChecksum(t *testing.T) {
	sum := strings.Repeat("ab", 32)
	for _, tt := range []struct {
		name   string
		status int
		body   string
		want   string
		again  bool
	}{
		{"published", http.StatusOK, sum + "  nocloud-amd64.raw.zst\n", sum, false},
		{"a page instead of a checksum", http.StatusOK, "<html>", "", false},
		{"for licensed users", http.StatusPaymentRequired, sum, "", false},
		{"missing", http.StatusNotFound, "", "", false},
		{"a failure", http.StatusBadGateway, "", "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			asked := 0
			web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/disk.raw.zst.sha256" || r.URL.RawQuery != "signature=1" {
					t.Errorf("requested %s", r.URL)
				}
				asked++
				w.WriteHeader(tt.status)
				_, _ = w.Write([]byte(tt.body))
			}))
			defer web.Close()
			f := &formats{}
			for range 2 {
				if got := f.checksum(t.Context(), Asset{URL: web.URL + "/disk.raw.zst?signature=1"}); got != tt.want {
					t.Errorf("checksum %q, want %q", got, tt.want)
				}
			}
			if want := map[bool]int{false: 1, true: 2}[tt.again]; asked != want {
				t.Errorf("asked %d times, want %d", asked, want)
			}
		})
	}
}

// A published checksum is passed on and verified. A mismatch fails the request.
func TestPublishedChecksum(t *testing.T) {
	client, nas := onNAS(t, "25.10", nil)
	w := newWorld(t, Backend{Name: "nas", Client: client})
	w.factory.PublishChecksums()
	_, stop := w.start()
	w.request("one", class)
	w.complete(nas, "one")
	w.checkRelease(nas, "one")
	other, err := standin.Image("raw.xz")
	if err != nil {
		t.Fatal(err)
	}
	w.factory.SetImage("raw.zst", other) // Does not match the checksum.
	w.request("two", strings.Replace(class, "tank", "tank", 1)+"secure_boot: true\n")
	w.failed("two", "checksum")
	stop()
}

func TestLoginsAreNotPrinted(t *testing.T) {
	if text := strings.Join([]string{Login{"a", "secret"}.String(), Login{"a", "secret"}.GoString()}, " "); strings.Contains(text, "secret") {
		t.Error(text)
	}
}
