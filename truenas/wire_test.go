package truenas

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func FuzzReply(f *testing.F) {
	for _, seed := range []string{
		`{"jsonrpc":"2.0","id":1001,"result":{"id":1,"name":"a","devices":[{"id":1,"attributes":{"dtype":"NIC","mac":null}}]}}`,
		`{"jsonrpc":"2.0","id":1001,"result":[{"id":"tank","volsize":{"parsed":1,"rawvalue":"1","source":"LOCAL"},"user_properties":{"a:b":{"value":"c"}}}]}`,
		`{"jsonrpc":"2.0","id":1001,"error":{"code":-32602,"message":"Invalid params","data":{"error":22,"extra":[[null,"VM 1 does not exist",2],["a",3]]}}}`,
		`{"jsonrpc":"2.0","id":1001,"error":{"code":-32001,"data":{"error":14,"reason":"[EFAULT] [ENOENT] [","trace":{"class":"MatchNotFound"}}}}`,
		`{"jsonrpc":"2.0","method":"collection_update","params":{"msg":"changed","collection":"core.get_jobs","id":3,"fields":{"id":3,"state":"FAILED","time_started":{"$date":1}}}}`,
		`{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}}`,
		`[]`, `null`, `{}`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decodeMessage(data)
		if err != nil {
			_ = err.Error()
			return
		}
		if m.ID == nil && m.Method == "" {
			t.Fatal("an empty message")
		}
		if m.Error != nil {
			e := m.Error.toError("m")
			_, _ = e.Error(), e.Kind()
		}
		for _, out := range []any{new([]VM), new(VM), new(Device), new([]Dataset), new(Snapshot), new(Job), new(loginReply)} {
			if json.Unmarshal(m.Result, out) == nil {
				if _, err := json.Marshal(out); err != nil {
					t.Errorf("%T cannot be encoded again: %v", out, err)
				}
			}
		}
		s := &session{st: state{jobs: newJobTable(), topics: map[string]*topic{}}}
		if m.Method != "notify_unsubscribed" {
			s.notified(&s.st, m)
		}
	})
}

func TestDecodeMessage(t *testing.T) {
	for _, tt := range []struct {
		name, frame string
		bad         bool
	}{
		{"a reply", `{"jsonrpc":"2.0","id":1,"result":null}`, false},
		{"a notification", `{"jsonrpc":"2.0","method":"collection_update","params":{}}`, false},
		{"an error without an id", `{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}}`, true},
		{"neither", `{"jsonrpc":"2.0"}`, true},
		{"a batch", `[{"jsonrpc":"2.0","id":1,"result":null}]`, true},
		{"a text id", `{"jsonrpc":"2.0","id":"1","result":null}`, true},
		{"no JSON", `hello`, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := decodeMessage([]byte(tt.frame))
			if (err != nil) != tt.bad {
				t.Errorf("got %v", err)
			}
			if reported := err != nil && strings.Contains(err.Error(), "Parse error"); reported != strings.Contains(tt.frame, "Parse error") {
				t.Errorf("the error of the NAS is lost: %v", err)
			}
		})
	}
}

// TestErrorOnTheWire checks what is kept of an error that TrueNAS reports. The fields of a refused request name its parameters; forms
// that no release uses are left out.
func TestErrorOnTheWire(t *testing.T) {
	for _, tt := range []struct {
		name, wire string
		want       Error
		text       string
	}{
		{"no data", `{"code":-32700,"message":"Parse error"}`, Error{Code: -32700, Reason: "Parse error"}, "m: Parse error"},
		{"a failed call", `{"code":-32001,"message":"Method call error","data":{"error":14,"errname":"EFAULT","reason":"[EFAULT] broken"}}`,
			Error{Code: -32001, Errno: 14, Name: "EFAULT", Reason: "[EFAULT] broken"}, "m: [EFAULT] broken"},
		{"an empty reason", `{"code":-32001,"message":"Method call error","data":{"error":14,"errname":"EFAULT","reason":""}}`,
			Error{Code: -32001, Errno: 14, Name: "EFAULT", Reason: "Method call error"}, "m: Method call error"},
		{"only a name", `{"code":-32001,"data":{"error":14,"errname":"EFAULT"}}`, Error{Code: -32001, Errno: 14, Name: "EFAULT"}, "m: EFAULT"},
		{"nothing at all", `{"code":-32001,"data":{}}`, Error{Code: -32001}, "m"},
		{"the class of the exception", `{"code":-32001,"data":{"error":22,"errname":"EINVAL","trace":{"class":"MatchNotFound"}}}`,
			Error{Code: -32001, Errno: 22, Name: matchNotFound}, "m: not found: MatchNotFound"},
		{"another class", `{"code":-32001,"data":{"error":14,"errname":"EFAULT","trace":{"class":"ValueError"}}}`, Error{Code: -32001, Errno: 14, Name: "EFAULT"}, "m: EFAULT"},
		{"fields", `{"code":-32602,"data":{"error":22,"extra":[["vm_create.memory","too little",22],[null,"not now",16]]}}`,
			Error{Code: -32602, Errno: 22, Fields: []FieldError{{"vm_create.memory", "too little", 22}, {"", "not now", 16}}}, "m: invalid: vm_create.memory: too little; not now"},
		{"a field without a number", `{"code":-32602,"data":{"extra":[["a","bad"]]}}`, Error{Code: -32602, Fields: []FieldError{{"a", "bad", 0}}}, "m: invalid: a: bad"},
		{"rows of another form", `{"code":-32602,"data":{"extra":[7,["a"],[],{"a":"b"},["b","bad",3]]}}`, Error{Code: -32602, Fields: []FieldError{{"b", "bad", 3}}}, "m: invalid: b: bad"},
		{"fields in another form", `{"code":-32602,"message":"Invalid params","data":{"extra":{"a":"b"}}}`, Error{Code: -32602, Reason: "Invalid params"}, "m: invalid: Invalid params"},
		{"invalid numbers", `{"code":-32001,"message":"no","data":{"error":"16","extra":[["a","b","16"],["a","b",1e300],["a","b",-2]]}}`,
			Error{Code: -32001, Reason: "no", Fields: []FieldError{{"a", "b", 0}, {"a", "b", 0}, {"a", "b", -2}}}, "m: invalid: a: b; a: b; a: b"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var w wireError
			if err := json.Unmarshal([]byte(tt.wire), &w); err != nil {
				t.Fatal(err)
			}
			got := w.toError("m")
			if got.Code != tt.want.Code || got.Errno != tt.want.Errno || got.Name != tt.want.Name || got.Reason != tt.want.Reason || !slices.Equal(got.Fields, tt.want.Fields) {
				t.Errorf("got %+v, want %+v", *got, tt.want)
			}
			if got.Error() != tt.text {
				t.Errorf("got %q, want %q", got.Error(), tt.text)
			}
		})
	}
}

// TestLenientInt keeps what fits into an errno, and nothing else.
func TestLenientInt(t *testing.T) {
	for in, want := range map[string]int{`2`: 2, `-2`: -2, `2147483647`: math.MaxInt32, `-2147483647`: -math.MaxInt32, `2147483648`: 0, `-1e300`: 0, `"2"`: 0, `null`: 0, ``: 0} {
		if got := lenientInt(json.RawMessage(in)); got != want {
			t.Errorf("%s becomes %d, want %d", in, got, want)
		}
	}
}

// TestLargestFrame sends a request of the largest size that TrueNAS takes, and refuses one that is a byte larger.
func TestLargestFrame(t *testing.T) {
	empty, err := encodeCall(1, "m", []any{""})
	if err != nil {
		t.Fatal(err)
	}
	room := maxFrame - len(empty)
	if frame, err := encodeCall(1, "m", []any{strings.Repeat("x", room)}); err != nil || len(frame) != maxFrame {
		t.Errorf("%d bytes: %v", len(frame), err)
	}
	if _, err := encodeCall(1, "m", []any{strings.Repeat("x", room+1)}); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "has 65537 bytes, TrueNAS takes 65536") {
		t.Errorf("one byte more: %v", err)
	}
	if frame, err := encodeCall(1, "m", nil); err != nil || !strings.Contains(string(frame), `"params":[]`) {
		t.Errorf("without parameters: %s, %v", frame, err)
	}
	if _, err := encodeCall(1, "m", []any{func() {}}); err == nil || !strings.HasPrefix(err.Error(), "m: ") {
		t.Errorf("a parameter that cannot be encoded: %v", err)
	}
}

func TestAttributesOnTheWire(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   DeviceAttributes
		want string
	}{
		{"a disk", Disk("/dev/zvol/tank/a"), `{"dtype":"DISK","iotype":"THREADS","path":"/dev/zvol/tank/a","type":"VIRTIO"}`},
		{"a CDROM", CDROM("/mnt/tank/seed.iso"), `{"dtype":"CDROM","path":"/mnt/tank/seed.iso"}`},
		{"a NIC", NIC("br0", "02:00:00:00:00:01", "VIRTIO"), `{"dtype":"NIC","mac":"02:00:00:00:00:01","nic_attach":"br0","type":"VIRTIO"}`},
		{"what another type has is left out", DeviceAttributes{DType: DeviceCDROM, Path: "/mnt/a", MAC: "x", Type: "AHCI"}, `{"dtype":"CDROM","path":"/mnt/a"}`},
		{"what is not known is kept", DeviceAttributes{DType: DeviceNIC, MAC: "b", Raw: json.RawMessage(`{"dtype":"NIC","mac":"a","pci_address":{"bus":3}}`)}, `{"dtype":"NIC","mac":"b","pci_address":{"bus":3}}`},
		{"an unknown type", DeviceAttributes{DType: "USB", Raw: json.RawMessage(`{"dtype":"USB","usb":null}`)}, `{"dtype":"USB","usb":null}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := json.Marshal(tt.in)
			if err != nil || string(got) != tt.want {
				t.Errorf("got %s, %v", got, err)
			}
		})
	}
	if _, err := json.Marshal(DeviceAttributes{Raw: json.RawMessage(`7`)}); err == nil {
		t.Error("attributes other than an object were accepted")
	}
}

func TestAttachChoicesOfBothForms(t *testing.T) {
	for in, want := range map[string][]NICAttach{
		`{"br1":"br1","br0":"br0"}`:             {{"br0", ""}, {"br1", ""}},
		`{"MACVLAN":["eno1"],"BRIDGE":["br0"]}`: {{"br0", "BRIDGE"}, {"eno1", "MACVLAN"}},
		`{"BRIDGE":[],"MACVLAN":["BRIDGE"]}`:    {{"BRIDGE", "MACVLAN"}},
		`{}`:                                    nil,
	} {
		var raw map[string]json.RawMessage
		if err := json.Unmarshal([]byte(in), &raw); err != nil {
			t.Fatal(err)
		}
		if got, err := parseAttachChoices(raw); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v", in, got, err)
		}
	}
}

func TestRolesOfBothForms(t *testing.T) {
	for in, want := range map[string][]string{
		`["A","B"]`:          {"A", "B"},
		`{"$set":["A","B"]}`: {"A", "B"},
		`7`:                  nil,
	} {
		var got wireSet
		if err := json.Unmarshal([]byte(in), &got); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v", in, got, err)
		}
	}
}

func TestProperties(t *testing.T) {
	var d Dataset
	err := json.Unmarshal([]byte(`{"id":"tank/a","mountpoint":null,
		"volsize":{"value":"1G","rawvalue":"1073741824","parsed":1073741824,"source":"LOCAL"},
		"used":{"value":"56K","rawvalue":null,"parsed":57344,"source":null},
		"origin":{"value":null,"rawvalue":"","parsed":null,"source":"NONE"},
		"user_properties":{"a:b":{"value":"none","source":"LOCAL"},"c:d":{"value":"-","source":"INHERITED"},"plain":{"value":"x"}}}`), &d)
	if err != nil {
		t.Fatal(err)
	}
	if d.VolsizeBytes != 1<<30 || d.UsedBytes != 57344 || d.Origin != "" || d.AvailableBytes != 0 {
		t.Errorf("sizes: %+v", d)
	}
	if d.UserProperties["a:b"] != "none" || d.UserProperties["c:d"] != "-" || len(d.UserProperties) != 2 || len(d.LocalUserProperties) != 1 {
		t.Errorf("properties: %v, %v", d.UserProperties, d.LocalUserProperties)
	}
	if err := json.Unmarshal([]byte(`{"id":7}`), &d); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("a numeric name: %v", err)
	}
}

// TestSnapshotOnTheWire reads a snapshot in the forms of the releases.
func TestSnapshotOnTheWire(t *testing.T) {
	for _, tt := range []struct {
		name, data string
		want       Snapshot
	}{
		{"up to 25.10", `{"id":"tank/a@b","dataset":"tank/a","snapshot_name":"b","pool":"tank","createtxg":"1234567890123","properties":{
			"creation":{"parsed":{"$date":1700000000000},"rawvalue":"1700000000"},"referenced":{"parsed":4096},"used":{"parsed":512},"volsize":{"parsed":1073741824},
			"clones":{"value":"tank/c,tank/d"},"x:y":{"value":"1","source":"LOCAL"}},"holds":{"keep":{}}}`,
			Snapshot{ID: "tank/a@b", Dataset: "tank/a", Name: "b", Pool: "tank", CreateTXG: 1234567890123, CreatedAt: time.Unix(1700000000, 0).UTC(), ReferencedBytes: 4096, UsedBytes: 512,
				VolsizeBytes: 1 << 30, Clones: []string{"tank/c", "tank/d"}, Holds: []string{"keep"}, UserProperties: map[string]string{"x:y": "1"}}},
		{"from 26 on", `{"id":"tank/a@b","createtxg":"7","properties":{"clones":{"value":""}},"user_properties":{"x:y":"2"}}`,
			Snapshot{ID: "tank/a@b", CreateTXG: 7, UserProperties: map[string]string{"x:y": "2"}}},
		{"an order without a number", `{"id":"tank/a@b","createtxg":"0x10"}`, Snapshot{ID: "tank/a@b", UserProperties: map[string]string{}}},
	} {
		var got Snapshot
		if err := json.Unmarshal([]byte(tt.data), &got); err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %v, got %+v, want %+v", tt.name, err, got, tt.want)
		}
	}
	if err := json.Unmarshal([]byte(`{"id":7}`), new(Snapshot)); err == nil {
		t.Error("an id that is a number was accepted")
	}
}

// TestCopyOnTheWire checks the parameters of a copy: one snapshot by its exact name, a copy that is writable, and encryption only where
// the caller requests it.
func TestCopyOnTheWire(t *testing.T) {
	plain := `{"direction":"PUSH","transport":"LOCAL","source_datasets":["tank/a"],"target_dataset":"tank/b","recursive":false,"name_regex":"^s\\.1$","properties":false,"readonly":"IGNORE","retention_policy":"NONE"`
	for encrypted, want := range map[bool]string{false: plain + "}", true: plain + `,"encryption":true,"encryption_inherit":true}`} {
		nas := newFakeNAS(t)
		nas.script = func(p *peer, f frame) { p.answer(f, 12) }
		id, err := nas.client().Snapshots.Copy(within(t, 10*time.Second), "tank/a", "s.1", "tank/b", encrypted)
		if f := nas.next(); err != nil || id != 12 || f.Method != "replication.run_onetime" || len(f.Params) != 1 || string(f.Params[0]) != want {
			t.Errorf("encrypted %t: job %d, %v, %s %s", encrypted, id, err, f.Method, f.Params)
		}
	}
}
