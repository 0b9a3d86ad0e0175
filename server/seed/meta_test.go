package seed

import (
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"virtrigaud-provider-truenas/server/spec"
)

// TestMetaDataIsMerged writes meta data in all styles of YAML as one that guests read, with the caller's keys and the provider's.
func TestMetaDataIsMerged(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"none", "", "instance-id: \"id-1\"\nlocal-hostname: \"web1\"\n"},
		{"a comment", "# none\n", "instance-id: \"id-1\"\nlocal-hostname: \"web1\"\n"},
		{"null", "---\n", "instance-id: \"id-1\"\nlocal-hostname: \"web1\"\n"},
		{"a flow mapping", "{instance-id: i-1, public-keys: [a, b]}", "instance-id: i-1\npublic-keys: [a, b]\nlocal-hostname: \"web1\"\n"},
		{"JSON", `{"instance-id": "i-1", "n": 1e3}`, "\"instance-id\": \"i-1\"\n\"n\": 1e3\nlocal-hostname: \"web1\"\n"},
		{"indented", "  instance-id: i-1\n  local-hostname: h\n", "instance-id: i-1\nlocal-hostname: h\n"},
		{"a document with an end", "---\na: 012\n...\n", "a: 012\ninstance-id: \"id-1\"\nlocal-hostname: \"web1\"\n"},
		{"a byte order mark", "\xef\xbb\xbfa: yes\n", "a: yes\ninstance-id: \"id-1\"\nlocal-hostname: \"web1\"\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := spec.CheckMetaData([]byte(tt.text)); err != nil {
				t.Fatal(err)
			}
			got := metaData(spec.VM{Name: "web1", MetaData: []byte(tt.text)}, "id-1")
			if string(got) != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			var again map[string]any
			if err := yaml.Unmarshal(got, &again); err != nil || again["instance-id"] == nil || again["local-hostname"] == nil {
				t.Errorf("%v, %v", again, err)
			}
		})
	}
}

// TestSeedNamesNICs: guests with cloud-init before 22.2 configure the name in set-name.
func TestSeedNamesNICs(t *testing.T) {
	s := New(spec.VM{Name: "web1", UserData: []byte("#cloud-config\n"), Networks: []spec.Network{{}, {}}}, "id-1", []string{"02:00:00:00:00:01", "02:00:00:00:00:02"})
	for _, want := range []string{"set-name: eth0", "set-name: eth1"} {
		if !strings.Contains(string(s.files["network-config"]), want) {
			t.Errorf("network-config lacks %s:\n%s", want, s.files["network-config"])
		}
	}
}
