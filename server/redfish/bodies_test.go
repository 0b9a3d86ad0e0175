package redfish

import (
	"encoding/xml"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// at lists the properties that the messages of a fault are about, in order.
func (r reply) at() string {
	var all []string
	fault, _ := r.body["error"].(map[string]any)
	infos, _ := fault["@Message.ExtendedInfo"].([]any)
	for _, info := range infos {
		list, _ := info.(map[string]any)["RelatedProperties"].([]any)
		for _, property := range list {
			text, _ := property.(string)
			all = append(all, text)
		}
	}
	return strings.Join(all, " ")
}

// A body is refused as a whole, with each of its mistakes in a fixed order, or read as a whole.
func TestBodies(t *testing.T) {
	w := newWorld(t)
	nested := func(depth int) string {
		return `{"ResetType":"On","@x":` + strings.Repeat(`{"a":`, depth) + "1" + strings.Repeat("}", depth) + "}"
	}
	for _, tt := range []struct {
		name, body  string
		status      int
		message, at string
	}{
		{"annotations do not count", `{"@odata.type":"x","ResetType":"On","@odata.id":[1,{"a":[]}]}`, http.StatusNoContent, "", ""},
		{"each mistake in order", `{"Z":1,"ResetType":7,"A":1}`, http.StatusBadRequest, "ActionParameterUnknown", "/A /ResetType /Z"},
		{"a duplicate below", `{"ResetType":"On","@x":{"a":{"b":1,"b":2}}}`, http.StatusBadRequest, "PropertyDuplicate", "/@x/a/b"},
		{"as deep as allowed", nested(maxDepth - 2), http.StatusNoContent, "", ""},
		{"too deep", nested(maxDepth - 1), http.StatusBadRequest, "MalformedJSON", ""},
		{"deep lists", `{"@x":` + strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth) + `}`, http.StatusBadRequest, "MalformedJSON", ""},
		{"a list without an end", `{"ResetType":"On","@x":[1`, http.StatusBadRequest, "MalformedJSON", ""},
		{"a list with a fault", `{"ResetType":"On","@x":[1,]}`, http.StatusBadRequest, "MalformedJSON", ""},
		{"no value", `{"ResetType":"On","@x":}`, http.StatusBadRequest, "MalformedJSON", ""},
		{"no name", `{"ResetType":"On",7:1}`, http.StatusBadRequest, "MalformedJSON", ""},
		{"no end", `{"ResetType":"On"`, http.StatusBadRequest, "MalformedJSON", ""},
		{"more behind the end", `{"ResetType":"On"}]`, http.StatusBadRequest, "MalformedJSON", ""},
	} {
		r := w.as("root", http.MethodPost, "/redfish/v1/Systems/"+webID+resetPath, tt.body)
		if r.status != tt.status || r.message() != tt.message || r.at() != tt.at {
			t.Errorf("%s: %d %s", tt.name, r.status, r.text)
		}
		if calls := w.backend.asked(); (len(calls) > 0) != (tt.message == "") {
			t.Errorf("%s: the provider got the calls %q", tt.name, calls)
		}
	}
	for kind, want := range map[string]int{"application/json; charset=utf-8": http.StatusNoContent, "application/": http.StatusUnsupportedMediaType, "text/plain": http.StatusUnsupportedMediaType} {
		if r := w.as("root", http.MethodPost, "/redfish/v1/Systems/"+webID+resetPath, `{"ResetType":"On"}`, "Content-Type", kind); r.status != want {
			t.Errorf("Content-Type %s: %d %s", kind, r.status, r.text)
		}
	}
	if r := w.as("root", http.MethodPost, "/redfish/v1/Systems/"+webID+resetPath, `{"ResetType":12345678901234567890}`); !strings.Contains(r.text, "The value '12345678901234567890'") {
		t.Errorf("a large number is repeated as another one: %s", r.text)
	}
	if r := w.as("", http.MethodPost, pathSessions, `{"@odata.type":"x","Zip":1,"Password":7}`); r.at() != "/Password /UserName /Zip" {
		t.Errorf("a login with three mistakes: %s", r.text)
	}
	if r := w.as("", http.MethodPost, pathSessions, `{"@odata.type":"x","UserName":"root","Password":"`+password+`"}`); r.status != http.StatusCreated {
		t.Errorf("a login with an annotation: %d %s", r.status, r.text)
	}
}

// A body that ends too early is refused.
func TestBodyThatCannotBeRead(t *testing.T) {
	w := newWorld(t)
	req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, pathSessions, iotest.ErrReader(errors.New("reset by peer")))
	answer := httptest.NewRecorder()
	w.service.ServeHTTP(answer, req)
	if answer.Code != http.StatusBadRequest || !strings.Contains(answer.Body.String(), "UnrecognizedRequestBody") {
		t.Errorf("%d %s", answer.Code, answer.Body)
	}
}

// A message repeats 100 bytes of a value, and never half a character.
func TestMessagesAreBounded(t *testing.T) {
	for _, tt := range []struct{ value, want string }{
		{strings.Repeat("x", 100), strings.Repeat("x", 100)},
		{strings.Repeat("x", 101), strings.Repeat("x", 100) + "…"},
		{strings.Repeat("x", 99) + "é", strings.Repeat("x", 99) + "…"},
		{"a\xff", "a?"},
	} {
		f := fail(msgParameterList, tt.value, "second", "third").because("It is %d.", 7)
		f.add("Other", msgMalformedJSON)
		want := "The value '" + tt.want + "' for the parameter second in the action third is not in the list of acceptable values. It is 7. " + msgMalformedJSON.text
		if f.Error() != want {
			t.Errorf("got  %q\nwant %q", f.Error(), want)
		}
	}
}

// A part of an override keeps the other part. A change of the mode alone, or of annotations, overrides nothing new.
func TestPartsOfAnOverride(t *testing.T) {
	pxe := override{once, "Pxe"}
	for _, tt := range []struct {
		from override
		want map[string]string
		to   override
	}{
		{pxe, map[string]string{"BootSourceOverrideEnabled": continuous}, override{continuous, "Pxe"}},
		{pxe, map[string]string{"BootSourceOverrideTarget": "Cd"}, override{once, "Cd"}},
		{pxe, map[string]string{"BootSourceOverrideTarget": "None"}, override{disabled, "None"}},
		{pxe, map[string]string{"BootSourceOverrideMode": "UEFI"}, pxe},
		{override{disabled, "None"}, map[string]string{"BootSourceOverrideMode": "UEFI"}, override{disabled, "None"}},
	} {
		if got, err := tt.from.changed(tt.want); err != nil || got != tt.to {
			t.Errorf("%v and %v: %v, %v", tt.from, tt.want, got, err)
		}
	}
	w := newWorld(t)
	if r := w.patch(`{"@odata.etag":"x","Boot":{}}`); r.status != http.StatusOK || len(w.backend.asked()) > 0 {
		t.Errorf("annotations: %d %s", r.status, r.text)
	}
	raw := w.backend.vms[0].ProviderRaw
	for _, tt := range []struct {
		boot, once string
		want       override
	}{
		{"disk", "", override{disabled, "None"}},
		{"network", "", override{continuous, "Pxe"}},
		{"cdrom", "", override{continuous, "Cd"}},
		{"network", "disk", override{once, "Hdd"}},
		{"disk", "cdrom", override{once, "Cd"}},
		{"floppy", "floppy", override{disabled, "None"}},
	} {
		raw["boot"], raw["boot_once"] = tt.boot, tt.once
		boot, _ := w.get("/redfish/v1/Systems/" + webID).body["Boot"].(map[string]any)
		if boot["BootSourceOverrideEnabled"] != tt.want.enabled || boot["BootSourceOverrideTarget"] != tt.want.target {
			t.Errorf("boot %q, once %q: %v", tt.boot, tt.once, boot)
		}
	}
}

// A CD-ROM drive takes an http or https URL without credentials, and what the standard requires besides.
func TestInsertMediaParameters(t *testing.T) {
	w := newWorld(t)
	const drive = "/redfish/v1/Managers/" + webID + "/VirtualMedia/Cd"
	for body, message := range map[string]string{
		`"Image":"http://example.com/a.iso","MediaType":"CD","TransferMethod":"Upload","TransferProtocolType":"HTTP"`: "",
		`"Image":"https://example.com/a.iso","MediaType":"DVD","TransferMethod":"Stream","UserName":"","Password":""`: "",
		`"Image":"http:///a.iso"`:                                         "ActionParameterValueFormatError",
		`"Image":"http://a/%zz.iso"`:                                      "ActionParameterValueFormatError",
		`"Image":"https://u@a.example/"`:                                  "ActionParameterValueFormatError",
		`"Image":"https://a.example/a.iso","WriteProtected":false`:        "ActionParameterNotSupported",
		`"Image":"https://a.example/a.iso","TransferMethod":"Carrier"`:    "ActionParameterValueNotInList",
		`"Image":"https://a.example/a.iso","TransferProtocolType":"NFS"`:  "ActionParameterValueNotInList",
		`"Image":"https://a.example/a.iso","UserName":"x","Password":"x"`: "ActionParameterNotSupported",
	} {
		r := w.as("root", http.MethodPost, drive+"/Actions/VirtualMedia.InsertMedia", "{"+body+"}")
		if (r.status == http.StatusNoContent) != (message == "") || r.message() != message {
			t.Errorf("%s: %d %s", body, r.status, r.text)
		}
		if calls := w.backend.asked(); (len(calls) > 0) != (message == "") {
			t.Errorf("%s: the provider got the calls %q", body, calls)
		}
	}
	for account, path := range map[string]string{"root": drive, "omni": strings.Replace(drive, webID, storeID, 1)} {
		r := w.as(account, http.MethodPost, path+"/Actions/VirtualMedia.EjectMedia", `{"Slot":"1"}`)
		if r.status != http.StatusBadRequest || r.message() != "ActionParameterUnknown" {
			t.Errorf("eject with a parameter: %d %s", r.status, r.text)
		}
	}
	for _, action := range []string{"InsertMedia", "EjectMedia"} {
		body := map[string]string{"InsertMedia": `{"Image":"https://a.example/a.iso"}`, "EjectMedia": "{}"}[action]
		if r := w.as("omni", http.MethodPost, strings.Replace(drive, webID, storeID, 1)+"/Actions/VirtualMedia."+action, body); r.status != http.StatusNotFound {
			t.Errorf("%s of a VM that is not seen: %d", action, r.status)
		}
	}
	if calls := w.backend.asked(); len(calls) > 0 {
		t.Errorf("the provider got the calls %q", calls)
	}
	for image, name := range map[string]any{"https://a.example": nil, "https://a.example/x/b.iso?c=/d": "b.iso", "b.iso": "b.iso"} {
		w.backend.vms[0].ProviderRaw["media"] = image
		if r := w.get(drive); r.body["Image"] != image || r.body["ImageName"] != name || r.body["Inserted"] != true {
			t.Errorf("%s: %s", image, r.text)
		}
	}
}

// has reports the properties that differ, of those at a path whose parts are joined by dots.
func (w *world) has(path string, want map[string]any) {
	w.t.Helper()
	r := w.get(path)
	for _, name := range slices.Sorted(maps.Keys(want)) {
		var got any = r.body
		for key := range strings.SplitSeq(name, "/") {
			object, _ := got.(map[string]any)
			got = object[key]
		}
		if got != want[name] {
			w.t.Errorf("%s: %s is %v, want %v: %s", path, name, got, want[name], r.text)
		}
	}
}

// The resources of a VM say what the provider says of it.
func TestResources(t *testing.T) {
	w := newWorld(t)
	const web, store = "/redfish/v1/Systems/" + webID, "/redfish/v1/Systems/" + storeID
	w.has(web, map[string]any{"Status/State": "Disabled", "Boot/BootSourceOverrideMode": "UEFI", "UUID": webID, "HostName": "web-1",
		"ProcessorSummary/Count": 1.0, "ProcessorSummary/LogicalProcessorCount": 4.0})
	w.has(store, map[string]any{"Status/State": "Enabled", "Status/Health": "OK", "PowerState": "On", "Boot/BootSourceOverrideMode": "Legacy"})
	w.has(web+"/Processors/CPU0", map[string]any{"Id": "CPU0", "TotalCores": 4.0, "TotalThreads": 4.0})
	w.has(web+"/Memory/DIMM0", map[string]any{"CapacityMiB": 6144.0})
	w.has(web+"/EthernetInterfaces", map[string]any{"Members@odata.count": 2.0, "Name": "EthernetInterfaces"})
	w.has(web+"/EthernetInterfaces/nic1", map[string]any{"MACAddress": "02:aa:bb:cc:dd:02", "Description": "On br1", "Name": "NIC 1"})
	w.has(web+"/Storage/0", map[string]any{"Drives@odata.count": 2.0})
	w.has(web+"/Storage/0/Drives/disk1", map[string]any{"Name": "disk1", "CapacityBytes": float64(5 << 30)})
	w.has(web+"/Storage/0/Volumes/disk0", map[string]any{"Name": "root", "CapacityBytes": float64(20 << 30)})
	w.has(store+"/Storage/0/Drives", map[string]any{"Members@odata.count": 0.0})
	w.has(web+"/SecureBoot", map[string]any{"SecureBootCurrentBoot": "Enabled", "SecureBootMode": "UserMode"})
	w.has(store+"/SecureBoot", map[string]any{"SecureBootEnable": false, "SecureBootCurrentBoot": "Disabled", "SecureBootMode": nil})
	w.has("/redfish/v1/Chassis/"+storeID, map[string]any{"PowerState": "On", "Status/State": "Enabled"})
	w.has("/redfish/v1/JsonSchemas/Drive.v1_16_0", map[string]any{"Schema": "#Drive.v1_16_0.Drive", "Name": "Drive Schema File"})
	w.has("/redfish/v1/JsonSchemas/DriveCollection", map[string]any{"Schema": "#DriveCollection.DriveCollection"})
	w.has(pathSessionService, map[string]any{"SessionTimeout": 1800.0, "ServiceEnabled": true})
	w.has(pathAccountService, map[string]any{"MinPasswordLength": 8.0, "MaxPasswordLength": 72.0, "AccountLockoutThreshold": 5.0, "AccountLockoutDuration": 300.0})

	bmc := w.get("/redfish/v1/Managers/" + webID).body["UUID"]
	if other := w.get("/redfish/v1/Managers/" + storeID).body["UUID"]; bmc == nil || bmc == webID || bmc == other {
		t.Errorf("the UUIDs of two managers are %v and %v", bmc, other)
	}
	w.backend.vms[0].Id, w.backend.vms[1].PowerState = "no-uuid", "Suspended"
	w.clock.pass(listedFor)
	w.has("/redfish/v1/Systems/no-uuid", map[string]any{"Id": "no-uuid", "UUID": nil})
	w.has("/redfish/v1/Managers/no-uuid", map[string]any{"Id": "no-uuid", "UUID": nil})
	w.has(store, map[string]any{"PowerState": "Paused"})
	w.backend.vms[1].Id = "" // It cannot be addressed.
	w.clock.pass(listedFor)
	w.has("/redfish/v1/Systems", map[string]any{"Members@odata.count": 1.0})
	services, _ := w.get("/redfish/v1/odata").body["value"].([]any)
	for _, service := range services {
		if url, _ := service.(map[string]any)["url"].(string); w.get(url).status != http.StatusOK {
			t.Errorf("there is no service %v", service)
		}
	}
	if len(services) != 8 {
		t.Errorf("the services are %v", services)
	}
	if text := w.get("/redfish/v1/$metadata").text; xml.Unmarshal([]byte(text), new(struct{})) != nil || !strings.HasPrefix(text, "<?xml ") || strings.Count(text, "<edmx:Include ") != 2*len(schemaVersions)-strings.Count(text, `Collection"`) {
		t.Errorf("the metadata name a schema too often or not at all: %s", text)
	}
}

// Queries of the standard are refused, others do not count, and ETags may be weak, several, or any.
func TestRequestHeaders(t *testing.T) {
	w := newWorld(t)
	const path = "/redfish/v1/Systems/" + storeID
	r := w.get(path)
	tag := r.header.Get("ETag")
	for name, want := range map[string]string{"Allow": "GET, HEAD, PATCH", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Content-Type": "application/json; charset=utf-8"} {
		if got := r.header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for query, want := range map[string]int{"?only": 501, "?excerpt": 501, "?$top=1": 501, "?colour=red": 200, "?onlyx": 200} {
		if r := w.get(path + query); r.status != want {
			t.Errorf("%s: %d", query, r.status)
		}
	}
	for match, want := range map[string]int{"W/" + tag: 304, `"x", ` + tag: 304, `"x",`: 200} {
		if r := w.as("root", http.MethodGet, path, "", "If-None-Match", match); r.status != want {
			t.Errorf("If-None-Match %s: %d", match, r.status)
		}
	}
	for match, want := range map[string]int{"*": 200, `"x", W/` + tag: 200, `"x"`: 412} {
		if r := w.as("root", http.MethodPatch, path, `{"@odata.etag":"x"}`, "If-Match", match); r.status != want {
			t.Errorf("If-Match %s: %d", match, r.status)
		}
	}
	if r := w.as("", http.MethodPost, pathSessions, `{"UserName":"root","Password":"`+password+`"}`, "If-Match", `"x"`); r.status != http.StatusPreconditionFailed || len(w.service.sessions.byToken) > 0 {
		t.Errorf("a login with an ETag that does not match: %d", r.status)
	}
	if r := w.as("root", http.MethodGet, path, "", "OData-Version", "4.0"); r.status != http.StatusOK {
		t.Errorf("the OData-Version in use: %d", r.status)
	}
	if r := w.as("", http.MethodPost, "/redfish/v1", "{}"); r.status != http.StatusUnauthorized {
		t.Errorf("a change of an open resource: %d", r.status)
	}
	if r := w.as("", http.MethodHead, "/redfish/v1", ""); r.status != http.StatusOK {
		t.Errorf("HEAD of an open resource: %d", r.status)
	}
	if r := w.with("no token", http.MethodGet, path); r.status != http.StatusUnauthorized || r.header.Get("WWW-Authenticate") != "" {
		t.Errorf("a session that is over: %d %v", r.status, r.header)
	}
}

// An administrator sees all sessions, the oldest first, and another account only its own. All sessions end in time.
func TestListOfSessions(t *testing.T) {
	w := newWorld(t)
	var places []string
	tokens := map[string]string{}
	for _, name := range []string{"omni", "root", "eve"} {
		r := w.logIn(name, password)
		tokens[name] = r.header.Get(headerToken)
		places = append(places, r.header.Get("Location"))
		w.has(places[len(places)-1], map[string]any{"UserName": name, "ClientOriginIPAddress": "127.0.0.1", "CreatedTime": w.clock.Now().Format(time.RFC3339)})
		w.clock.pass(time.Second)
	}
	list := func(account string) []string {
		var got []string
		members, _ := w.with(tokens[account], http.MethodGet, pathSessions).body["Members"].([]any)
		for _, m := range members {
			place, _ := m.(map[string]any)["@odata.id"].(string)
			got = append(got, place)
		}
		return got
	}
	if got := list("root"); !slices.Equal(got, places) {
		t.Errorf("an administrator sees %q, want %q", got, places)
	}
	if got := list("omni"); !slices.Equal(got, places[:1]) {
		t.Errorf("an operator sees %q", got)
	}
	if r := w.with(tokens["omni"], http.MethodGet, places[1]); r.status != http.StatusNotFound {
		t.Errorf("the session of another account: %d", r.status)
	}
	if r := w.with(tokens["root"], http.MethodDelete, places[2]); r.status != http.StatusNoContent {
		t.Errorf("an administrator ends a session: %d", r.status)
	}
	if list("eve") != nil || len(list("root")) != 2 {
		t.Errorf("after the end of a session: %q", list("root"))
	}
	w.accounts("accounts: [{name: root, role: Administrator, password_hash: '" + hashedOnce() + "'}]")
	w.clock.pass(recheck)
	if list("omni") != nil || len(list("root")) != 1 {
		t.Errorf("after the end of an account: %q", list("root"))
	}
	token := w.logIn("root", password).header.Get(headerToken)
	left := longestLife - 1
	for ; left > 0; left -= defaultIdle / 2 {
		w.clock.pass(min(left, defaultIdle/2))
		if _, _, err := w.service.sessions.find(token); err != nil {
			t.Fatalf("a session that is used ends %v early", left)
		}
	}
	w.clock.pass(1)
	if _, _, err := w.service.sessions.find(token); err == nil {
		t.Error("a session that is always used does not end")
	}
}

// The sessions of all accounts are bounded together.
func TestAllSessionsAreBounded(t *testing.T) {
	s := newWorld(t).service.sessions
	s.accounts.list = nil
	for i := range maxSessions / maxAccountSessions {
		a := Account{Name: string(rune('a' + i)), PasswordHash: "x"}
		s.accounts.list = append(s.accounts.list, a)
		for range maxAccountSessions {
			if _, _, err := s.open(a, ""); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, _, err := s.open(Account{Name: "root"}, ""); err == nil || len(s.byToken) != maxSessions {
		t.Errorf("%d sessions are open, and one more: %v", len(s.byToken), err)
	}
}
