package spec

import (
	"encoding/base64"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func TestInvalidUserData(t *testing.T) {
	ignition := `{"ignition": {"version": "3.4.0"}}`
	coded := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	for _, tt := range []struct {
		name, text string
		says       string // empty: it is accepted
		warning    string // the expected warning; empty: none
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
		{"cloud-config that does not parse, and where", "#cloud-config\na: b\nc: [\n", "does not parse as YAML at line 3", ""},
		{"cloud-config that uses an anchor that is not there", "#cloud-config\na: *secret\n", "does not parse as YAML", ""},
		{"a version without a machine", "version: v1alpha1\n", "", "no header"},
		{"a machine without a version", "machine:\n  type: worker\n", "", "no header"},
		{"JSON without Ignition", `{"ignite": {}}`, "", "no header"},
		{"JSON with null for Ignition", `{"ignition": null}`, "", "no header"},
		{"16 characters of base64", base64.StdEncoding.EncodeToString([]byte("#!/bin/sh\n:\n"))[:16], "is cloud-init user data in base64", ""},
		{"15 characters of base64", strings.TrimRight(base64.StdEncoding.EncodeToString([]byte("#!/bin/sh\n:")), "=")[:15], "", "no header"},
		{"base64 for URLs", base64.RawURLEncoding.EncodeToString([]byte("#!/bin/sh\n\xfb\xff\xfe???>>>")), "is cloud-init user data in base64", ""},
		{"a header far behind the start", strings.Repeat(" ", 64) + "#cloud-config\n", "", "no header"},
		{"a multipart header in capitals", "CONTENT-TYPE: MULTIPART/mixed\n", "", ""},
		{"UTF-16 of the other order", "\xfe\xff\x00#", "byte order mark", ""},
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
			err := CheckUserData([]byte(tt.text))
			if got := message(err); tt.says == "" && err != nil || !strings.Contains(got, tt.says) || strings.Contains(got, "secret") {
				t.Errorf("got %q, want %q", got, tt.says)
			}
			if got := UserDataWarning([]byte(tt.text)); tt.says == "" && (tt.warning == "") != (got == "") || !strings.Contains(got, tt.warning) {
				t.Errorf("warning %q, want %q", got, tt.warning)
			}
		})
	}
}

// TestValidMetaData: no meta data, and an empty document, are an empty mapping.
func TestValidMetaData(t *testing.T) {
	for text, entries := range map[string]int{"": 0, "---\n": 0, "null\n": 0, "{}": 0, "a: b\nc: d\n": 2} {
		root, err := ReadMetaData([]byte(text))
		if err != nil || root.Kind != yaml.MappingNode || len(root.Content) != 2*entries {
			t.Errorf("%q: got %+v, %v", text, root, err)
		}
	}
}

// TestInvalidMetaData refuses meta data that is not one YAML mapping.
func TestInvalidMetaData(t *testing.T) {
	for _, text := range []string{"a: b\n---\nc: d\n", "a: b\n---\n", "a: b\na: c\n", "- a\n", "web1", "\xff\xfea"} {
		if err := CheckMetaData([]byte(text)); err == nil {
			t.Errorf("%q passes", text)
		}
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
