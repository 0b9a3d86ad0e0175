package config

import (
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// check reports missing and invalid settings, as far as possible without a connection.
func (l *loader) check(c *Config) {
	l.checkURL(c.TrueNAS.URL)
	l.checkLogin(c)
	l.checkStorage(c.Storage.Dataset)
	l.checkPools(c.Storage)
	l.checkInstallation(c.Storage.Installation)
	l.checkAddress("listen", "--port", c.Listen)
	if c.HealthListen != "" {
		l.checkAddress("health_listen", "--health-port", c.HealthListen)
	}
	l.checkRedfish(c)
	if !validID.MatchString(c.ID) {
		l.wrongOr("id", "PROVIDER_NAMESPACE and PROVIDER_NAME", fmt.Sprintf("%q must be at most 128 letters, digits, dots, hyphens and underscores", c.ID))
	}
}

// validPool matches the name of a pool, which may contain spaces, but not at its ends.
var validPool = regexp.MustCompile(`^[A-Za-z](?:[A-Za-z0-9_.: -]*[A-Za-z0-9_.:-])?$`)

// checkPools does not check the expression, which the provider compiles at its start.
func (l *loader) checkPools(s Storage) {
	const key = "storage.allowed_pools"
	for i, pool := range s.AllowedPools {
		switch {
		case !validPool.MatchString(pool):
			l.wrong(key, fmt.Sprintf("%q is not the name of a pool, such as tank", pool))
		case slices.Contains(s.AllowedPools[:i], pool):
			l.wrong(key, fmt.Sprintf("%q is given twice", pool))
		}
	}
	if s.ChoosePool != "" && len(s.AllowedPools) == 0 {
		l.wrong("storage.choose_pool", "needs storage.allowed_pools, the pools to choose from")
	}
}

// checkInstallation accepts names in the form that error messages of the provider print.
func (l *loader) checkInstallation(name string) {
	if name != "" && !validID.MatchString(name) {
		l.wrong("storage.installation", fmt.Sprintf("%q must be at most 128 letters, digits, dots, hyphens and underscores", name))
	}
}

var validID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

func (l *loader) checkLogin(c *Config) {
	const key = "truenas.api_key"
	if c.TrueNAS.Username == "" {
		l.missing("truenas.username", "the user that the API key belongs to")
	}
	if _, failed := l.given["truenas.api_key_file"]; c.TrueNAS.APIKey.Reveal() == "" && !failed {
		l.missing(key, "an API key of that user (Credentials, Users, API Keys in TrueNAS)")
	}
	if strings.ContainsAny(c.TrueNAS.APIKey.Reveal(), " \t\r\n") {
		l.wrong(key, "an API key is one word")
	}
	l.checkFingerprint(c)
}

func (l *loader) checkFingerprint(c *Config) {
	if c.TrueNAS.Fingerprint == "" {
		return
	}
	sum, err := hex.DecodeString(strings.ReplaceAll(c.TrueNAS.Fingerprint, ":", ""))
	if err != nil || len(sum) != 32 {
		l.wrong("truenas.fingerprint", fmt.Sprintf("%q is not a SHA-256 in hex: 64 digits, colons allowed", c.TrueNAS.Fingerprint))
	}
	if c.TrueNAS.InsecureSkipVerify {
		c.TrueNAS.InsecureSkipVerify = false
		c.Warnings = append(c.Warnings, "truenas.insecureSkipVerify is ignored: truenas.fingerprint identifies the certificate")
	}
}

// checkURL requires https://host[:port]. For common wrong schemes and paths, the error contains the right address.
func (l *loader) checkURL(text string) {
	const key = "truenas.url"
	if text == "" {
		l.missing(key, "https://host[:port] of the NAS")
		return
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Hostname() == "" {
		l.wrong(key, fmt.Sprintf("%q is not of the form https://host[:port]", WithoutSecrets(text)))
		return
	}
	if u.User != nil {
		l.wrong(key, "holds a user name or password: these have settings of their own, write "+plainURL(u))
		return
	}
	text = WithoutSecrets(text)
	switch {
	case u.Scheme == "http" && !loopback(u.Hostname()):
		l.wrong(key, fmt.Sprintf("%q is not encrypted, and TrueNAS revokes an API key that travels like that: write %s", text, plainURL(u)))
	case u.Scheme != "https" && u.Scheme != "http":
		l.wrong(key, fmt.Sprintf("%q: write %s", text, plainURL(u)))
	case strings.HasPrefix(u.Path, "/api/v2.0"):
		l.wrong(key, fmt.Sprintf("%q names the REST API, which is not used: write %s", text, plainURL(u)))
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		l.wrong(key, fmt.Sprintf("%q has a path: write %s", text, plainURL(u)))
	case u.Port() != "" && !validPort(u.Port()):
		l.wrong(key, fmt.Sprintf("%q: %s is not a port", text, u.Port()))
	}
}

// WithoutSecrets returns an address without user information and query, even if the address is otherwise invalid.
func WithoutSecrets(text string) string {
	if at := strings.LastIndex(text, "@"); at >= 0 {
		scheme, _, _ := strings.Cut(text[:at], "://")
		if !slices.Contains([]string{"http", "https", "ws", "wss", "grpc"}, scheme) {
			scheme = "https"
		}
		if strings.ContainsAny(text[:at], "?#") {
			return scheme + "://…" // The parts of such a URL are ambiguous.
		}
		text = scheme + "://…" + text[at:]
	}
	if end := strings.IndexAny(text, "?#"); end >= 0 {
		text = text[:end+1] + "…"
	}
	return text
}

func plainURL(u *url.URL) string {
	if u.Scheme == "http" && loopback(u.Hostname()) {
		return "http://" + u.Host
	}
	return "https://" + u.Host
}

func loopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

// longestDataset leaves room for the names below it: ZFS allows 255 characters for a snapshot with its dataset.
const longestDataset = 100

// validDataset matches names that may contain spaces, but not at their ends.
var validDataset = regexp.MustCompile(`^[A-Za-z](?:[A-Za-z0-9_.: -]*[A-Za-z0-9_.:-])?(?:/[A-Za-z0-9_](?:[A-Za-z0-9_.: -]*[A-Za-z0-9_.:-])?)+$`)

// internalDataset matches datasets that belong to TrueNAS: it refuses to create most of them, and its queries show none.
var internalDataset = regexp.MustCompile(`^(?:boot-pool|freenas-boot)/|/ix-app(?:s|lications)`)

func (l *loader) checkStorage(dataset string) {
	const key = "storage.dataset"
	switch {
	case dataset == "":
		l.missing(key, "the dataset for all VMs and images, such as tank/virtrigaud")
	case !strings.Contains(dataset, "/"):
		l.wrong(key, fmt.Sprintf("%q is a whole pool: write %s/virtrigaud", dataset, dataset))
	case !validDataset.MatchString(dataset):
		l.wrong(key, fmt.Sprintf("%q is not a dataset such as tank/virtrigaud", dataset))
	case len(dataset) > longestDataset:
		l.wrong(key, fmt.Sprintf("%q is longer than %d characters", dataset, longestDataset))
	case internalDataset.MatchString(dataset):
		l.wrong(key, fmt.Sprintf("%q is reserved by TrueNAS: the boot pool, and names that begin with ix-apps or ix-applications, are not allowed", dataset))
	}
}

func (l *loader) checkAddress(key, port, address string) {
	host, number, err := net.SplitHostPort(address)
	if err == nil && validPort(number) && !strings.ContainsAny(host, " /") {
		return
	}
	if _, ok := l.given[port]; ok {
		l.wrong(port, fmt.Sprintf("%q is not a port", strings.TrimPrefix(address, ":")))
		return
	}
	l.wrong(key, fmt.Sprintf("%q is not of the form host:port", address))
}

// validPort accepts 0, which lets the system choose a free port.
func validPort(text string) bool {
	number, err := strconv.Atoi(text)
	return err == nil && number >= 0 && number <= 65535
}

// wrongOr is wrong for a value that may come from another setting.
func (l *loader) wrongOr(key, elsewhere, what string) {
	if _, ok := l.given[key]; ok {
		l.wrong(key, what)
		return
	}
	l.mistakes = append(l.mistakes, fmt.Errorf("%s (%s): %s", key, elsewhere, what))
}
