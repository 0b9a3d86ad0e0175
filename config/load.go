package config

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

const defaultCredentials = "/etc/virtrigaud/credentials"

// The layers, from the lowest to the highest. A value of a higher layer replaces that of a lower one.
const (
	layerCredentials = iota
	layerFile
	layerEnvironment
	layerFlags
)

// value is the text of a setting before it is parsed.
type value struct {
	text  string
	from  string
	layer int
}

type loader struct {
	flags     *pflag.FlagSet
	lookupEnv func(string) (string, bool)
	given     map[string]value
	mistakes  []error
	// strangers are unknown files of the credentials directory, such as a misspelt key.
	strangers []string
}

// AddFlags defines --config, --credentials-dir, and a flag for every setting with a flag.
func AddFlags(flags *pflag.FlagSet) {
	flags.String("config", "", "YAML file of settings (PROVIDER_CONFIG)")
	flags.String("credentials-dir", "", "folder with the files username, api_key, ca.crt and fingerprint (default "+defaultCredentials+")")
	for _, s := range settings {
		if s.flag == "" {
			continue
		}
		use := s.use
		if len(s.env) > 0 {
			use += " [" + strings.Join(s.env, ", ") + "]"
		}
		flags.String(s.flag, "", use)
		if s.bare {
			flags.Lookup(s.flag).NoOptDefVal = "true"
		}
	}
}

// Load merges the settings of the credentials directory, the file, the environment and the flags that AddFlags defined. Its
// error joins one error for each mistake.
func Load(flags *pflag.FlagSet, lookupEnv func(string) (string, bool)) (Config, error) {
	l := &loader{flags: flags, lookupEnv: lookupEnv, given: map[string]value{}}
	l.readCredentials(cmp.Or(l.flag("credentials-dir"), l.env("PROVIDER_CREDENTIALS_DIR"), defaultCredentials))
	if name := cmp.Or(l.flag("config"), l.env("PROVIDER_CONFIG")); name != "" {
		l.readFile(name)
	}
	l.readEnvironment()
	l.readFlags()

	c := defaults()
	l.resolve(&c)
	for _, s := range settings {
		v, ok := l.given[s.key]
		if !ok || s.set == nil {
			continue
		}
		if err := s.set(&c, v.text); err != nil {
			l.wrong(s.key, err.Error())
		}
	}
	l.check(&c)
	return c, errors.Join(l.mistakes...)
}

func (l *loader) readEnvironment() {
	for _, s := range settings {
		for _, name := range s.env {
			if text := l.env(name); text != "" {
				l.given[s.key] = value{text: text, from: name, layer: layerEnvironment}
				break
			}
		}
	}
}

func (l *loader) readFlags() {
	for _, s := range settings {
		if text := l.flag(s.flag); text != "" {
			l.given[s.key] = value{text: text, from: "--" + s.flag, layer: layerFlags}
		}
	}
	for _, pair := range [][2]string{{"listen", "port"}, {"health-listen", "health-port"}} {
		if l.flag(pair[0]) != "" && l.flag(pair[1]) != "" {
			l.mistakes = append(l.mistakes, fmt.Errorf("--%s, --%s: give one of them, not both", pair[0], pair[1]))
		}
	}
}

// credentialNames are the names of a key of the Secret, in the form of folded.
var credentialNames = map[string]string{
	"username": "truenas.username", "user": "truenas.username",
	"apikey": "truenas.api_key", "token": "truenas.api_key",
	"ca.crt": "truenas.ca_file", "ca.pem": "truenas.ca_file",
	"fingerprint": "truenas.fingerprint",
	"accesskeyid": "images.s3.access_key_id", "secretaccesskey": "images.s3.secret_access_key",
}

// readCredentials reads the directory of a mounted Secret, which may be absent.
func (l *loader) readCredentials(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		if !errors.Is(err, os.ErrNotExist) {
			l.mistakes = append(l.mistakes, fmt.Errorf("credentials: %w", err))
		}
		return
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), ".") { // Kubernetes keeps the versions of a Secret in ..data and similar names.
			continue
		}
		name := filepath.Join(dir, entry.Name())
		key, known := credentialNames[folded(entry.Name())]
		if !known {
			l.strangers = append(l.strangers, name)
			continue
		}
		l.credential(key, name)
	}
}

func (l *loader) credential(key, name string) {
	if before, twice := l.given[key]; twice {
		l.mistakes = append(l.mistakes, fmt.Errorf("%s: given twice, by %s and by %s", key, before.from, name))
		return
	}
	v := value{text: name, from: name, layer: layerCredentials}
	if !byKey(key).file {
		content, err := os.ReadFile(name)
		if err != nil {
			l.mistakes = append(l.mistakes, fmt.Errorf("%s: %w", key, err))
			return
		}
		v.text = strings.TrimSpace(string(content))
	}
	if v.text != "" {
		l.given[key] = v
	}
}

func (l *loader) flag(name string) string {
	if l.flags == nil {
		return ""
	}
	f := l.flags.Lookup(name)
	if f == nil {
		return ""
	}
	return strings.TrimSpace(f.Value.String())
}

func (l *loader) env(name string) string {
	text, _ := l.lookupEnv(name)
	return strings.TrimSpace(text)
}

// wrong reports a mistake in the value of a setting.
func (l *loader) wrong(key, what string) {
	l.mistakes = append(l.mistakes, fmt.Errorf("%s (%s): %s", key, l.given[key].from, what))
}

// missing reports an absent setting, and how to set it.
func (l *loader) missing(key, what string) {
	s := byKey(key)
	ways := slices.Clone(s.env)
	if s.flag != "" {
		ways = append([]string{"--" + s.flag}, ways...)
	}
	hint := fmt.Sprintf("%s: missing: %s; set it in the file or with %s", key, what, strings.Join(ways, " or "))
	if len(l.strangers) > 0 {
		hint += " (not understood: " + strings.Join(l.strangers, ", ") + ")"
	}
	l.mistakes = append(l.mistakes, errors.New(hint))
}
