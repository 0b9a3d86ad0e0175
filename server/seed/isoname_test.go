package seed

import "testing"

// isoName reads the name of the Rock Ridge extension, and does not read beyond a damaged entry.
func TestISOName(t *testing.T) {
	entry := func(plain string, more ...string) []byte {
		e := append(make([]byte, 32), byte(len(plain)))
		e = append(e, plain...)
		if len(plain)%2 == 0 {
			e = append(e, 0)
		}
		for _, m := range more {
			e = append(e, m...)
		}
		return e
	}
	for _, tt := range []struct {
		name string
		of   []byte
		want string
	}{
		{"plain", entry("META_DAT.;1"), "META_DAT"},
		{"plain of even length", entry("USERDATA.;12"), "USERDATA"},
		{"Rock Ridge", entry("META_DAT.;1", "NM\x0e\x01\x00meta-data"), "meta-data"},
		{"after another extension", entry("META_DAT.;1", "PX\x06\x01\x00x", "NM\x0e\x01\x00meta-data"), "meta-data"},
		{"an empty extension", entry("A.;1", "NM\x05\x01\x00"), ""},
		{"an extension without length", entry("A.;1", "NM\x04\x01\x00x"), "A"},
		{"an extension that is cut", entry("A.;1", "NM\x0e\x01\x00meta"), "A"},
		{"a name that is cut", append(make([]byte, 32), 9, 'A'), ""},
	} {
		if got := isoName(tt.of); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}
