package redfish

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// disconnecting cancels the caller's context at the first change.
type disconnecting struct {
	*backend
	cancel context.CancelFunc
}

func (h *disconnecting) Power(ctx context.Context, req *providerv1.PowerRequest, opts ...grpc.CallOption) (*providerv1.TaskResponse, error) {
	h.cancel()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return h.backend.Power(ctx, req, opts...)
}

func (w *world) patch(body string) reply {
	w.t.Helper()
	return w.as("root", http.MethodPatch, "/redfish/v1/Systems/"+webID, body)
}

func TestBootOverride(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct{ set, settings, enabled, target string }{
		{`{"BootSourceOverrideEnabled":"Once","BootSourceOverrideTarget":"Pxe"}`, `{"truenas.io/boot":"disk","truenas.io/boot_once":"network"}`, "Once", "Pxe"},
		{`{"BootSourceOverrideTarget":"Cd"}`, `{"truenas.io/boot":"disk","truenas.io/boot_once":"cdrom"}`, "Once", "Cd"},
		{`{"BootSourceOverrideEnabled":"Continuous","BootSourceOverrideTarget":"Pxe","BootSourceOverrideMode":"UEFI"}`, `{"truenas.io/boot":"network","truenas.io/boot_once":"none"}`, "Continuous", "Pxe"},
		{`{"BootSourceOverrideEnabled":"Once","BootSourceOverrideTarget":"Hdd"}`, `{"truenas.io/boot":"disk","truenas.io/boot_once":"disk"}`, "Once", "Hdd"},
		{`{"BootSourceOverrideEnabled":"Disabled"}`, `{"truenas.io/boot":"disk","truenas.io/boot_once":"none"}`, "Disabled", "None"},
		{`{"BootSourceOverrideEnabled":"Disabled","BootSourceOverrideTarget":"None"}`, `{"truenas.io/boot":"disk","truenas.io/boot_once":"none"}`, "Disabled", "None"},
		{`{"BootSourceOverrideEnabled":"Once","BootSourceOverrideTarget":"None"}`, `{"truenas.io/boot":"disk","truenas.io/boot_once":"none"}`, "Disabled", "None"},
	} {
		r := w.patch(`{"Boot":` + tt.set + `}`)
		boot, _ := r.body["Boot"].(map[string]any)
		if r.status != http.StatusOK || boot["BootSourceOverrideEnabled"] != tt.enabled || boot["BootSourceOverrideTarget"] != tt.target {
			t.Errorf("%s: %d %s", tt.set, r.status, r.text)
		}
		if calls := w.backend.asked(); len(calls) != 1 || calls[0] != `{"Class":{"ExtraConfig":`+tt.settings+`},"Name":"web-1"}` {
			t.Errorf("%s: %q", tt.set, calls)
		}
	}
}

// A PATCH with a mistake changes nothing, and the response names each mistake.
func TestPatchMistakes(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct{ body, message, at string }{
		{`{}`, "EmptyJSON", ""},
		{`{"Colour":"red"}`, "PropertyUnknown", "/Colour"},
		{`{"Name":"x"}`, "PropertyNotWritable", "/Name"},
		{`{"PowerState":"Off"}`, "PropertyNotWritable", "/PowerState"},
		{`{"Boot":"Pxe"}`, "PropertyValueTypeError", "/Boot"},
		{`{"Boot":{"Colour":"red","BootSourceOverrideEnabled":"Once","BootSourceOverrideTarget":"Pxe"}}`, "PropertyUnknown", "/Boot/Colour"},
		{`{"Boot":{"BootSourceOverrideTarget":"Usb","BootSourceOverrideEnabled":"Once"}}`, "PropertyValueNotInList", "/Boot/BootSourceOverrideTarget"},
		{`{"Boot":{"BootSourceOverrideEnabled":1}}`, "PropertyValueTypeError", "/Boot/BootSourceOverrideEnabled"},
		{`{"Boot":{"BootSourceOverrideMode":"Legacy","BootSourceOverrideEnabled":"Once","BootSourceOverrideTarget":"Pxe"}}`, "PropertyValueNotInList", "/Boot/BootSourceOverrideMode"},
		{`{"Boot":{"BootSourceOverrideTarget":"Pxe"}}`, "PropertyMissing", ""},
		{`{"Boot":{"BootSourceOverrideEnabled":"Once"}}`, "PropertyMissing", ""},
	} {
		r := w.patch(tt.body)
		if r.status != http.StatusBadRequest || r.message() != tt.message || tt.at != "" && !contains(r, tt.at) {
			t.Errorf("%s: %d %s", tt.body, r.status, r.text)
		}
	}
	if calls := w.backend.asked(); len(calls) > 0 {
		t.Errorf("the provider received the calls %q", calls)
	}
}

// contains reports whether a reply has a message about a property.
func contains(r reply, at string) bool {
	fault := r.body["error"].(map[string]any)
	for _, info := range fault["@Message.ExtendedInfo"].([]any) {
		list, _ := info.(map[string]any)["RelatedProperties"].([]any)
		if len(list) == 1 && list[0] == at {
			return true
		}
	}
	return false
}

// A provider without the settings would ignore them and return success.
func TestProviderWithoutSettings(t *testing.T) {
	w := newWorld(t)
	w.backend.extensions = "dry-run"
	const media = "/redfish/v1/Managers/" + webID + "/VirtualMedia/Cd/Actions/"
	for _, r := range []reply{
		w.patch(`{"Boot":{"BootSourceOverrideEnabled":"Once","BootSourceOverrideTarget":"Pxe"}}`),
		w.as("root", http.MethodPost, media+"VirtualMedia.InsertMedia", `{"Image":"https://example.com/a.iso"}`),
		w.as("root", http.MethodPost, media+"VirtualMedia.EjectMedia", `{}`),
	} {
		if r.status != http.StatusBadRequest || r.message() != "ActionNotSupported" {
			t.Errorf("%d %s", r.status, r.text)
		}
	}
	if calls := w.backend.asked(); len(calls) > 0 {
		t.Errorf("the provider received the calls %q", calls)
	}
}

func TestVirtualMedia(t *testing.T) {
	w := newWorld(t)
	const drive = "/redfish/v1/Managers/" + webID + "/VirtualMedia/Cd"
	insert := func(body string) reply {
		return w.as("root", http.MethodPost, drive+"/Actions/VirtualMedia.InsertMedia", body)
	}
	if r := insert(`{"Image":"https://example.com/iso/talos.iso?key=1","Inserted":true,"WriteProtected":true,"TransferProtocolType":"HTTPS"}`); r.status != http.StatusNoContent {
		t.Errorf("insert: %d %s", r.status, r.text)
	}
	r := w.get(drive)
	if r.body["Inserted"] != true || r.body["Image"] != "https://example.com/iso/talos.iso?key=1" || r.body["ImageName"] != "talos.iso" || r.body["ConnectedVia"] != "URI" {
		t.Errorf("inserted: %s", r.text)
	}
	if r := w.as("root", http.MethodPost, drive+"/Actions/VirtualMedia.EjectMedia", `{}`); r.status != http.StatusNoContent {
		t.Errorf("eject: %d %s", r.status, r.text)
	}
	if r := w.get(drive); r.body["Inserted"] != false || r.body["Image"] != nil {
		t.Errorf("ejected: %s", r.text)
	}
	w.backend.asked()
	for body, message := range map[string]string{
		`{}`:                           "ActionParameterMissing",
		`{"Image":"nfs://host/a.iso"}`: "ActionParameterValueFormatError",
		`{"Image":"https://u:p@example.com/a.iso"}`:                  "ActionParameterValueFormatError",
		`{"Image":"https://example.com/a.iso","Inserted":false}`:     "ActionParameterNotSupported",
		`{"Image":"https://example.com/a.iso","Inserted":"yes"}`:     "ActionParameterValueTypeError",
		`{"Image":"https://example.com/a.iso","MediaType":"Floppy"}`: "ActionParameterValueNotInList",
		`{"Image":"https://example.com/a.iso","Password":"x"}`:       "ActionParameterNotSupported",
		`{"Image":"https://example.com/a.iso","Slot":"1"}`:           "ActionParameterUnknown",
	} {
		if r := insert(body); r.status != http.StatusBadRequest || r.message() != message {
			t.Errorf("%s: %d %s", body, r.status, r.text)
		}
	}
	if calls := w.backend.asked(); len(calls) > 0 {
		t.Errorf("the provider received the calls %q", calls)
	}
}

// The insertion of an ISO from a URL waits for the download: the call after the task inserts it.
func TestSlowVirtualMedia(t *testing.T) {
	w := newWorld(t)
	const drive = "/redfish/v1/Managers/" + webID + "/VirtualMedia/Cd"
	const body = `{"Image":"https://example.com/a.iso"}`
	w.backend.landing = 1
	if r := w.as("root", http.MethodPost, drive+"/Actions/VirtualMedia.InsertMedia", body); r.status != http.StatusNoContent {
		t.Errorf("%d %s", r.status, r.text)
	}
	asked := `{"Class":{"ExtraConfig":{"truenas.io/media":"https://example.com/a.iso"}},"Name":"web-1"}`
	if calls := w.backend.asked(); !slices.Equal(calls, []string{asked, "TaskStatus", asked}) {
		t.Errorf("%q", calls)
	}
	w.service.patience = time.Millisecond
	w.backend.landing = 1 << 30
	r := w.as("root", http.MethodPost, drive+"/Actions/VirtualMedia.InsertMedia", body)
	if r.status != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "" || r.message() != "ServiceTemporarilyUnavailable" {
		t.Errorf("%d %s", r.status, r.text)
	}
	w.service.patience = changeTimeout
	w.backend.landing, w.backend.fail = 0, status.Error(codes.InvalidArgument, "the image is not an ISO")
	if r := w.as("root", http.MethodPost, drive+"/Actions/VirtualMedia.InsertMedia", body); r.status != http.StatusBadRequest {
		t.Errorf("%d %s", r.status, r.text)
	}
}
