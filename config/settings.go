package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A setting is one configuration option, with its name in each source.
type setting struct {
	key  string   // in the file; a name that begins with "--" exists only as a flag
	flag string   // on the command line; secrets have none, because every user of a host sees command lines
	env  []string // in the environment; the first one that is set applies
	use  string   // one line for --help
	file bool     // the value is a path; in the file it is relative to the file
	bare bool     // the flag without a value means true
	set  func(c *Config, value string) error
}

// settings lists all settings.
var settings = slices.Concat(mainSettings, imageSettings, redfishSettings)

// mainSettings lists the settings except those of images and of the Redfish service. Indirect ones (api_key_file, ca_file, pool)
// have no set function; the loader resolves them.
var mainSettings = []setting{
	{key: "id", flag: "id", env: []string{"PROVIDER_ID"}, set: text(func(c *Config) *string { return &c.ID }),
		use: "name of this provider on the NAS (default PROVIDER_NAMESPACE.PROVIDER_NAME, else truenas)"},
	{key: "listen", flag: "listen", env: []string{"PROVIDER_LISTEN"}, set: text(func(c *Config) *string { return &c.Listen }),
		use: "address of the gRPC service (default 127.0.0.1:9443)"},
	{key: "--port", flag: "port", set: port(func(c *Config) *string { return &c.Listen }),
		use: "port of the gRPC service on every address, as VirtRigaud's manager gives it"},
	{key: "health_listen", flag: "health-listen", env: []string{"PROVIDER_HEALTH_LISTEN"},
		set: text(func(c *Config) *string { return &c.HealthListen }), use: "address of /healthz, /readyz, /metrics and the status page (default: not served)"},
	{key: "--health-port", flag: "health-port", set: port(func(c *Config) *string { return &c.HealthListen }),
		use: "port of /healthz, /readyz, /metrics and the status page on every address, as VirtRigaud's manager gives it"},
	{key: "status_page", flag: "status-page", bare: true, env: []string{"PROVIDER_STATUS_PAGE"}, use: "false: no status page at the health address (default true)",
		set: truth(func(c *Config) *bool { return &c.StatusPage })},
	{key: "truenas.url", flag: "truenas-url", env: []string{"TRUENAS_URL", "PROVIDER_ENDPOINT"}, use: "https://host[:port] of the NAS",
		set: text(func(c *Config) *string { return &c.TrueNAS.URL })},
	{key: "truenas.username", flag: "truenas-username", env: []string{"TRUENAS_USERNAME"}, use: "user that the API key belongs to",
		set: text(func(c *Config) *string { return &c.TrueNAS.Username })},
	{key: "truenas.api_key", env: []string{"TRUENAS_API_KEY"}, use: "API key of that user; never a flag, since every user of a machine sees command lines",
		set: secret(func(c *Config) *Secret { return &c.TrueNAS.APIKey })},
	{key: "truenas.api_key_file", flag: "truenas-api-key-file", env: []string{"TRUENAS_API_KEY_FILE"}, file: true,
		use: "file that holds the API key"},
	{key: "truenas.ca_file", flag: "truenas-ca-file", env: []string{"TRUENAS_CA_FILE"}, file: true,
		use: "PEM file of the authorities to trust (default: those of the system)"},
	{key: "truenas.fingerprint", flag: "truenas-fingerprint", env: []string{"TRUENAS_FINGERPRINT"}, use: "SHA-256 of the NAS's certificate, in hex; replaces every other check of it",
		set: text(func(c *Config) *string { return &c.TrueNAS.Fingerprint })},
	{key: "truenas.insecureSkipVerify", bare: true, flag: "truenas-insecure-skip-verify",
		env: []string{"TRUENAS_INSECURE_SKIP_VERIFY", "TLS_INSECURE_SKIP_VERIFY"}, use: "true: accept any certificate of the NAS",
		set: truth(func(c *Config) *bool { return &c.TrueNAS.InsecureSkipVerify })},
	{key: "storage.dataset", flag: "dataset", env: []string{"PROVIDER_DATASET"}, use: "dataset on the NAS for all VMs and images, such as tank/virtrigaud",
		set: text(func(c *Config) *string { return &c.Storage.Dataset })},
	{key: "storage.pool", flag: "pool", env: []string{"PROVIDER_DEFAULT_DATASTORE"}, use: "pool, instead of a dataset; the dataset is <pool>/virtrigaud"},
	{key: "storage.allowed_pools", flag: "allowed-pools", env: []string{"PROVIDER_ALLOWED_POOLS"}, set: names(func(c *Config) *[]string { return &c.Storage.AllowedPools }),
		use: "pools for VMs and images; the provider chooses one of them for a VM or image that names none (default: every pool by name, else that of the dataset)"},
	{key: "storage.choose_pool", flag: "choose-pool", env: []string{"PROVIDER_CHOOSE_POOL"}, set: text(func(c *Config) *string { return &c.Storage.ChoosePool }),
		use: "CEL expression that selects the pools to choose from; the selected pool with the most free space is used (default healthy)"},
	{key: "storage.installation", flag: "installation", env: []string{"PROVIDER_INSTALLATION"}, set: text(func(c *Config) *string { return &c.Storage.Installation }),
		use: "installation that owns the VMs in the dataset; set it to take over the VMs of a lost cluster (default: generated at the first start)"},
	{key: "network.default_nic", flag: "default-nic", env: []string{"PROVIDER_DEFAULT_NIC"},
		set: text(func(c *Config) *string { return &c.Network.DefaultNIC }), use: "bridge for a network that names none (default: such a network is refused)"},
	{key: "network.boot_iso", flag: "network-boot-iso", env: []string{"PROVIDER_NETWORK_BOOT_ISO"}, set: bootISO,
		use: "CD-ROM image on the NAS for network boot of VMs, such as /mnt/tank/iso/ipxe.iso (default: no network boot)"},
	{key: "adopted_vms", flag: "adopted-vms", env: []string{"PROVIDER_ADOPTED_VMS"}, use: "VMs made by others: protect (default) never deletes them; manage deletes the VM and leaves its volumes",
		set: oneOf(func(c *Config) *string { return &c.AdoptedVMs }, "protect", "manage")},
	{key: "tls.dir", flag: "tls-dir", env: []string{"PROVIDER_TLS_DIR"}, use: "folder of tls.crt, tls.key and ca.crt (default /etc/virtrigaud/tls)", file: true,
		set: text(func(c *Config) *string { return &c.TLS.Dir })},
	{key: "tls.allowed_sans", flag: "tls-allowed-sans", env: []string{"VIRTRIGAUD_PROVIDER_ALLOWED_SANS"},
		use: "comma separated names; a client's certificate must hold one of them",
		set: names(func(c *Config) *[]string { return &c.TLS.AllowedSANs })},
	{key: "tls.insecure", bare: true, flag: "insecure", env: []string{"VIRTRIGAUD_PROVIDER_INSECURE"}, use: "true: without TLS files, serve plaintext to other machines too",
		set: truth(func(c *Config) *bool { return &c.TLS.Insecure })},
	{key: "log.level", flag: "log-level", env: []string{"LOG_LEVEL"}, use: "debug, info, warn or error (default info)",
		set: oneOf(func(c *Config) *string { return &c.Log.Level }, "debug", "info", "warn", "error")},
	{key: "log.format", flag: "log-format", env: []string{"LOG_FORMAT"}, use: "json or console (default json)",
		set: oneOf(func(c *Config) *string { return &c.Log.Format }, "json", "console")},
}

func text(field func(*Config) *string) func(*Config, string) error {
	return func(c *Config, v string) error { *field(c) = v; return nil }
}

func secret(field func(*Config) *Secret) func(*Config, string) error {
	return func(c *Config, v string) error { *field(c) = NewSecret(v); return nil }
}

func truth(field func(*Config) *bool) func(*Config, string) error {
	return func(c *Config, v string) error {
		b, err := strconv.ParseBool(v)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", v)
		}
		*field(c) = b
		return nil
	}
}

func names(field func(*Config) *[]string) func(*Config, string) error {
	return func(c *Config, v string) error { *field(c) = list(v); return nil }
}

func port(field func(*Config) *string) func(*Config, string) error {
	return func(c *Config, v string) error { *field(c) = ":" + v; return nil }
}

// oneOf accepts any case. Upstream's name of the console format is "text".
func oneOf(field func(*Config) *string, allowed ...string) func(*Config, string) error {
	return func(c *Config, v string) error {
		for _, a := range allowed {
			if strings.EqualFold(a, v) || a == "console" && strings.EqualFold(v, "text") {
				*field(c) = a
				return nil
			}
		}
		return fmt.Errorf("%q is not %s", v, strings.Join(allowed, " or "))
	}
}

func list(v string) []string {
	var items []string
	for item := range strings.SplitSeq(v, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}
