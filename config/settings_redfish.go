package config

import (
	"fmt"
	"path"
	"strings"
	"time"
)

// Redfish has the settings of the Redfish service.
type Redfish struct {
	// Listen is the address of the service, "host:port". Empty: no service.
	Listen string
	// AccountsFile is the path of the file with the accounts.
	AccountsFile string
	// TLSDir contains tls.crt and tls.key. Default: the directory of the gRPC service.
	TLSDir string
	// SessionTimeout ends sessions after this idle time. 0: the service's default.
	SessionTimeout time.Duration
}

var redfishSettings = []setting{
	{key: "redfish.listen", flag: "redfish-listen", env: []string{"PROVIDER_REDFISH_LISTEN"}, set: text(func(c *Config) *string { return &c.Redfish.Listen }),
		use: "address of the Redfish service (default: not served)"},
	{key: "redfish.accounts_file", flag: "redfish-accounts-file", env: []string{"PROVIDER_REDFISH_ACCOUNTS_FILE"}, file: true,
		set: text(func(c *Config) *string { return &c.Redfish.AccountsFile }), use: "YAML file of the accounts of the Redfish service; reloaded when it changes"},
	{key: "redfish.tls_dir", flag: "redfish-tls-dir", env: []string{"PROVIDER_REDFISH_TLS_DIR"}, file: true,
		set: text(func(c *Config) *string { return &c.Redfish.TLSDir }), use: "folder of tls.crt and tls.key of the Redfish service (default tls.dir); its clients need no certificate"},
	{key: "redfish.session_timeout", flag: "redfish-session-timeout", env: []string{"PROVIDER_REDFISH_SESSION_TIMEOUT"},
		use: "how long a Redfish session may be idle, 30s to 24h (default 30m)", set: func(c *Config, v string) error {
			d, err := positive(v)
			if err == nil && (d < 30*time.Second || d > 24*time.Hour) {
				err = fmt.Errorf("%q; allowed are 30s to 24h", v)
			}
			c.Redfish.SessionTimeout = d
			return err
		}},
}

// checkRedfish refuses a service without accounts or TLS.
func (l *loader) checkRedfish(c *Config) {
	if c.Redfish.Listen == "" {
		return
	}
	l.checkAddress("redfish.listen", "", c.Redfish.Listen)
	if c.Redfish.AccountsFile == "" {
		l.missing("redfish.accounts_file", "an accounts file for redfish.listen")
	}
	if c.Redfish.TLSDir == "" {
		c.Redfish.TLSDir = c.TLS.Dir
	}
}

// bootISO parses the path of a file on the NAS.
func bootISO(c *Config, v string) error {
	if path.Clean(v) != v || !strings.HasPrefix(v, "/mnt/") || !strings.HasSuffix(strings.ToLower(v), ".iso") || strings.Contains(v, "/seed-") {
		return fmt.Errorf("%q is not the path of an ISO on the NAS, such as /mnt/tank/iso/ipxe.iso", v)
	}
	c.Network.BootISO = v
	return nil
}
