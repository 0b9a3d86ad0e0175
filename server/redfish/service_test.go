package redfish

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// Each link of each resource leads to a resource with its path and type.
func TestLinksLeadToResources(t *testing.T) {
	w := newWorld(t)
	seen := map[string]bool{}
	var follow func(path string)
	var walk func(value any)
	walk = func(value any) {
		switch value := value.(type) {
		case map[string]any:
			for name, member := range value {
				if text, ok := member.(string); ok && (name == "@odata.id" || name == "@Redfish.ActionInfo") {
					follow(text)
				}
				walk(member)
			}
		case []any:
			for _, member := range value {
				walk(member)
			}
		}
	}
	follow = func(path string) {
		if seen[path] {
			return
		}
		seen[path] = true
		r := w.get(path)
		if r.status != http.StatusOK || r.body["@odata.id"] != path || r.header.Get("ETag") == "" || r.header.Get("OData-Version") != "4.0" {
			t.Errorf("%s: %d %v %s", path, r.status, r.header, r.text)
			return
		}
		kind, _ := r.body["@odata.type"].(string)
		schema := strings.TrimPrefix(kind[:strings.LastIndex(kind, ".")], "#")
		if !slices.Contains(schemaVersions, schema) {
			t.Errorf("%s: type %s is not among the schemas", path, kind)
		}
		if link := r.header.Get("Link"); link != "</redfish/v1/JsonSchemas/"+schema+">; rel=describedby" {
			t.Errorf("%s: Link %q", path, link)
		}
		if !strings.HasSuffix(schema, "Collection") && r.body["Id"] == nil || r.body["Name"] == nil {
			t.Errorf("%s lacks Id or Name: %s", path, r.text)
		}
		walk(r.body)
	}
	follow("/redfish/v1/")
	if len(seen) < 80 {
		t.Errorf("only %d resources were found", len(seen))
	}
}

func TestResourcesWithoutLogin(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/redfish", "/redfish/", "/redfish/v1", "/redfish/v1/", "/redfish/v1/odata", "/redfish/v1/$metadata"} {
		if r := w.as("", http.MethodGet, path, ""); r.status != http.StatusOK {
			t.Errorf("%s: %d %s", path, r.status, r.text)
		}
	}
	if r := w.as("", http.MethodGet, "/redfish", ""); r.text != `{"v1":"/redfish/v1/"}` {
		t.Errorf("the versions are %s", r.text)
	}
	for _, path := range []string{"/", "/redfish/v1/Systems", "/redfish/v1/Systems/" + webID, "/redfish/v1/SessionService", "/redfish/v1/SessionService/Sessions", "/redfish/v1/AccountService", "/redfish/v1/Nothing", "/x"} {
		r := w.as("", http.MethodGet, path, "")
		if r.status != http.StatusUnauthorized || r.message() != "NoValidSession" || !strings.HasPrefix(r.header.Get("WWW-Authenticate"), "Basic ") {
			t.Errorf("%s: %d %s", path, r.status, r.text)
		}
	}
	if r := w.as("", http.MethodPost, "/redfish/v1/Systems/"+webID+"/Actions/ComputerSystem.Reset", `{"ResetType":"On"}`); r.status != http.StatusUnauthorized || len(w.backend.asked()) > 0 {
		t.Errorf("a reset without a login: %d", r.status)
	}
}

func TestSystem(t *testing.T) {
	w := newWorld(t)
	r := w.get("/redfish/v1/Systems/" + webID)
	for name, want := range map[string]any{
		"Name": "web-1", "Id": webID, "UUID": webID, "PowerState": "Off", "SystemType": "Virtual",
	} {
		if r.body[name] != want {
			t.Errorf("%s is %v, want %v", name, r.body[name], want)
		}
	}
	var y struct {
		MemorySummary    struct{ TotalSystemMemoryGiB float64 }
		ProcessorSummary struct{ Count, CoreCount int }
		Boot             map[string]any
	}
	if err := json.Unmarshal([]byte(r.text), &y); err != nil || y.MemorySummary.TotalSystemMemoryGiB != 6 || y.ProcessorSummary.CoreCount != 4 || y.Boot["BootSourceOverrideMode"] != "UEFI" {
		t.Errorf("%v %+v", err, y)
	}
	nic := w.get("/redfish/v1/Systems/" + webID + "/EthernetInterfaces/nic0").body
	if nic["MACAddress"] != "02:aa:bb:cc:dd:01" {
		t.Errorf("its first NIC is %v", nic)
	}
	if drive := w.get("/redfish/v1/Systems/" + webID + "/Storage/0/Drives/disk0").body; drive["CapacityBytes"] != float64(20<<30) || drive["Name"] != "root" {
		t.Errorf("its first disk is %v", drive)
	}
	if sb := w.get("/redfish/v1/Systems/" + webID + "/SecureBoot").body; sb["SecureBootEnable"] != true {
		t.Errorf("secure boot is %v", sb)
	}
	for _, path := range []string{"/EthernetInterfaces/nic2", "/EthernetInterfaces/nic", "/EthernetInterfaces/nic00", "/Processors/CPU1", "/Nothing"} {
		if r := w.get("/redfish/v1/Systems/" + webID + path); r.status != http.StatusNotFound || r.message() != "ResourceMissingAtURI" {
			t.Errorf("%s: %d %s", path, r.status, r.text)
		}
	}
}

// An unknown power state is null, and not Off.
func TestUnknownPowerState(t *testing.T) {
	w := newWorld(t)
	w.backend.vms[0].PowerState = "Unknown"
	if state, ok := w.get("/redfish/v1/Systems/" + webID).body["PowerState"]; !ok || state != nil {
		t.Errorf("PowerState is %v", state)
	}
}

func TestETags(t *testing.T) {
	w := newWorld(t)
	path := "/redfish/v1/Systems/" + webID
	tag := w.get(path).header.Get("ETag")
	if r := w.as("root", http.MethodGet, path, "", "If-None-Match", tag); r.status != http.StatusNotModified || r.text != "" {
		t.Errorf("an unchanged resource: %d %s", r.status, r.text)
	}
	const change = `{"Boot":{"BootSourceOverrideEnabled":"Once","BootSourceOverrideTarget":"Pxe"}}`
	if r := w.as("root", http.MethodPatch, path, change, "If-Match", `"other"`); r.status != http.StatusPreconditionFailed || len(w.backend.asked()) > 0 {
		t.Errorf("a wrong ETag: %d %s", r.status, r.text)
	}
	r := w.as("root", http.MethodPatch, path, change, "If-Match", tag)
	if r.status != http.StatusOK || r.header.Get("ETag") == tag {
		t.Errorf("the right ETag: %d %s", r.status, r.text)
	}
	if r := w.as("root", http.MethodPatch, path, change, "If-Match", tag); r.status != http.StatusPreconditionFailed {
		t.Errorf("the old ETag: %d %s", r.status, r.text)
	}
}

func TestMethods(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct{ method, path, allow string }{
		{http.MethodDelete, "/redfish/v1/Systems/" + webID, "GET, HEAD, PATCH"},
		{http.MethodPut, "/redfish/v1/", "GET, HEAD"},
		{http.MethodPost, "/redfish/v1/Systems", "GET, HEAD"},
		{http.MethodGet, "/redfish/v1/Systems/" + webID + "/Actions/ComputerSystem.Reset", "POST"},
		{http.MethodPatch, "/redfish/v1/AccountService/Accounts/root", "GET, HEAD"},
		{"BREW", "/redfish/v1/SessionService/Sessions", "GET, HEAD, POST"},
	} {
		if r := w.as("root", tt.method, tt.path, "{}"); r.status != http.StatusMethodNotAllowed || r.header.Get("Allow") != tt.allow || r.message() != "OperationNotAllowed" {
			t.Errorf("%s %s: %d, Allow %q", tt.method, tt.path, r.status, r.header.Get("Allow"))
		}
	}
	if r := w.as("root", http.MethodHead, "/redfish/v1/Systems", ""); r.status != http.StatusOK || r.text != "" || r.header.Get("ETag") == "" {
		t.Errorf("HEAD: %d %q", r.status, r.text)
	}
	if r := w.get("/redfish/v1/Systems?$expand=.($levels=1)"); r.status != http.StatusNotImplemented || r.message() != "QueryNotSupported" {
		t.Errorf("a query: %d %s", r.status, r.text)
	}
	if r := w.as("root", http.MethodGet, "/redfish/v1/Systems", "", "OData-Version", "5.0"); r.status != http.StatusPreconditionFailed {
		t.Errorf("another OData-Version: %d", r.status)
	}
}

// A VM that an account must not see does not exist for it, in any operation.
func TestSystemsOfAnAccount(t *testing.T) {
	w := newWorld(t)
	for account, want := range map[string][]string{"root": {webID, storeID}, "omni": {webID}} {
		for _, name := range []string{"Systems", "Managers", "Chassis"} {
			var list struct {
				Members []map[string]string
			}
			if err := json.Unmarshal([]byte(w.as(account, http.MethodGet, "/redfish/v1/"+name, "").text), &list); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, m := range list.Members {
				got = append(got, strings.TrimPrefix(m["@odata.id"], "/redfish/v1/"+name+"/"))
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s sees the %s %q, want %q", account, name, got, want)
			}
		}
	}
	for _, tt := range []struct{ account, id string }{{"omni", storeID}, {"omni", handID}, {"root", handID}, {"root", "none"}} {
		for method, paths := range map[string][]string{
			http.MethodGet:   {"Systems/" + tt.id, "Systems/" + tt.id + "/Memory", "Systems/" + tt.id + "/ResetActionInfo", "Managers/" + tt.id, "Chassis/" + tt.id, "Managers/" + tt.id + "/VirtualMedia/Cd"},
			http.MethodPost:  {"Systems/" + tt.id + "/Actions/ComputerSystem.Reset"},
			http.MethodPatch: {"Systems/" + tt.id},
		} {
			for _, path := range paths {
				if r := w.as(tt.account, method, "/redfish/v1/"+path, `{"ResetType":"ForceOff"}`); r.status != http.StatusNotFound {
					t.Errorf("%s, %s %s: %d", tt.account, method, path, r.status)
				}
			}
		}
	}
	if calls := w.backend.asked(); len(calls) > 0 {
		t.Errorf("the provider received the calls %q", calls)
	}
	w.accounts("accounts: [{name: root, password_hash: '" + hashed(t, password) + "', systems: [by-hand]}]")
	w.clock.pass(recheck)
	if r := w.get("/redfish/v1/Systems/" + handID); r.status != http.StatusOK {
		t.Errorf("a manually created VM that the account names: %d", r.status)
	}
}

func TestReadOnlyChangesNothing(t *testing.T) {
	w := newWorld(t)
	for method, path := range map[string]string{
		http.MethodPatch: "/redfish/v1/Systems/" + webID,
		http.MethodPost:  "/redfish/v1/Systems/" + webID + "/Actions/ComputerSystem.Reset",
	} {
		if r := w.as("eve", method, path, `{"ResetType":"On"}`); r.status != http.StatusForbidden || r.message() != "InsufficientPrivilege" {
			t.Errorf("%s: %d %s", method, r.status, r.text)
		}
	}
	if r := w.as("eve", http.MethodPost, "/redfish/v1/Managers/"+webID+"/VirtualMedia/Cd/Actions/VirtualMedia.EjectMedia", `{}`); r.status != http.StatusForbidden {
		t.Errorf("eject: %d", r.status)
	}
	if r := w.as("eve", http.MethodGet, "/redfish/v1/Systems/"+webID, ""); r.status != http.StatusOK || len(w.backend.asked()) > 0 {
		t.Errorf("reading: %d", r.status)
	}
}

// Clients poll. For them the provider lists its VMs at most once in a few seconds.
func TestListIsCached(t *testing.T) {
	w := newWorld(t)
	lists := &counting{backend: w.backend}
	w.service.provider.client = lists
	for range 10 {
		w.get("/redfish/v1/Systems/" + webID)
		w.get("/redfish/v1/Systems")
	}
	if lists.n != 1 {
		t.Errorf("listed %d times", lists.n)
	}
	w.clock.pass(listedFor + time.Second)
	w.get("/redfish/v1/Systems")
	if lists.n != 2 {
		t.Errorf("listed %d times", lists.n)
	}
	w.get("/redfish/v1/Systems/new")
	w.get("/redfish/v1/Systems/new")
	if lists.n != 2 { // The clock does not advance: the list is less than a second old.
		t.Errorf("listed %d times for a missing id", lists.n)
	}
}
