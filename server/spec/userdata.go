package spec

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"

	"go.yaml.in/yaml/v3"

	"virtrigaud-provider-truenas/server/refusal"
)

// userDataKind is a format of user data.
type userDataKind string

const (
	userDataNone       userDataKind = ""
	userDataKnown      userDataKind = "cloud-init user data"
	userDataIgnition   userDataKind = "an Ignition config"
	userDataTalos      userDataKind = "a Talos machine config"
	userDataHeaderless userDataKind = "without a header"
)

// CloudConfig is the first line of cloud-init's own format.
const CloudConfig = "#cloud-config"

// userDataHeads are the first lines by which cloud-init recognizes user data. This provider reads none of these formats except
// #cloud-config.
var userDataHeads = []string{
	CloudConfig, "#!", "#include", "#part-handler", "#cloud-boothook", "#upstart-job", "## template:",
	"content-type: multipart", "mime-version:",
}

// CheckUserData refuses user data that no guest can use.
func CheckUserData(text []byte) error {
	const field = "user_data"
	for _, mark := range []string{"\xef\xbb\xbf", "\xff\xfe", "\xfe\xff"} {
		if bytes.HasPrefix(text, []byte(mark)) {
			return refusal.InvalidArgument(field, "begins with a byte order mark, which guests do not skip; save it as UTF-8 without one")
		}
	}
	if kind := kindOfUserData(fromBase64(text)); kind != userDataNone && kind != userDataHeaderless {
		return refusal.InvalidArgument(field, "is %s in base64; give it as it is", kind)
	}
	if kindOfUserData(text) == userDataKnown {
		return checkCloudConfig(field, text)
	}
	return nil
}

// kindOfUserData determines the kind of user data by its first bytes, as guests do.
func kindOfUserData(text []byte) userDataKind {
	if len(text) == 0 {
		return userDataNone
	}
	if bytes.HasPrefix(text, []byte("\x1f\x8b")) {
		return userDataKnown // gzip
	}
	start := strings.ToLower(string(text[:min(len(text), 64)]))
	for _, head := range userDataHeads {
		if strings.HasPrefix(start, head) {
			return userDataKnown
		}
	}
	var config struct {
		Ignition   *json.RawMessage `yaml:"-"`
		APIVersion string           `json:"-" yaml:"apiVersion"`
		Version    string           `json:"-" yaml:"version"`
		Machine    any              `json:"-" yaml:"machine"`
	}
	if json.Unmarshal(text, &config) == nil && config.Ignition != nil {
		return userDataIgnition
	}
	if yaml.Unmarshal(text, &config) == nil && (config.APIVersion != "" || config.Version != "" && config.Machine != nil) {
		return userDataTalos
	}
	return userDataHeaderless
}

// fromBase64 returns the decoded text, or nil for other texts. Short words are base64 by accident.
func fromBase64(text []byte) []byte {
	compact := strings.Join(strings.Fields(string(text)), "")
	if len(compact) < 16 {
		return nil
	}
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if decoded, err := encoding.DecodeString(compact); err == nil {
			return decoded
		}
	}
	return nil
}

// checkCloudConfig refuses a #cloud-config that cloud-init would ignore, with a message only in the guest's log.
func checkCloudConfig(field string, text []byte) error {
	first, _, _ := bytes.Cut(text, []byte("\n"))
	if string(bytes.TrimSpace(first)) != CloudConfig {
		return nil // The format is another one, such as #cloud-config-archive.
	}
	var config any
	if err := yaml.Unmarshal(text, &config); err != nil {
		for n, line := range bytes.Split(text, []byte("\n")) {
			if indent := line[:len(line)-len(bytes.TrimLeft(line, " \t"))]; bytes.ContainsRune(indent, '\t') {
				return refusal.InvalidArgument(field, "%s has a tab in the indentation of line %d; YAML allows spaces only", CloudConfig, n+1)
			}
		}
		return refusal.InvalidArgument(field, "%s does not parse as YAML%s", CloudConfig, lineOf(err))
	}
	if _, isMapping := config.(map[string]any); config != nil && !isMapping {
		return refusal.InvalidArgument(field, "%s must be a YAML mapping, such as packages: [qemu-guest-agent]", CloudConfig)
	}
	return nil
}

// lineOf returns the line of a mistake. The rest of the library's text may quote the user data, which may hold secrets.
func lineOf(err error) string {
	if _, rest, ok := strings.Cut(err.Error(), "line "); ok {
		if number, _, ok := strings.Cut(rest, ":"); ok && strings.Trim(number, "0123456789") == "" {
			return " at line " + number
		}
	}
	return ""
}

// UserDataWarning returns a warning about user data that the guest may not use as meant; empty for none.
func UserDataWarning(text []byte) string {
	switch kindOfUserData(text) {
	case userDataHeaderless:
		return "user data has no header such as #cloud-config, so cloud-init ignores it"
	case userDataIgnition:
		return "user data is an Ignition config: images for the platform proxmoxve read it from the seed; images for qemu do not, since they read firmware variables, which TrueNAS does not offer"
	}
	return ""
}
