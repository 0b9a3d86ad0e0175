package standin

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/siderolabs/image-factory/pkg/schematic"
)

// The images are four MiB with a little in them.
//
//go:embed nocloud-amd64.raw.zst nocloud-amd64.raw.xz nocloud-amd64.qcow2
var images embed.FS

// Factory is an image factory: it accepts schematics and serves the same small image for all of them. The zero value is
// ready.
type Factory struct {
	mu         sync.Mutex
	schematics map[string]schematic.Schematic
	fetched    []string
	down       bool
	formats    []string          // that are served; nil: all
	asked      []string          // HEAD requests
	user, pass string            // that images want; empty: none
	checksums  bool              // published beside images, as by an Enterprise factory
	contents   map[string][]byte // by format, instead of the small images
	other      *Factory          // whose schematics are served, too; may be nil
	hold       *hold             // of the images that are served; nil: none
	listed     int               // how often the list of system extensions was requested
	unlisted   bool              // the list is not served
}

// SetFormats lets the factory serve only these formats, such as "raw.xz".
func (f *Factory) SetFormats(formats ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.formats = formats
}

// SetImage lets the factory serve another image in a format such as "raw.zst".
func (f *Factory) SetImage(format string, content []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.contents == nil {
		f.contents = map[string][]byte{}
	}
	f.contents[format] = content
}

// SetLogin lets the factory serve images only with a user name and a password.
func (f *Factory) SetLogin(username, password string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.user, f.pass = username, password
}

// PublishChecksums lets the factory serve the checksum of each image beside it, as Enterprise factories do.
func (f *Factory) PublishChecksums() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.checksums = true
}

// admits reports whether a request has the login.
func (f *Factory) admits(r *http.Request) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	user, pass, _ := r.BasicAuth()
	return f.user == "" || user == f.user && pass == f.pass
}

// Asked are the paths of images requested with HEAD, once for each request.
func (f *Factory) Asked() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.asked)
}

// SetDown lets every request fail, or succeed again.
func (f *Factory) SetDown(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
}

// Schematics are the requested schematics by id.
func (f *Factory) Schematics() map[string]schematic.Schematic {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.schematics)
}

// Fetched are the paths of fetched images, once for each request from the first byte.
func (f *Factory) Fetched() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.fetched)
}

// Share makes the factory serve the schematics of another factory, too.
func (f *Factory) Share(other *Factory) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.other = other
}

// knows reports whether a schematic was requested, here or at the factory that is shared with.
func (f *Factory) knows(id string) bool {
	f.mu.Lock()
	_, known := f.schematics[id]
	other := f.other
	f.mu.Unlock()
	return known || other != nil && other.knows(id)
}

// ServeHTTP is the factory's API as far as a provider uses it.
func (f *Factory) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	down := f.down
	f.mu.Unlock()
	switch {
	case down:
		http.Error(w, "the factory is down", http.StatusServiceUnavailable)
	case r.Method == http.MethodPost && r.URL.Path == "/schematics":
		f.create(w, r)
	case strings.HasPrefix(r.URL.Path, "/image/"):
		f.image(w, r)
	case r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/version/v") && strings.HasSuffix(r.URL.Path, "/extensions/official"):
		f.extensionList(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (f *Factory) create(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	parsed, err := schematic.Unmarshal(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	id, err := parsed.ID()
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	f.mu.Lock()
	if f.schematics == nil {
		f.schematics = map[string]schematic.Schematic{}
	}
	f.schematics[id] = *parsed
	f.mu.Unlock()
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(map[string]string{"id": id, "schematic": string(body)})
}

// image serves /image/<schematic>/v<talos>/nocloud-amd64[-secureboot].<format> of a schematic that was requested.
func (f *Factory) image(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/image/"), "/")
	if !f.admits(r) {
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
	known := f.knows(parts[0])
	f.mu.Lock()
	_, format, _ := strings.Cut(path.Base(r.URL.Path), ".")
	served := f.formats == nil || slices.Contains(f.formats, format)
	if r.Method == http.MethodHead {
		f.asked = append(f.asked, r.URL.Path)
	}
	other := f.contents[format]
	f.mu.Unlock()
	name := strings.Replace(path.Base(r.URL.Path), "-secureboot", "", 1)
	if sum, wanted := strings.CutSuffix(name, ".sha256"); wanted {
		f.checksum(w, sum)
		return
	}
	content, err := images.ReadFile(name)
	if other != nil {
		content, err = other, nil
	}
	if !known || !served || len(parts) != 3 || !strings.HasPrefix(parts[1], "v") || err != nil {
		http.NotFound(w, r)
		return
	}
	if r.Method == http.MethodGet && (r.Header.Get("Range") == "" || strings.HasPrefix(r.Header.Get("Range"), "bytes=0-")) {
		f.mu.Lock()
		f.fetched = append(f.fetched, r.URL.Path)
		f.mu.Unlock()
	}
	http.ServeContent(w, r, name, time.Unix(1, 0), f.held(r.Context(), bytes.NewReader(content)))
}

// Image is the small image that a factory serves in a format.
func Image(format string) ([]byte, error) { return images.ReadFile("nocloud-amd64." + format) }

// checksum serves the checksum of an image, or requires a license, as public factories do.
func (f *Factory) checksum(w http.ResponseWriter, name string) {
	f.mu.Lock()
	published := f.checksums
	f.mu.Unlock()
	content, err := images.ReadFile(name)
	if !published || err != nil {
		http.Error(w, "enterprise only", http.StatusPaymentRequired)
		return
	}
	fmt.Fprintf(w, "%x  %s\n", sha256.Sum256(content), name) //nolint:gosec // A plain text, with the name of a file that exists.
}
