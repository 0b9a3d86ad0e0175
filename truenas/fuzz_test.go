package truenas

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
)

// kinds lists all kinds of errors.
var kinds = []error{
	ErrNotFound, ErrExists, ErrBusy, ErrInvalid, ErrNoSpace, ErrNoMemory, ErrPermission, ErrAuth, ErrCertificate, ErrUnavailable, ErrUncertain,
	ErrUnsupported, ErrNotEmpty, ErrHasClones, ErrHeld, ErrJobLost, ErrAborted, ErrActive, ErrInactive,
}

// FuzzError classifies arbitrary errors of a NAS, and checks that they never contain the key.
func FuzzError(f *testing.F) {
	f.Add(-32602, "Invalid params", `{"error":22,"errname":"EINVAL","reason":"[EINVAL] vm_create.memory: too much","extra":[["vm_create.memory","Input should be greater than or equal to 20",22]]}`)
	f.Add(-32001, "Method call error", `{"error":14,"errname":"EFAULT","reason":"[EFAULT] [ENOENT] cannot open 'tank/a': dataset does not exist","trace":{"class":"CallError"},"extra":null}`)
	f.Add(-32001, "", `{"error":13,"errname":"EACCES","reason":"Not authorized"}`)
	f.Add(-32001, "", `{"error":1e99,"reason":"key 7-MARKEDsecretMARKEDsecretMARKEDsecretMARKEDsecretMARKEDsecretXYZ is refused","extra":[[7],["a"],[null,"b","c"],{}]}`)
	f.Add(-32000, "Maximum number of concurrent calls (20) has exceeded.", `null`)
	f.Fuzz(func(t *testing.T, code int, message, data string) {
		frame, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "error": map[string]any{"code": code, "message": message, "data": json.RawMessage("null")}})
		if err != nil {
			t.Fatal(err)
		}
		m, err := decodeMessage([]byte(strings.Replace(string(frame), `"data":null`, `"data":`+data, 1)))
		if err != nil || m.Error == nil {
			return
		}
		e := m.Error.toError("vm.create")
		s := &session{cfg: Config{APIKey: testKey}}
		s.redact(e)
		if text := e.Error(); text == "" || strings.Contains(text, testKey) {
			t.Errorf("error text %q", text)
		}
		if kind := e.Kind(); kind != nil && (!slices.Contains(kinds, kind) || !errors.Is(e, kind)) {
			t.Errorf("of the kind %v", kind)
		}
	})
}

// FuzzVersions parses arbitrary lists of API versions.
func FuzzVersions(f *testing.F) {
	for _, offered := range []string{"v25.04.0,v25.04.2,v25.10.1", "v26.0.0", "v99.99.99", "current", "v25.10", "v-1.0.0", "v25.10.99999999999999999999", ""} {
		f.Add(offered)
	}
	f.Fuzz(func(t *testing.T, offered string) {
		list := strings.Split(offered, ",")
		chosen, err := choose(list)
		if err != nil {
			if !errors.Is(err, ErrUnsupported) {
				t.Errorf("%q: %v", offered, err)
			}
			return
		}
		if chosen.release.IsZero() || !slices.Contains(list, strings.TrimPrefix(chosen.path, "/api/")) {
			t.Errorf("%q: %+v", offered, chosen)
		}
	})
}

// FuzzScram passes arbitrary server messages to a login. They never cost the client much time, and never count as a login.
func FuzzScram(f *testing.F) {
	f.Add("r=AAAA,s=c2FsdA==,i=50000", "v=AAAA")
	f.Add("r=,s=,i=", "e=other-error")
	f.Add("r=AAAA,s=c2FsdA==,i=99999999999", "v=")
	f.Add("m=ext,r=AAAA,s=c2FsdA==,i=50000", "")
	f.Fuzz(func(t *testing.T, first, final string) {
		x, err := newScram("root", testKey, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _, count, err := x.parse(first)
		if err == nil && (count < 50000 || count > 5000000) {
			t.Errorf("%q: %d iterations are accepted", first, count)
		}
		if err != nil && strings.Contains(err.Error(), testKey) {
			t.Errorf("%v", err)
		}
		if err := x.verify(final); err == nil {
			t.Errorf("%q proves that the server knows the key", final)
		}
	})
}
