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

// Small images of four MiB.
//
//go:embed nocloud-amd64.raw.zst nocloud-amd64.raw.xz nocloud-amd64.qcow2
var images embed.FS

// Factory is an image factory: it accepts schematics and serves the same small image for all of them. The zero value is ready to
// use.
type Factory struct {
	mu         sync.Mutex
	schematics map[string]schematic.Schematic
	fetched    []string
	down       bool
	formats    []string          // formats to serve; nil: all
	asked      []string          // paths of HEAD requests
	user, pass string            // required for images; empty: none
	checksums  bool              // serve checksums beside images, as an Enterprise factory does
	contents   map[string][]byte // by format, instead of the small images
	other      *Factory          // a factory whose schematics are served too; may be nil
	hold       *hold             // where image downloads stop; nil: nowhere
	listed     int               // number of requests for the list of system extensions
	unlisted   bool              // do not serve the list
}

// SetFormats makes the factory serve only these formats, such as "raw.xz".
func (f *Factory) SetFormats(formats ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.formats = formats
}

// SetImage makes the factory serve another image in a format such as "raw.zst".
func (f *Factory) SetImage(format string, content []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.contents == nil {
		f.contents = map[string][]byte{}
	}
	f.contents[format] = content
}

// SetLogin makes the factory require a user name and a password for images.
func (f *Factory) SetLogin(username, password string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.user, f.pass = username, password
}

// PublishChecksums makes the factory serve the checksum of each image beside it, as Enterprise factories do.
func (f *Factory) PublishChecksums() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.checksums = true
}

// admits reports whether a request has the right login.
func (f *Factory) admits(r *http.Request) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	user, pass, _ := r.BasicAuth()
	return f.user == "" || user == f.user && pass == f.pass
}

// Asked returns the paths of the HEAD requests for images, one for each request.
func (f *Factory) Asked() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.asked)
}

// SetDown makes every request fail, or succeed again.
func (f *Factory) SetDown(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
}

// Schematics returns the requested schematics by id.
func (f *Factory) Schematics() map[string]schematic.Schematic {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.schematics)
}

// Fetched returns the paths of downloaded images, one for each request from the first byte.
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

// knows reports whether a schematic was requested, here or at the factory of [Factory.Share].
func (f *Factory) knows(id string) bool {
	f.mu.Lock()
	_, known := f.schematics[id]
	other := f.other
	f.mu.Unlock()
	return known || other != nil && other.knows(id)
}

// ServeHTTP serves the part of the factory's API that a provider uses.
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

// image serves /image/<schematic>/v<talos>/nocloud-amd64[-secureboot].<format> for known schematics.
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

// Image returns the small image in a format.
func Image(format string) ([]byte, error) { return images.ReadFile("nocloud-amd64." + format) }

// checksum serves the checksum of an image, or requires a license as public factories do.
func (f *Factory) checksum(w http.ResponseWriter, name string) {
	f.mu.Lock()
	published := f.checksums
	f.mu.Unlock()
	content, err := images.ReadFile(name)
	if !published || err != nil {
		http.Error(w, "enterprise only", http.StatusPaymentRequired)
		return
	}
	fmt.Fprintf(w, "%x  %s\n", sha256.Sum256(content), name) //nolint:gosec // Plain text with the name of an existing file.
}
