package config

import (
	"crypto/x509"
	"fmt"
	"os"
	"strings"
)

// resolve replaces indirect settings: files by their content, a pool by a dataset, and the manager's names for a pod by an id.
func (l *loader) resolve(c *Config) {
	l.apiKeyFile()
	l.caFile(c)
	l.pool()
	c.ID = "truenas"
	if namespace, name := l.env("PROVIDER_NAMESPACE"), l.env("PROVIDER_NAME"); namespace != "" && name != "" {
		c.ID, c.Owner = namespace+"."+name, namespace+"/"+name
	}
	for _, name := range []string{"PROVIDER_DEFAULT_STORAGE_POD", "PROVIDER_DEFAULT_CLUSTER", "PROVIDER_DEFAULT_FOLDER"} {
		if l.env(name) != "" {
			c.Warnings = append(c.Warnings, name+" is ignored: TrueNAS has no equivalent")
		}
	}
}

// apiKeyFile reads the key's file, unless a higher layer sets the key itself.
func (l *loader) apiKeyFile() {
	file, ok := l.given["truenas.api_key_file"]
	if !ok {
		return
	}
	if key, both := l.given["truenas.api_key"]; both {
		if key.layer == file.layer {
			l.wrong("truenas.api_key_file", "give this or truenas.api_key, not both")
			return
		}
		if key.layer > file.layer {
			return
		}
	}
	content, err := os.ReadFile(file.text)
	if err != nil {
		l.wrong("truenas.api_key_file", err.Error())
		return
	}
	key := strings.TrimSpace(string(content))
	if key == "" {
		l.wrong("truenas.api_key_file", fmt.Sprintf("%s is empty", file.text))
		return
	}
	l.given["truenas.api_key"] = value{text: key, from: file.text, layer: file.layer}
}

func (l *loader) caFile(c *Config) {
	file, ok := l.given["truenas.ca_file"]
	if !ok {
		return
	}
	pem, err := os.ReadFile(file.text)
	switch {
	case err != nil:
		l.wrong("truenas.ca_file", err.Error())
	case !x509.NewCertPool().AppendCertsFromPEM(pem):
		l.wrong("truenas.ca_file", file.text+" holds no certificate in PEM format")
	default:
		c.TrueNAS.CA = pem
	}
}

// pool derives the dataset. The manager's default datastore may be a pool or a dataset. A named dataset must be in a named pool,
// because one of the two settings would have no effect otherwise.
func (l *loader) pool() {
	pool, ok := l.given["storage.pool"]
	if !ok {
		return
	}
	dataset, both := l.given["storage.dataset"]
	if both {
		if dataset.text != pool.text && !strings.HasPrefix(dataset.text, pool.text+"/") {
			l.wrong("storage.pool", fmt.Sprintf("%q does not hold storage.dataset %q (%s)", pool.text, dataset.text, dataset.from))
		}
		return
	}
	if !strings.Contains(pool.text, "/") {
		pool.text += "/virtrigaud"
	}
	l.given["storage.dataset"] = pool
}
