package standin

import (
	"encoding/json"
	"net/http"
)

// Extensions returns the system extensions that a [Factory] has for every Talos version.
func Extensions() []string {
	return []string{"siderolabs/i915", "siderolabs/iscsi-tools", "siderolabs/qemu-guest-agent", "siderolabs/util-linux-tools"}
}

// ListedExtensions returns the number of requests for the list of system extensions.
func (f *Factory) ListedExtensions() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.listed
}

// HideExtensions makes the factory serve no list of system extensions.
func (f *Factory) HideExtensions() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unlisted = true
}

// extensionList serves the list of system extensions.
func (f *Factory) extensionList(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.listed++
	unlisted := f.unlisted
	f.mu.Unlock()
	if unlisted {
		http.NotFound(w, r)
		return
	}
	type extension struct {
		Name string `json:"name"`
	}
	var list []extension
	for _, name := range Extensions() {
		list = append(list, extension{name})
	}
	_ = json.NewEncoder(w).Encode(list) // The client reports a failure.
}
