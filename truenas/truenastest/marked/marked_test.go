package marked

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestSecretsAreFound(t *testing.T) {
	marks := New()
	key := marks.Secret("key")
	percent, unicode := "", ""
	for _, b := range []byte(key) {
		percent += fmt.Sprintf("%%%02X", b)
		unicode += fmt.Sprintf(`\u%04x`, b)
	}
	for _, tt := range []struct{ name, text, want string }{
		{"nothing", "a log line about mk and more", ""},
		{"as it is", "key=" + key + "!", "key"},
		{"in capitals", strings.ToUpper(key), "key"},
		{"half of it", key[:16], ""},
		{"percent-encoded", "?k=" + percent, "key"},
		{"escaped in JSON", unicode, "key"},
		{"in hexadecimal", hex.EncodeToString([]byte("user:" + key)), "key in hexadecimal"},
		{"base64", base64.StdEncoding.EncodeToString([]byte(key)), "key in base64"},
		{"base64 of something longer", base64.StdEncoding.EncodeToString([]byte("user:" + key + " and more")), "key in base64"},
		{"base64 one byte further", base64.StdEncoding.EncodeToString([]byte("user::" + key + "ü")), "key in base64"},
		{"base64 two bytes further", base64.URLEncoding.EncodeToString([]byte("user:::" + key + "?>")), "key in base64"},
	} {
		got := strings.Join(marks.In([]byte(tt.text)), ", ")
		if got != tt.want {
			t.Errorf("%s: found %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestSecretsDiffer(t *testing.T) {
	marks := New()
	a, b := marks.Secret("a"), marks.Secret("b")
	if a == b || len(a) != 32 || marks.Secret("a") != a {
		t.Errorf("%q, %q", a, b)
	}
	if found := marks.In([]byte(b)); !slices.Equal(found, []string{"b"}) {
		t.Errorf("found %q", found)
	}
}

// The race detector checks this.
func TestSecretsMayBeAddedMeanwhile(t *testing.T) {
	marks := New()
	key := marks.Secret("key")
	var adding sync.WaitGroup
	for i := range 8 {
		adding.Go(func() { marks.Secret(fmt.Sprint(i)) })
	}
	for range 8 {
		if found := marks.In([]byte(key)); !slices.Equal(found, []string{"key"}) {
			t.Errorf("found %q", found)
		}
	}
	adding.Wait()
}
