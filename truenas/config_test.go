package truenas

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestConfigValidate(t *testing.T) {
	good := Config{URL: "https://nas:444", Username: "svc", APIKey: testKey}
	for _, tt := range []struct {
		name   string
		change func(*Config)
		want   []string
	}{
		{"a good one", func(*Config) {}, nil},
		{"a fingerprint with colons", func(c *Config) { c.Fingerprint = strings.TrimSuffix(strings.Repeat("AB:", 32), ":") }, nil},
		{"plain HTTP to loopback", func(c *Config) { c.URL = "http://127.0.0.1:80" }, nil},
		{"a trailing slash", func(c *Config) { c.URL = "https://nas/" }, nil},
		{"nothing", func(c *Config) { *c = Config{} }, []string{"url:", "username:", "api_key:"}},
		{"plain HTTP to a host", func(c *Config) { c.URL = "http://nas" }, []string{"url:", "revoke", "https://nas"}},
		{"the REST path", func(c *Config) { c.URL = "https://nas/api/v2.0" }, []string{"url:", "write https://nas"}},
		{"a websocket address", func(c *Config) { c.URL = "wss://nas/websocket" }, []string{"url:"}},
		{"wss without a path", func(c *Config) { c.URL = "wss://nas" }, []string{"url:", "write https://nas"}},
		{"a bare host", func(c *Config) { c.URL = "nas" }, []string{"url:", "write https://host"}},
		{"credentials in the address", func(c *Config) { c.URL = "https://root:hunter2@nas" }, []string{"url:", "credentials"}},
		{"a key without its number", func(c *Config) { c.APIKey = "hunter2" }, []string{"api_key:"}},
		{"a key with a line break", func(c *Config) { c.APIKey = "1-hunter2\n" }, []string{"api_key:", "line breaks"}},
		{"a key with a character beyond ASCII", func(c *Config) { c.APIKey = "1-hunter2\x7f" }, []string{"api_key:", "spaces"}},
		{"the longest key", func(c *Config) { c.APIKey = "1-" + strings.Repeat("~", 1022) }, nil},
		{"a longer key", func(c *Config) { c.APIKey = "1-hunter2" + strings.Repeat("x", 1016) }, []string{"api_key:", "too long"}},
		{"a port without a host", func(c *Config) { c.URL = "https://:444" }, []string{"url:", "is not an address"}},
		{"half an address", func(c *Config) { c.URL = "https://[::1" }, []string{"url:", "is not an address"}},
		{"a query", func(c *Config) { c.URL = "https://nas?x=hunter2" }, []string{"url:", "has a path"}},
		{"the largest number of calls", func(c *Config) { c.InFlight = 20 }, nil},
		{"a negative number of calls", func(c *Config) { c.InFlight = -1 }, []string{"in_flight:"}},
		{"no certificate in the file", func(c *Config) { c.CA = []byte("hello") }, []string{"ca_file:"}},
		{"half a fingerprint", func(c *Config) { c.Fingerprint = "ab:cd" }, []string{"fingerprint:"}},
		{"too many calls", func(c *Config) { c.InFlight = 21 }, []string{"in_flight:"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := good
			tt.change(&c)
			err := c.Validate()
			if (err != nil) != (len(tt.want) > 0) {
				t.Fatalf("got %v", err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not contain %q", err, want)
				}
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("a secret is in %q", err)
			}
			if _, newErr := New(c); (newErr != nil) != (err != nil) {
				t.Errorf("New answers %v", newErr)
			}
		})
	}
}

func TestConfigIsPrintedWithoutItsKey(t *testing.T) {
	c := Config{URL: "https://nas", Username: "svc", APIKey: testKey}
	for _, text := range []string{fmt.Sprint(c), fmt.Sprintf("%+v", c), fmt.Sprintf("%#v", c)} {
		if strings.Contains(text, "MARKED") {
			t.Errorf("printed: %s", text)
		}
	}
}

func TestChoose(t *testing.T) {
	for _, tt := range []struct {
		name    string
		offered []string
		path    string
		release Release
		newer   string
		refused string
	}{
		{"the newest of 25.10", []string{"v25.04.0", "v25.04.2", "v25.10.0", "v25.10.1"}, "/api/v25.10.1", R25_10, "", ""},
		{"25.04.2", []string{"v25.04.0", "v25.04.1", "v25.04.2"}, "/api/v25.04.2", R25_04_2, "", ""},
		{"26 and what it still speaks", []string{"v26.0.0", "v25.10.1"}, "/api/v26.0.0", R26, "", ""},
		{"27", []string{"v26.0.0", "v27.0.0"}, "/api/v27.0.0", R27, "", ""},
		{"newer than supported", []string{"v27.0.0", "v28.0.0", "v29.0.0"}, "/api/v27.0.0", R27, "v29.0.0", ""},
		{"only newer ones", []string{"v28.0.0"}, "", Release{}, "", "newer than this program"},
		{"before virtual machines", []string{"v25.04.0", "v25.04.1"}, "", Release{}, "", "no API for virtual machines"},
		{"no known version", []string{"current", "v1"}, "", Release{}, "", "v1"},
		{"nothing", nil, "", Release{}, "", "no supported API version"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := choose(tt.offered)
			if tt.refused != "" {
				if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), tt.refused) {
					t.Fatalf("got %v", err)
				}
				return
			}
			if want := (choice{tt.path, tt.release, tt.newer}); err != nil || got != want {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestReleaseNames(t *testing.T) {
	for release, want := range map[Release]string{R25_04_2: "25.04.2", R25_10: "25.10", R26: "26", R27: "27", {}: "unknown"} {
		if release.String() != want {
			t.Errorf("%s instead of %s", release, want)
		}
	}
	if !R26.AtLeast(R25_10) || R25_04_2.AtLeast(R25_10) || !R27.AtLeast(R27) {
		t.Error("releases are out of order")
	}
}

func TestLoginBudget(t *testing.T) {
	const allowed, window = 20, 60 // logins per seconds, by address and method
	if worst := loginBurst + int(window/loginEvery.Seconds()); worst > allowed*3/4 {
		t.Errorf("%d logins per minute are too close to %d", worst, allowed)
	}
}
