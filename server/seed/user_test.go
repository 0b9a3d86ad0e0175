package seed

import (
	"encoding/base64"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"virtrigaud-provider-truenas/server/spec"
)

func TestUserDataThatCannotWork(t *testing.T) {
	ignition := `{"ignition": {"version": "3.4.0"}}`
	coded := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	for _, tt := range []struct {
		name, text string
		says       string // empty: it is fine
		warning    string // of what is passed on; empty: nothing
	}{
		{"nothing", "", "", ""},
		{"cloud-config", "#cloud-config\npackages: [qemu-guest-agent]\n", "", ""},
		{"cloud-config of nothing", "#cloud-config\n", "", ""},
		{"cloud-config with line ends of Windows", "#cloud-config\r\nhostname: x\r\n", "", ""},
		{"a script", "#!/bin/sh\n\techo hi\n", "", ""},
		{"a template", "## template: jinja\n#cloud-config\nhostname: {{ ds.meta_data.x }}\n", "", ""},
		{"an archive of configs", "#cloud-config-archive\n- type: text/x-shellscript\n", "", ""},
		{"several parts", "Content-Type: multipart/mixed; boundary=\"x\"\nMIME-Version: 1.0\n", "", ""},
		{"a Talos machine config", "version: v1alpha1\nmachine:\n  type: worker\n", "", ""},
		{"Talos documents", "apiVersion: v1alpha1\nkind: SideroLinkConfig\n---\napiVersion: v1alpha1\nkind: EventSinkConfig\n", "", ""},
		{"gzip", "\x1f\x8b\x08\x00", "", ""},
		{"Ignition", ignition, "", "proxmoxve"},
		{"no header", "hostname: x\n", "", "no header"},
		{"a word", "hello", "", "no header"},
		{"cloud-config that does not parse", "#cloud-config\npackages: [a\nsecret: b\n", "user_data: #cloud-config does not parse as YAML", ""},
		{"cloud-config with tabs", "#cloud-config\nusers:\n\t- name: x\n", "a tab in the indentation of line 3", ""},
		{"cloud-config that is a list", "#cloud-config\n- a\n", "must be a YAML mapping", ""},
		{"a byte order mark", "\xef\xbb\xbf#cloud-config\n", "byte order mark", ""},
		{"UTF-16", "\xff\xfe#\x00c\x00", "byte order mark", ""},
		{"base64 of cloud-config", coded("#cloud-config\nhostname: x\n"), "is cloud-init user data in base64", ""},
		{"base64 of it, wrapped (base64 -w 76)", coded("#cloud-config\n" + strings.Repeat("# x\n", 40))[:76] + "\n" + coded("#cloud-config\n" + strings.Repeat("# x\n", 40))[76:] + "\n", "in base64", ""},
		{"base64 of Ignition", coded(ignition), "is an Ignition config in base64", ""},
		{"base64 of gzip", coded("\x1f\x8b\x08\x00 and so on and on"), "in base64", ""},
		{"base64 of something else", coded("twelve letters and more"), "", "no header"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := spec.CheckUserData([]byte(tt.text))
			if got := message(err); tt.says == "" && err != nil || !strings.Contains(got, tt.says) || strings.Contains(got, "secret") {
				t.Errorf("got %q, want %q", got, tt.says)
			}
			if got := spec.UserDataWarning([]byte(tt.text)); tt.says == "" && (tt.warning == "") != (got == "") || !strings.Contains(got, tt.warning) {
				t.Errorf("warning %q, want %q", got, tt.warning)
			}
		})
	}
}

// TestMetaDataIsMerged writes meta data of all YAML's styles as one that guests read, with the caller's keys and the
// provider's.
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
	for _, text := range []string{"a: b\n---\nc: d\n", "a: b\n---\n", "a: b\na: c\n", "- a\n", "web1", "\xff\xfea"} {
		if err := spec.CheckMetaData([]byte(text)); err == nil {
			t.Errorf("%q passes", text)
		}
	}
}

// TestSeedNamesNICs: guests with cloud-init before 22.2 configure what set-name says.
func TestSeedNamesNICs(t *testing.T) {
	s := New(spec.VM{Name: "web1", UserData: []byte("#cloud-config\n"), Networks: []spec.Network{{}, {}}}, "id-1", []string{"02:00:00:00:00:01", "02:00:00:00:00:02"})
	for _, want := range []string{"set-name: eth0", "set-name: eth1"} {
		if !strings.Contains(string(s.files["network-config"]), want) {
			t.Errorf("network-config lacks %s:\n%s", want, s.files["network-config"])
		}
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
