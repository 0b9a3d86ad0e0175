package omni

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cosi-project/runtime/pkg/resource"
	omnires "github.com/siderolabs/omni/client/pkg/omni/resources/omni"
	"google.golang.org/protobuf/encoding/protowire"

	"virtrigaud-provider-truenas/omni/standin"
	"virtrigaud-provider-truenas/truenas/sim"
)

// The adapter requests the fastest format that the factory serves, once for all machines.
func TestFastestImageFormat(t *testing.T) {
	for _, tt := range []struct {
		name   string
		serves []string
		want   string
		asked  int
	}{
		{"everything", []string{"raw.zst", "raw.xz", "qcow2"}, ".raw.zst", 1},
		{"only xz, as before Talos 1.8", []string{"raw.xz", "qcow2"}, ".raw.xz", 2},
		{"only qcow2", []string{"qcow2"}, ".qcow2", 3},
		{"only zst", []string{"raw.zst"}, ".raw.zst", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			everywhere(t, func(t *testing.T, w *world, nas *sim.Sim) {
				w.factory.SetFormats(tt.serves...)
				_, stop := w.start()
				for _, id := range []string{"one", "two"} {
					w.request(id, class)
					w.provisioned(id)
				}
				stop()
				fetched := w.factory.Fetched()
				if len(fetched) == 0 || slices.ContainsFunc(fetched, func(path string) bool { return !strings.HasSuffix(path, "nocloud-amd64"+tt.want) }) {
					t.Errorf("fetched %v; want %s", fetched, tt.want)
				}
				if asked := w.factory.Asked(); len(asked) < tt.asked || len(asked) > tt.asked+1 { // The backend may ask once more.
					t.Errorf("requested %v; want %d", asked, tt.asked)
				}
			})
		})
	}
}

// A factory that is unreachable for the adapter may be reachable for the backend. The adapter then uses the format that every
// factory serves.
func TestFormatOfUnreachableFactory(t *testing.T) {
	answers := http.StatusServiceUnavailable
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(answers) }))
	defer web.Close()
	f := &formats{}
	if got := f.of(t.Context(), web.URL, "v1.12.3", web.URL+"/image/s/v1.12.3/nocloud-amd64", nil, logger(t)); got != "raw.xz" {
		t.Errorf("format %s; want raw.xz", got)
	}
	answers = http.StatusOK
	if got := f.of(t.Context(), web.URL, "v1.12.3", web.URL+"/image/s/v1.12.3/nocloud-amd64", nil, logger(t)); got != "raw.zst" {
		t.Errorf("format %s; want raw.zst once the factory answers", got)
	}
}

// The adapter sends one request to a factory that it cannot reach, and not one for each format: each may last until its timeout.
func TestUnreachableFactoryIsQueriedOnce(t *testing.T) {
	var asked atomic.Int64
	web := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked.Add(1)
		panic(http.ErrAbortHandler) // Ends the connection without a response.
	}))
	defer web.Close()
	if got := new(formats).of(t.Context(), web.URL, "v1.12.3", web.URL+"/a", nil, logger(t)); got != alwaysServed || asked.Load() != 1 {
		t.Errorf("format %s after %d requests", got, asked.Load())
	}
	if got := new(formats).of(t.Context(), web.URL, "v1.12.3", ":// not a URL", nil, logger(t)); got != alwaysServed || asked.Load() != 1 {
		t.Errorf("format %s of an address that cannot be read, after %d requests", got, asked.Load())
	}
}

// TestFormatServed checks what the status of a response means: absent, present, or not known.
func TestFormatServed(t *testing.T) {
	code := 0
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }))
	defer web.Close()
	for _, tt := range []struct {
		code          int
		serves, fails bool
	}{
		{http.StatusOK, true, false}, {http.StatusNotFound, false, false}, {http.StatusBadRequest, false, false},
		{http.StatusUnauthorized, false, true}, {http.StatusTooManyRequests, false, true}, {http.StatusInternalServerError, false, true},
	} {
		code = tt.code
		if serves, err := new(formats).serves(t.Context(), web.URL, nil); serves != tt.serves || (err != nil) != tt.fails {
			t.Errorf("%d: %t, %v", tt.code, serves, err)
		}
	}
}

// TestAnswersForAChecksum takes a checksum that a factory publishes beside an image. An answer that a later request may change is not
// remembered.
func TestAnswersForAChecksum(t *testing.T) {
	sum := strings.Repeat("0a", 32)
	for _, tt := range []struct {
		name, body string
		code       int
		want       string
		again      bool // asked again
	}{
		{"published", sum + "\n", http.StatusOK, sum, false},
		{"as sha256sum writes it", sum + "  nocloud-amd64.raw.xz\n", http.StatusOK, sum, false},
		{"not published", "none", http.StatusNotFound, "", false},
		{"a checksum with another status", sum, http.StatusForbidden, "", false},
		{"something else", "<html>", http.StatusOK, "", false},
		{"too short", sum[1:], http.StatusOK, "", false},
		{"the factory is down", sum, http.StatusInternalServerError, "", true},
		{"the factory is busy", sum, http.StatusServiceUnavailable, "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var asked []string
			web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked = append(asked, r.URL.String())
				w.WriteHeader(tt.code)
				_, _ = io.WriteString(w, tt.body)
			}))
			defer web.Close()
			f, asset := &formats{}, Asset{URL: web.URL + "/a.raw.xz?signature=1"}
			for range 2 {
				if got := f.checksum(t.Context(), asset); got != tt.want {
					t.Errorf("got %q", got)
				}
			}
			if again := len(asked) == 2; again != tt.again || asked[0] != "/a.raw.xz.sha256?signature=1" {
				t.Errorf("asked %v", asked)
			}
			asset.Key = "another"
			if f.checksum(t.Context(), asset); len(asked) < 2 {
				t.Error("the checksum of another image was taken")
			}
		})
	}
	if got := new(formats).checksum(t.Context(), Asset{URL: "http://127.0.0.1:1/a"}); got != "" {
		t.Errorf("of a factory that is away: %q", got)
	}
}

// TestHeadersStayWithTheirHost: the login of a factory follows a redirect within the factory, and no other.
func TestHeadersStayWithTheirHost(t *testing.T) {
	got := ""
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.URL.Path + " " + r.Header.Get("X-Login") }))
	defer other.Close()
	var factory *httptest.Server
	factory = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/away":
			http.Redirect(w, r, other.URL+"/there", http.StatusFound)
		case "/within":
			http.Redirect(w, r, factory.URL+"/here", http.StatusFound)
		case "/endless":
			http.Redirect(w, r, factory.URL+"/endless", http.StatusFound)
		default:
			got = r.URL.Path + " " + r.Header.Get("X-Login")
		}
	}))
	defer factory.Close()
	for path, want := range map[string]string{"/plain": "/plain secret", "/within": "/here secret", "/away": "/there "} {
		resp, err := ask(t.Context(), http.MethodGet, factory.URL+path, map[string]string{"X-Login": "secret"})
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
	for address, want := range map[string]string{factory.URL + "/endless": "too many redirects", "http://127.0.0.1:1/token": "connection refused", "http://[token": "cannot be read as a URL"} {
		resp, err := ask(t.Context(), http.MethodGet, address, nil)
		if err == nil {
			_ = resp.Body.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "token") {
			t.Errorf("%s: %v, want %s", address, err, want)
		}
	}
}

// TestSameHost compares scheme, host and port.
func TestSameHost(t *testing.T) {
	const factory = "https://factory.example/x"
	for other, want := range map[string]bool{
		"https://FACTORY.example": true, "https://factory.example/y?z": true, "http://factory.example": false, "https://factory.example:8443": false,
		"https://other.example": false, "": false, "://": false,
	} {
		if sameHost(factory, other) != want || sameHost(other, factory) != want {
			t.Errorf("%q: want %t", other, want)
		}
	}
	if sameHost("://", "://") {
		t.Error("two addresses that cannot be read are of one host")
	}
}

// TestFieldOfALaterOmni reads a field that the client library does not know from whatever bytes Omni sends.
func TestFieldOfALaterOmni(t *testing.T) {
	text := func(number protowire.Number, value string) []byte {
		return protowire.AppendString(protowire.AppendTag(nil, number, protowire.BytesType), value)
	}
	number := protowire.AppendVarint(protowire.AppendTag(nil, factoryField, protowire.VarintType), 7)
	factory := text(factoryField, "https://factory")
	for _, tt := range []struct {
		name  string
		bytes []byte
		want  string
	}{
		{"nothing", nil, ""},
		{"the field", factory, "https://factory"},
		{"after others", slices.Concat(text(5, "a"), text(7, "b"), factory), "https://factory"},
		{"before others", slices.Concat(factory, text(7, "b")), "https://factory"},
		{"twice: the last one counts", slices.Concat(text(factoryField, "a"), factory), "https://factory"},
		{"as a number", number, ""},
		{"as a number and as a text", slices.Concat(number, factory), "https://factory"},
		{"another field", text(7, "b"), ""},
		{"an empty text", text(factoryField, ""), ""},
		{"cut off", factory[:len(factory)-1], ""},
		{"followed by half a field", append(slices.Clone(factory), 0xff), "https://factory"},
		{"no field", []byte{0xff, 0xff}, ""},
	} {
		if got := unknownText(tt.bytes, factoryField); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// Omni 1.10 may have a Talos version in its secondary factory.
func TestFactoryOfATalosVersion(t *testing.T) {
	client, nas := onNAS(t, "25.10", nil)
	w := newWorld(t, Backend{Name: "nas", Client: client})
	secondary := &standin.Factory{}
	web := httptest.NewServer(secondary)
	defer web.Close()
	w.inFactory(web.URL)
	secondary.Share(w.factory)
	_, stop := w.start()
	w.request("one", class)
	w.complete(nas, "one")
	stop()
	if len(secondary.Fetched()) == 0 || len(w.factory.Fetched()) != 0 {
		t.Errorf("the secondary factory served %v and the primary %v", secondary.Fetched(), w.factory.Fetched())
	}
}

// inFactory makes Omni name an image factory for the Talos version.
func (w *world) inFactory(address string) {
	w.t.Helper()
	version := omnires.NewTalosVersion(talos)
	field := protowire.AppendTag(nil, factoryField, protowire.BytesType)
	version.TypedSpec().Value.ProtoReflect().SetUnknown(protowire.AppendString(field, address))
	if err := w.omni.Create(w.t.Context(), resource.Resource(version)); err != nil {
		w.t.Fatal(err)
	}
}
