package sim

import (
	"encoding/json"
	"strings"
	"testing"
)

type decodeParams struct {
	Name   string         `json:"name" sim:"required,minlen=1,pattern=^[a-z,]+$"`
	Memory int            `json:"memory" sim:"min=20,max=300"`
	Boot   string         `json:"boot" sim:"enum=UEFI|UEFI_CSM"`
	Sector *int           `json:"sector" sim:"nullable,enum=512|4096"`
	On     bool           `json:"on"`
	Ratio  float64        `json:"ratio"`
	Tags   []string       `json:"tags" sim:"enum=a|b|c"`
	Inner  *decodeInner   `json:"inner"`
	List   []decodeInner  `json:"list"`
	Map    map[string]int `json:"map"`
	Any    any            `json:"any"`
	Later  string         `json:"later" sim:"since=26"`
	Sooner string         `json:"sooner" sim:"until=25.04.2"`
}

type decodeInner struct {
	Key string `json:"key" sim:"required"`
}

func TestDecodeErrors(t *testing.T) {
	for _, tt := range []struct{ name, raw, want string }{
		{"nothing wrong", `{"name":"a,b","memory":20,"boot":"UEFI","sector":512,"on":true,"ratio":1,"tags":["a"],"inner":{"key":"x"},"list":[{"key":"y"}],"map":{"z":1},"any":[1]}`, ``},
		{"a null where it may be", `{"name":"a","sector":null}`, ``},
		{"nothing at all", `{}`, `p.name: Field required`},
		{"no object", `[]`, `p: Input should be a valid dictionary or instance of DecodeParams`},
		{"an unknown key", `{"name":"a","nmae":"b"}`, `p.nmae: Extra inputs are not permitted`},
		{"a key in another case", `{"Name":"a"}`, "p.name: Field required\np.Name: Extra inputs are not permitted"},
		{"a text for a number", `{"name":"a","memory":"20"}`, `p.memory: Input should be a valid integer`},
		{"a fraction for a whole number", `{"name":"a","memory":20.0}`, `p.memory: Input should be a valid integer`},
		{"an exponent", `{"name":"a","memory":2e1}`, `p.memory: Input should be a valid integer`},
		{"true for a number", `{"name":"a","memory":true}`, `p.memory: Input should be a valid integer`},
		{"a number for a text", `{"name":1}`, `p.name: Input should be a valid string`},
		{"null for a text", `{"name":null}`, `p.name: Input should be a valid string`},
		{"null for a number", `{"name":"a","memory":null}`, `p.memory: Input should be a valid integer`},
		{"null for true", `{"name":"a","on":null}`, `p.on: Input should be a valid boolean`},
		{"a number for true", `{"name":"a","on":1}`, `p.on: Input should be a valid boolean`},
		{"a text for a fraction", `{"name":"a","ratio":"1"}`, `p.ratio: Input should be a valid number`},
		{"too small", `{"name":"a","memory":19}`, `p.memory: Input should be greater than or equal to 20`},
		{"too large", `{"name":"a","memory":301}`, `p.memory: Input should be less than or equal to 300`},
		{"one of two", `{"name":"a","boot":"BIOS"}`, `p.boot: Input should be 'UEFI' or 'UEFI_CSM'`},
		{"one of two numbers", `{"name":"a","sector":1}`, `p.sector: Input should be 512 or 4096`},
		{"one of three, in a list", `{"name":"a","tags":["a","d"]}`, `p.tags.1: Input should be 'a', 'b' or 'c'`},
		{"too short", `{"name":""}`, `p.name: String should have at least 1 character`},
		{"too long", `{"name":"` + strings.Repeat("a", 1025) + `"}`, `p.name: String should have at most 1024 characters`},
		{"a wrong form", `{"name":"A"}`, `p.name: String should match pattern '^[a-z,]+$'`},
		{"within", `{"name":"a","inner":{}}`, `p.inner.key: Field required`},
		{"within a list", `{"name":"a","list":[{"key":"x"},{"key":1}]}`, `p.list.1.key: Input should be a valid string`},
		{"within a map", `{"name":"a","map":{"z":"1"}}`, `p.map.z: Input should be a valid integer`},
		{"no list", `{"name":"a","tags":"a"}`, `p.tags: Input should be a valid list`},
		{"not yet", `{"name":"a","later":"x"}`, `p.later: Extra inputs are not permitted`},
		{"no longer", `{"name":"a","sooner":"x"}`, `p.sooner: Extra inputs are not permitted`},
		{"two at once", `{"name":1,"memory":1}`, "p.name: Input should be a valid string\np.memory: Input should be greater than or equal to 20"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &call{sim: &Sim{release: v25_10}, params: []json.RawMessage{json.RawMessage(tt.raw)}}
			got := ""
			if err := c.args([]string{"p"}, new(decodeParams)); err != nil {
				got = strings.TrimSpace(strings.ReplaceAll(err.Error(), "[EINVAL] ", ""))
			}
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestOmittedArguments(t *testing.T) {
	c := &call{sim: &Sim{release: v25_10}, params: []json.RawMessage{json.RawMessage("1")}}
	id, options, more := 0, decodeInner{"default"}, true
	if err := c.args([]string{"id", "options", "more?"}, &id, &options, &more); err != nil {
		t.Fatal(err)
	}
	if id != 1 || options.Key != "default" || !more {
		t.Errorf("got %v %v %v", id, options, more)
	}
}

// Decoding must not write through a pointer that the target shares with a record of the state.
func TestDecodeDoesNotChangeRecord(t *testing.T) {
	old := 512
	p := decodeParams{Sector: &old}
	c := &call{sim: &Sim{release: v25_10}, params: []json.RawMessage{json.RawMessage(`{"name":"a","sector":4096}`)}}
	if err := c.args([]string{"p"}, &p); err != nil {
		t.Fatal(err)
	}
	if old != 512 || *p.Sector != 4096 {
		t.Errorf("old %d, new %d", old, *p.Sector)
	}
}

func FuzzFrame(f *testing.F) {
	for _, seed := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"core.ping","params":[]}`,
		`{"jsonrpc":"2.0","method":"core.ping"}`,
		`{"jsonrpc":"2.0","id":"x","method":"vm.query","params":[[["id","=",1]],{"get":true}]}`,
		`[]`, `null`, `{"id":null}`, "\xff",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		r, err := decodeFrame(frame)
		if err != nil {
			return
		}
		if r.method == "" || (r.id != nil && !json.Valid(r.id)) {
			t.Errorf("%q was parsed as %+v", frame, r)
		}
		if r.id != nil && !json.Valid(replyFrame(r.id, json.RawMessage("null"))) {
			t.Errorf("the reply to %q is not JSON", frame)
		}
	})
}
