package config

import (
	"fmt"
	"strings"
	"testing"
)

// Load reports all mistakes together, each with the name of the setting and the source of the value.
func TestAllMistakesAtOnce(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "nonsense.pem", "nonsense")
	write(t, dir, "apikeyy", "1-a")
	file := write(t, dir, "config.yaml", `listen: nowhere
truenas:
  url: wss://nas.example/api/current
  user_name: root
  ca_file: nonsense.pem
  fingerprint: 12:34
  api_key_file: missing.key
  insecureSkipVerify: perhaps
stroage: {dataset: tank/a}
url: https://nas.example
dataset: tank
zzz: 1
log:
  level: loud
  level: info
  format: [json, {}]
`)
	_, err := load(t, map[string]string{"PROVIDER_CREDENTIALS_DIR": dir, "PROVIDER_ID": "no/slash", "PROVIDER_ADOPTED_VMS": "maybe"},
		"--config", file, "--health-port", "http")
	if err == nil {
		t.Fatal("no mistake found")
	}
	for _, want := range []string{
		"listen (" + file + `, line 1): "nowhere" is not of the form host:port`,
		"truenas.url (" + file + `, line 3): "wss://nas.example/api/current": write https://nas.example`,
		"truenas.user_name (" + file + ", line 4): is not a setting; did you mean truenas.username?",
		"truenas.ca_file (" + file + ", line 5): " + dir + "/nonsense.pem holds no certificate in PEM format",
		"truenas.fingerprint (" + file + `, line 6): "12:34" is not a SHA-256 in hex: 64 digits, colons allowed`,
		"truenas.api_key_file (" + file + ", line 7): open " + dir + "/missing.key: no such file or directory",
		"truenas.insecureSkipVerify (" + file + `, line 8): "perhaps" is neither true nor false`,
		"stroage (" + file + ", line 9): is not a setting; did you mean storage?",
		"url (" + file + ", line 10): is not a setting; did you mean truenas.url?",
		"dataset (" + file + ", line 11): is not a setting; did you mean storage.dataset?",
		"zzz (" + file + ", line 12): is not a setting",
		"log.level (" + file + ", line 15): is given twice",
		"log.level (" + file + `, line 14): "loud" is not debug or info or warn or error`,
		"log.format (" + file + ", line 16): must be a single value",
		`--health-port (--health-port): "http" is not a port`,
		`id (PROVIDER_ID): "no/slash" must be at most 128 letters`,
		`adopted_vms (PROVIDER_ADOPTED_VMS): "maybe" is not protect or manage`,
		"truenas.username: missing: the user that the API key belongs to; set it in the file or with --truenas-username or TRUENAS_USERNAME (not understood: ",
		"storage.dataset: missing",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("not said: %s", want)
		}
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || len(joined.Unwrap()) != 19 {
		t.Errorf("want one error for each mistake:\n%v", err)
	}
}

func TestPools(t *testing.T) {
	for _, tt := range []struct{ name, pools, rule, want string }{
		{"two pools and a rule", "tank, fast pool", "healthy", ""},
		{"a rule without pools", "", "healthy", "storage.choose_pool (PROVIDER_CHOOSE_POOL): needs storage.allowed_pools"},
		{"a dataset", "tank/vms", "", `storage.allowed_pools (PROVIDER_ALLOWED_POOLS): "tank/vms" is not the name of a pool`},
		{"a pool twice", "tank,tank", "", `"tank" is given twice`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := load(t, map[string]string{"PROVIDER_ALLOWED_POOLS": tt.pools, "PROVIDER_CHOOSE_POOL": tt.rule},
				"--truenas-url", "https://nas.example", "--truenas-username", "root", "--dataset", "tank/a")
			switch {
			case tt.want != "":
				if !strings.Contains(fmt.Sprint(err), tt.want) {
					t.Errorf("got %v", err)
				}
			case strings.Contains(fmt.Sprint(err), "storage."), len(c.Storage.AllowedPools) != 2, c.Storage.AllowedPools[1] != "fast pool", c.Storage.ChoosePool != "healthy":
				t.Errorf("got %q, %q, %v", c.Storage.AllowedPools, c.Storage.ChoosePool, err)
			}
		})
	}
}

func TestURL(t *testing.T) {
	for _, tt := range []struct{ name, url, want string }{
		{"a host", "https://nas.example", ""},
		{"a port and a slash", "https://nas.example:8443/", ""},
		{"an address of version 6", "https://[2001:db8::1]:443", ""},
		{"plain to loopback", "http://127.0.0.1:8080", ""},
		{"plain to loopback by name", "http://localhost", ""},
		{"the REST path", "https://nas.example/api/v2.0", "the REST API, which is not used: write https://nas.example"},
		{"the REST path with a port and a slash", "https://nas.example:444/api/v2.0/", "write https://nas.example:444"},
		{"the socket's path", "https://nas.example/api/current", "has a path: write https://nas.example"},
		{"a query", "https://nas.example?a=b", "write https://nas.example"},
		{"a socket's scheme", "wss://nas.example", `"wss://nas.example": write https://nas.example`},
		{"a plain socket", "ws://nas.example", "write https://nas.example"},
		{"plain", "http://nas.example", "TrueNAS revokes an API key that travels like that: write https://nas.example"},
		{"no scheme", "nas.example", "is not of the form https://host[:port]"},
		{"no scheme with a port", "nas.example:443", "is not of the form https://host[:port]"},
		{"no host", "https://:443", "is not of the form https://host[:port]"},
		{"an invalid port", "https://nas.example:99999", "99999 is not a port"},
		{"a password", "https://root:hunter2@nas.example", "these have settings of their own, write https://nas.example"},
		{"nothing", "", "truenas.url: missing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := load(t, map[string]string{"PROVIDER_ENDPOINT": tt.url, "TRUENAS_API_KEY": "1-a"}, "--truenas-username=u", "--dataset=tank/a")
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "truenas.url")):
				t.Errorf("got %v, want %s", err, tt.want)
			case err != nil && strings.Contains(err.Error(), "hunter2"):
				t.Error("the error shows the password")
			}
		})
	}
}

func TestInvalidFiles(t *testing.T) {
	for _, tt := range []struct{ name, content, want string }{
		{"empty", "", "truenas.url: missing"},
		{"a comment", "# nothing\n", "truenas.url: missing"},
		{"a list", "- a\n- b\n", "must be a mapping of settings"},
		{"a section without settings", "truenas: nas.example\n", "truenas ("},
		{"not YAML", "a: b: c\n", "mapping values are not allowed"},
		{"two documents", "id: a\n---\nid: b\n", "holds more than one document"},
		{"two keys", "truenas: {api_key: 1-a, api_key_file: /dev/null}\n", "give this or truenas.api_key, not both"},
		{"an empty key file", "truenas: {api_key_file: /dev/null}\n", "/dev/null is empty"},
		{"a flag's name", "port: 9443\n", "port ("},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := load(t, nil, "--config", write(t, t.TempDir(), "config.yaml", tt.content))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func TestPortAndListenTogether(t *testing.T) {
	_, err := load(t, nil, "--listen=127.0.0.1:1", "--port=2", "--health-listen=127.0.0.1:1", "--health-port=2")
	for _, want := range []string{"--listen, --port: give one", "--health-listen, --health-port: give one"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestTwoKeysInTheCredentials(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "api_key", "1-a")
	write(t, dir, "token", "1-b")
	_, err := load(t, nil, "--credentials-dir", dir)
	if err == nil || !strings.Contains(err.Error(), "truenas.api_key: given twice, by "+dir+"/api_key and by "+dir+"/token") {
		t.Errorf("got %v", err)
	}
}

func TestNoErrorShowsTheKey(t *testing.T) {
	_, err := load(t, map[string]string{"TRUENAS_API_KEY": "1-sesame sesame"})
	if err == nil || !strings.Contains(err.Error(), "truenas.api_key (TRUENAS_API_KEY): an API key is one word") || strings.Contains(err.Error(), "sesame") {
		t.Errorf("got %v", err)
	}
}
